/* Any bytes as what other speakers say: the beginning of espeak-ng's WAV stream, as it comes piece by piece, and a
 * speech server's complaint. */
#include "fuzz.h"

#include "base/utf8.h"
#include "tts/preview/wave.h"
#include "tts/remote/body.h"

static void check_wave(const uint8_t *data, size_t size) {
    tmb_wave_result before = TMB_WAVE_MORE;
    size_t first = 0;
    int first_rate = 0;
    for (size_t bytes = 0; bytes <= size && bytes <= 2 * TMB_WAVE_HEADER_MAX; bytes++) {
        uint8_t *piece = malloc(bytes > 0 ? bytes : 1); /* exactly as long, so that a sanitizer sees a read past it */
        fuzz_check(piece != NULL);
        memcpy(piece, data, bytes);
        size_t offset = 0;
        int rate = 0;
        tmb_wave_result result = tmb_wave_begin(piece, bytes, &offset, &rate);
        free(piece);
        /* What was seen stays so, however much comes. */
        fuzz_check(before == TMB_WAVE_MORE || result == before);
        fuzz_check(result != TMB_WAVE_MORE || bytes < TMB_WAVE_HEADER_MAX + 8);
        if (result == TMB_WAVE_DATA) {
            fuzz_check(offset <= bytes && rate > 0);
            fuzz_check(before == TMB_WAVE_MORE || (offset == first && rate == first_rate));
            first = offset;
            first_rate = rate;
        }
        before = result;
    }
}

static void check_complaint(const uint8_t *data, size_t size) {
    char *body = malloc(size > 0 ? size : 1);
    fuzz_check(body != NULL);
    memcpy(body, data, size);
    char out[64];
    memset(out, 'x', sizeof out);
    tmb_remote_complaint(body, size, out, sizeof out);
    const char *end = memchr(out, '\0', sizeof out);
    fuzz_check(end != NULL && end != out);
    free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    check_wave(data, size);
    check_complaint(data, size);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char wave[] = "RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0\1\0\1\0\x22\x56\0\0\x44\xac\0\0\2\0\x10\0"
                               "LIST\4\0\0\0abcddata\xff\xff\xff\x7f\1\0\2\0";
    add(wave, sizeof wave - 1);
    static const char *const inputs[] = {
        "{\"error\": {\"message\": \"The model `x` does not exist\", \"code\": 404}}",
        "{\"detail\": \"too long\"}",
        "{\"detail\": [{\"msg\": \"field required\", \"loc\": [\"body\", \"input\"]}]}",
        "<html>\r\n<h1>502 Bad Gateway</h1>",
        "",
        "\xff\xfe\n",
    };
    for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
        add(inputs[i], strlen(inputs[i]));
    }
}
