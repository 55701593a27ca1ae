/* What a speech-to-text service answered. */
#include "tts/transcribe/transcribe.h"

#include "base/error.h"
#include "base/memory.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool is_word(utf8proc_category_t category) {
    return (category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO) ||
           (category >= UTF8PROC_CATEGORY_ND && category <= UTF8PROC_CATEGORY_NO);
}

/* Controls, line ends and what nobody sees separate words as blanks do. */
static bool is_gap(utf8proc_category_t category) {
    return category == UTF8PROC_CATEGORY_ZS || category == UTF8PROC_CATEGORY_ZL || category == UTF8PROC_CATEGORY_ZP ||
           category == UTF8PROC_CATEGORY_CC || category == UTF8PROC_CATEGORY_CF;
}

/* Copies valid UTF-8 to `out` with single blanks between words and none around it; whether a letter or digit is
 * there. What such models put into brackets ("[BLANK_AUDIO]", "(music)") was heard, not said. */
static bool tidy(const char *text, char *out) {
    const utf8proc_uint8_t *at = (const utf8proc_uint8_t *)text;
    size_t used = 0;
    size_t depth = 0;
    bool words = false;
    bool gap = false;
    utf8proc_int32_t code = 0;
    for (utf8proc_ssize_t length; *at != '\0'; at += length) {
        length = utf8proc_iterate(at, -1, &code);
        if (length <= 0) {
            break;
        }
        const utf8proc_category_t category = utf8proc_category(code);
        if (is_gap(category)) {
            gap = used > 0;
            continue;
        }
        depth += code == '[' || code == '(';
        words |= depth == 0 && is_word(category);
        depth -= depth > 0 && (code == ']' || code == ')');
        if (gap) {
            out[used++] = ' ';
            gap = false;
        }
        memcpy(out + used, at, (size_t)length);
        used += (size_t)length;
    }
    out[used] = '\0';
    return words;
}

tmb_status tmb_transcript_read(const char *body, size_t bytes, char **text, tmb_error *error) {
    *text = NULL;
    json_t *root = json_loadb(body, bytes, 0, NULL);
    const char *said = json_string_value(json_object_get(root, "text"));
    tmb_status status = TMB_OK;
    if (root == NULL) {
        status = tmb_fail(error, TMB_ERROR_FORMAT, "the transcription service answers with something that is no JSON");
    } else if (said == NULL) {
        status = tmb_fail(error, TMB_ERROR_FORMAT, "the transcription service's answer has no text");
    } else {
        char *tidied = malloc(strlen(said) + 1);
        if (tidied == NULL) {
            status = tmb_fail_memory(error, "a transcript", strlen(said));
        } else if (!tidy(said, tidied)) {
            status = tmb_fail(error, TMB_ERROR_FORMAT, "the transcription service heard no words");
        } else if (strlen(tidied) >= sizeof((tmb_reference_info *)0)->transcript) {
            status = tmb_fail(error, TMB_ERROR_LIMIT,
                              "the transcript has %zu bytes, %zu are the limit: use 3 to 30 s of the recording",
                              strlen(tidied), sizeof((tmb_reference_info *)0)->transcript - 1);
        } else {
            *text = tidied;
            tidied = NULL;
        }
        free(tidied);
    }
    json_decref(root);
    return status;
}
