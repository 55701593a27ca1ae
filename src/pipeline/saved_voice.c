/* What is in a saved voice, for people. */
#include "base/error.h"
#include "base/file.h"
#include "tts/qwen3/voice/voice.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_VOICE_BYTES ((size_t)256 << 20)

/* As much of a text as fits, whole characters. */
static void copy_text(char *out, size_t size, const char *text) {
    size_t length = strlen(text);
    if (length >= size) {
        length = size - 1;
        while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80) {
            length--;
        }
    }
    memcpy(out, text, length);
    out[length] = '\0';
}

tmb_status tmb_saved_voice_read(const char *path, tmb_saved_voice *out, tmb_error *error) {
    char *data = NULL;
    size_t bytes = 0;
    if (path == NULL || out == NULL) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "tmb_saved_voice_read needs a file and a place for the answer");
    }
    memset(out, 0, sizeof *out);
    tmb_status status = tmb_file_read(path, MAX_VOICE_BYTES, &data, &bytes, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_qwen3_voice *voice = NULL;
    status = tmb_qwen3_voice_load(data, bytes, &voice, error);
    free(data);
    if (status != TMB_OK) {
        tmb_error_name(error, path);
        return status;
    }
    copy_text(out->model, sizeof out->model, voice->family);
    copy_text(out->transcript, sizeof out->transcript, voice->text != NULL ? voice->text : "");
    out->in_context = voice->frames > 0 && voice->text != NULL;
    out->seconds = voice->reference_rate > 0 ? (double)voice->reference_count / voice->reference_rate : 0;
    tmb_voice *base = &voice->base;
    tmb_voice_release(&base);
    return TMB_OK;
}
