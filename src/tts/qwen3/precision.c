#include "tts/qwen3/precision.h"

#include "base/error.h"
#include "cpu/cpu.h"
#include "tts/qwen3/qwen3.h"

#include <string.h>

typedef enum kind { KIND_AUTO, KIND_F32, KIND_BF16, KIND_INT8, KIND_INT4, KIND_NONE } kind;
typedef enum network { TALKER = 1, PREDICTOR = 2, CODEC = 4, ALL = 7 } network;

static bool is_word(const char *text, size_t length, const char *word) {
    return strlen(word) == length && memcmp(text, word, length) == 0;
}

static kind find_kind(const char *text, size_t length) {
    static const char *const names[] = {"auto", "f32", "bf16", "int8", "int4"};
    for (int i = 0; i < KIND_NONE; i++) {
        if (is_word(text, length, names[i])) {
            return (kind)i;
        }
    }
    return KIND_NONE;
}

static unsigned find_network(const char *text, size_t length) {
    return is_word(text, length, "talker")      ? TALKER
           : is_word(text, length, "predictor") ? PREDICTOR
           : is_word(text, length, "codec")     ? CODEC
                                                : 0;
}

static tmb_lm_precision lm_precision(kind k) {
    switch (k) {
    case KIND_F32: return TMB_LM_F32;
    case KIND_BF16: return TMB_LM_BF16;
    case KIND_INT4: return TMB_LM_INT4;
    default: return TMB_LM_INT8;
    }
}

/* `networks` named `k`, alone or in one word for all. */
static void assign(tmb_qwen3_precisions *out, unsigned networks, kind k) {
    if ((networks & TALKER) != 0) {
        /* 4 bits for everything means the predictor: it is read 15 times a frame, the talker once. */
        out->talker = networks == ALL && k == KIND_INT4 ? TMB_LM_INT8 : lm_precision(k);
    }
    if ((networks & PREDICTOR) != 0) {
        out->predictor = lm_precision(k);
    }
    if ((networks & CODEC) != 0) {
        /* There is no 8-bit codec: the fastest that there is, 16 bits if there are kernels for it. */
        bool bf16 = k == KIND_BF16 || (k != KIND_F32 && (tmb_cpu_flags() & TMB_CPU_AVX2) != 0);
        out->codec = bf16 ? TMB_CODEC_BF16 : TMB_CODEC_F32;
    }
}

tmb_status tmb_qwen3_parse_precision(const char *text, tmb_qwen3_precisions *out, tmb_error *error) {
    const char *word = text == NULL ? "auto" : text;
    const char *begin = word;
    unsigned named = 0;
    assign(out, ALL, KIND_AUTO);
    for (;;) {
        size_t length = strcspn(word, ",");
        const char *equals = memchr(word, '=', length);
        unsigned networks = equals != NULL                       ? find_network(word, (size_t)(equals - word))
                            : word == begin && word[length] == 0 ? ALL
                                                                 : 0;
        const char *name = equals != NULL ? equals + 1 : word;
        kind k = find_kind(name, length - (size_t)(name - word));
        if (networks == 0 || k == KIND_NONE || (named & networks) != 0) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT,
                            "there is no precision \"%.*s\": auto, f32, bf16, int8, int4, or one a network, as in "
                            "talker=int8,predictor=int4,codec=bf16",
                            (int)(length < 40 ? length : 40), word);
        }
        named |= networks;
        assign(out, networks, k);
        if (word[length] == 0) {
            return TMB_OK;
        }
        word += length + 1;
    }
}

tmb_status tmb_qwen3_check_precision(const char *precision, tmb_error *error) {
    tmb_qwen3_precisions parsed;
    return tmb_qwen3_parse_precision(precision, &parsed, error);
}
