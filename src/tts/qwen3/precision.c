/* Which words name a precision. */
#include "tts/qwen3/qwen3.h"

#include "base/error.h"

#include <string.h>

/* Whether text[0 .. length) is one of `words`, NULL-terminated. */
static bool is_one_of(const char *text, size_t length, const char *const *words) {
    for (; *words != NULL; words++) {
        if (strlen(*words) == length && memcmp(*words, text, length) == 0) {
            return true;
        }
    }
    return false;
}

tmb_status tmb_qwen3_check_precision(const char *precision, tmb_error *error) {
    static const char *const kinds[] = {"auto", "f32", "bf16", "int8", "int4", NULL};
    static const char *const networks[] = {"talker", "predictor", "codec", NULL};
    const char *word = precision;
    for (;;) {
        size_t length = strcspn(word, ",");
        const char *equals = memchr(word, '=', length);
        const char *kind = equals != NULL ? equals + 1 : word;
        bool whole = equals == NULL && word == precision && word[length] == '\0';
        bool part = equals != NULL && is_one_of(word, (size_t)(equals - word), networks);
        if (!(whole || part) || !is_one_of(kind, length - (size_t)(kind - word), kinds)) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT,
                            "there is no precision \"%.*s\": auto, f32, bf16, int8, int4, or one a network, as in "
                            "talker=int8,predictor=int4,codec=bf16",
                            (int)(length < 40 ? length : 40), word);
        }
        if (word[length] == '\0') {
            return TMB_OK;
        }
        word += length + 1;
    }
}
