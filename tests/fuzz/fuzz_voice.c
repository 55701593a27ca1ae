/* Voice files: as they are, and with the checksum made to fit, so that what lies behind it is reached. What is read
 * must come back the same when it is saved. */
#include "fuzz.h"

#include "base/hash.h"
#include "tts/qwen3/voice/voice.h"

static void read_voice(const uint8_t *data, size_t size) {
    tmb_qwen3_voice *voice = NULL;
    tmb_error error = {0};
    if (tmb_qwen3_voice_load(data, size, &voice, &error) != TMB_OK) {
        fuzz_check(voice == NULL && error.message[0] != 0);
        return;
    }
    void *saved = NULL;
    size_t saved_size = 0;
    fuzz_check(tmb_qwen3_voice_save(voice, &saved, &saved_size, &error) == TMB_OK);
    fuzz_check(saved_size == size);
    tmb_qwen3_voice *again = NULL;
    fuzz_check(tmb_qwen3_voice_load(saved, saved_size, &again, &error) == TMB_OK);
    fuzz_check(memcmp(voice->fingerprint, again->fingerprint, sizeof voice->fingerprint) == 0);
    free(saved);
    tmb_voice *base = &voice->base;
    tmb_voice_release(&base);
    base = &again->base;
    tmb_voice_release(&base);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    read_voice(data, size);
    if (size >= 16) {
        uint8_t *copy = malloc(size);
        fuzz_check(copy != NULL);
        memcpy(copy, data, size);
        for (uint64_t i = 0; i < 2; i++) {
            uint64_t sum = tmb_hash_bytes(copy, size - 16, i + 1);
            memcpy(copy + size - 16 + 8 * i, &sum, sizeof sum);
        }
        read_voice(copy, size);
        free(copy);
    }
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const float speaker[4] = {1, -2, 3, 0.5f};
    static const int16_t codes[2 * 3] = {1, 2, 3, 4, 5, 6};
    static const float reference[7] = {0, 0.25f, -0.5f, 1, -1, 0, 0};
    for (int kind = 0; kind < 3; kind++) {
        tmb_voice_parts parts = {.family = "qwen3-tts-12hz/0b6/4/3/8",
                                 .speaker = speaker,
                                 .speaker_size = 4,
                                 .reference = reference,
                                 .reference_count = kind == 2 ? 0 : 7,
                                 .reference_rate = 24000};
        if (kind > 0) {
            parts.text = kind == 1 ? "A transcript, ü and 世." : "";
            parts.codes = codes;
            parts.frames = 2;
            parts.books = 3;
        }
        tmb_qwen3_voice *voice = NULL;
        void *data = NULL;
        size_t size = 0;
        tmb_error error;
        fuzz_check(tmb_qwen3_voice_create(&parts, &voice, &error) == TMB_OK);
        fuzz_check(tmb_qwen3_voice_save(voice, &data, &size, &error) == TMB_OK);
        add(data, size);
        free(data);
        tmb_voice *base = &voice->base;
        tmb_voice_release(&base);
    }
}
