#include "tts/qwen3/text/speaker.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tts/qwen3/text/language.h"
#include "tts/qwen3/text/normalize.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

/* Longest name that is compared: one that is longer is nobody's. */
#define NAME_BYTES_MAX ((size_t)4 * TMB_QWEN3_SPEAKER_NAME_MAX)

/* `name` in NFC and small letters, allocated; NULL: no memory, or not UTF-8. */
static char *fold(const char *name) {
    size_t bytes = strlen(name);
    const char *text = NULL;
    char *owned = NULL;
    size_t length = 0;
    if (bytes > NAME_BYTES_MAX || tmb_utf8_valid_prefix(name, bytes) != bytes ||
        tmb_normalize_nfc(name, bytes, &text, &length, &owned, NULL) != TMB_OK) {
        return NULL;
    }
    /* A letter's small form has at most 3 bytes if it has 2, and U+0130 becomes two letters of 3 bytes together. */
    char *folded = tmb_calloc(2 * length + 1, 1);
    size_t out = 0;
    uint32_t code = 0;
    size_t step = 0;
    for (size_t at = 0; folded != NULL && (step = tmb_utf8_decode(text + at, length - at, &code)) != 0; at += step) {
        if (code == 0x130) { /* I with a dot: the only letter whose small form is two code points */
            out += tmb_utf8_encode('i', folded + out);
            out += tmb_utf8_encode(0x307, folded + out);
        } else {
            out += tmb_utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), folded + out);
        }
    }
    free(owned);
    return folded;
}

/* As the file writes it first: two names may differ in case alone. */
static const tmb_qwen3_speaker *find_exactly(const tmb_qwen3_config *config, const char *name) {
    for (size_t i = 0; i < config->speaker_count; i++) {
        if (strcmp(config->speakers[i].name, name) == 0) {
            return &config->speakers[i];
        }
    }
    return NULL;
}

bool tmb_qwen3_same_speaker(const char *a, const char *b) {
    char *left = fold(a), *right = fold(b);
    bool same = left != NULL && right != NULL && strcmp(left, right) == 0;
    free(left);
    free(right);
    return same;
}

static const tmb_qwen3_speaker *find_folded(const tmb_qwen3_config *config, const char *name) {
    for (size_t i = 0; i < config->speaker_count; i++) {
        if (tmb_qwen3_same_speaker(config->speakers[i].name, name)) {
            return &config->speakers[i];
        }
    }
    return NULL;
}

/* Whole names only, as many as fit. */
void tmb_qwen3_list_speakers(const tmb_qwen3_config *config, char *out, size_t size) {
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; i < config->speaker_count; i++) {
        const char *name = config->speakers[i].name;
        if (used + strlen(name) + 16 > size) {
            (void)snprintf(out + used, size - used, ", …");
            return;
        }
        int more = snprintf(out + used, size - used, "%s%s", i == 0 ? "" : ", ", name);
        used += more > 0 ? (size_t)more : 0;
    }
}

tmb_status tmb_qwen3_find_speaker(const tmb_qwen3_config *config, const char *name, const tmb_qwen3_speaker **out,
                                  tmb_error *error) {
    *out = NULL;
    if (name == NULL || name[0] == '\0') {
        return TMB_OK;
    }
    *out = find_exactly(config, name);
    if (*out == NULL) {
        *out = find_folded(config, name);
    }
    if (*out != NULL) {
        return TMB_OK;
    }
    if (config->speaker_count == 0) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "the model has no built-in speakers, and none that is called \"%.60s\"", name);
    }
    char list[320] = "";
    tmb_qwen3_list_speakers(config, list, sizeof list);
    return tmb_fail(error, TMB_ERROR_ARGUMENT, "the model has no speaker \"%.60s\"; it has %s", name, list);
}

static bool is_chinese(const tmb_qwen3_config *config, int32_t language) {
    for (size_t i = 0; i < config->talker.language_count; i++) {
        if (config->talker.languages[i].id == language) {
            return strcmp(config->talker.languages[i].name, "chinese") == 0;
        }
    }
    return false;
}

tmb_status tmb_qwen3_speaker_language(const tmb_qwen3_config *config, const tmb_qwen3_speaker *speaker,
                                      int32_t *language, tmb_error *error) {
    if (speaker == NULL || speaker->dialect == TMB_QWEN3_NO_DIALECT ||
        (*language != TMB_LANGUAGE_AUTO && !is_chinese(config, *language))) {
        return TMB_OK;
    }
    if (speaker->dialect == TMB_QWEN3_BROKEN_DIALECT) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT,
                        "config.json: spk_is_dialect of \"%.60s\" is not false and not a dialect of codec_language_id: "
                        "this speaker speaks any language but auto and Chinese",
                        speaker->name);
    }
    *language = config->talker.dialects[speaker->dialect].id;
    return TMB_OK;
}
