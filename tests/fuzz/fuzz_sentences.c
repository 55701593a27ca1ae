/* Any bytes as a long text that is cut into pieces; the first byte is their length. NFC of it too. */
#include "fuzz.h"

#include "tts/qwen3/text/normalize.h"
#include "tts/qwen3/text/sentences.h"

#include <math.h>

static void split(const char *text, size_t bytes, const tmb_split_options *options) {
    tmb_text_piece *pieces = NULL;
    size_t count = 0;
    tmb_error error = {0};
    if (tmb_text_split(text, bytes, options, &pieces, &count, &error) != TMB_OK) {
        fuzz_check(pieces == NULL && error.status == TMB_ERROR_ARGUMENT && error.message[0] != '\0');
        return;
    }
    size_t end = 0;
    fuzz_check(count > 0 || bytes == 0);
    for (size_t i = 0; i < count; i++) {
        const tmb_text_piece *p = &pieces[i];
        fuzz_check(p->begin == end && p->end > p->begin && p->end <= bytes);
        fuzz_check(p->begin <= p->content_begin && p->content_begin <= p->content_end && p->content_end <= p->end);
        fuzz_check(i == 0 || ((unsigned char)text[p->begin] & 0xc0) != 0x80);
        fuzz_check(isfinite(p->pause_after) && p->pause_after >= 0 && p->pause_after <= TMB_PAUSE_SECONDS_MAX);
        fuzz_check(options->pauses || p->pause_after == 0);
        end = p->end;
    }
    fuzz_check(end == bytes);
    free(pieces);
    /* Valid, so it has a normal form, which is its own. */
    const char *once = NULL, *twice = NULL;
    char *owned = NULL, *owned_again = NULL;
    size_t once_bytes = 0, twice_bytes = 0;
    fuzz_check(tmb_normalize_nfc(text, bytes, &once, &once_bytes, &owned, &error) == TMB_OK);
    fuzz_check(tmb_normalize_nfc(once, once_bytes, &twice, &twice_bytes, &owned_again, &error) == TMB_OK);
    fuzz_check(twice_bytes == once_bytes && memcmp(once, twice, once_bytes) == 0);
    free(owned);
    free(owned_again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_input input = {data, size};
    tmb_split_options options;
    tmb_split_options_default(&options);
    options.max_length = TMB_SPLIT_LENGTH_MIN + (size_t)fuzz_take(&input, 1);
    char *text =
        malloc(input.size > 0 ? input.size : 1); /* of its own size, so that a sanitizer sees a read past the end */
    fuzz_check(text != NULL);
    if (input.size > 0) {
        memcpy(text, input.data, input.size);
    }
    for (int pauses = 0; pauses <= 1; pauses++) {
        options.pauses = pauses != 0;
        split(text, input.size, &options);
    }
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char marks[] = "\x0c"
                                "cafe\xcc\x81 \xe1\x84\x80\xe1\x85\xa1\xe1\x86\xa8 a\xcc\x81\xcc\xa3 \xf0\x9f\x99\x82";
    const char *const texts[] = {
        "\x10One sentence. Another one, with Dr. Smith and 3.14 in it! A third?\n\nA paragraph…",
        "\x08你好，世界！今天的天气怎么样？ 「はい。」 と言いました。",
        "\x20[pause:1.5s] Before. [pause:500ms][pause:2] After [pause:] [pause:99999s] [pause:nan] [PAUSE:1s].",
        marks,
        "\x0cwithoutanyplacetocutitwithoutanyplacetocutit",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        add(texts[i], strlen(texts[i]));
    }
}
