/* How long a text takes to say, roughly: to tell speech from a model that has lost its way. */
#include "tts/qwen3/batch/engine_internal.h"

#include "base/utf8.h"

/* Chinese, Japanese and Korean scripts, each character of which is a syllable or more. */
static bool is_syllable(uint32_t code) {
    return (code >= 0x3040 && code <= 0x30ff) || (code >= 0x3400 && code <= 0x9fff) ||
           (code >= 0xac00 && code <= 0xd7af) || (code >= 0xf900 && code <= 0xfaff) ||
           (code >= 0x20000 && code <= 0x3ffff);
}

size_t tmb_speech_letters(const char *text, size_t bytes) {
    size_t letters = 0;
    for (size_t i = 0; i < bytes;) {
        uint32_t code = 0;
        size_t length = tmb_utf8_decode(text + i, bytes - i, &code);
        i += length == 0 ? 1 : length;
        /* "7" is five letters, and longer if it is one of thousands. */
        letters += is_syllable(code) ? 3 : code >= '0' && code <= '9' ? 8 : 1;
    }
    return letters;
}

/* Readers say 12 to 18 letters a second, a frame is 80 ms: about one frame a letter. Three and some seconds more is
 * slower than anybody speaks. */
size_t tmb_speech_budget(size_t letters) { return 50 + 3 * letters; }
size_t tmb_speech_expected(size_t letters) { return 5 + letters; }

/* Four seconds in which the first code takes no more than two values: no speech, not even a held note, does that. */
#define STUCK_FRAMES 50

bool tmb_speech_is_stuck(const int16_t *codes, size_t frames, size_t groups) {
    if (frames < STUCK_FRAMES) {
        return false;
    }
    const int16_t *last = codes + (frames - STUCK_FRAMES) * groups;
    int16_t first = last[0];
    int16_t second = first;
    for (size_t i = 1; i < STUCK_FRAMES; i++) {
        int16_t code = last[i * groups];
        if (code != first && code != second) {
            if (second != first) {
                return false;
            }
            second = code;
        }
    }
    return true;
}
