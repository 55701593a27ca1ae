/* Any bytes as what the texts of a request carry: base64 and data: URIs, names of voices, languages. */
#include "fuzz.h"

#include "base/base64.h"
#include "base/name.h"
#include "base/text.h"
#include "tts/language.h"

#include <stdlib.h>
#include <string.h>

/* Decoded in one piece or in many, the bytes are the same. */
static void decode(const char *text, size_t size, bool in_uri, size_t step) {
    char *whole = malloc(size / 4 * 3 + 3);
    char *pieces = malloc(size + 3);
    char *piece = malloc(step / 4 * 3 + 3);
    tmb_base64_reader once = {.in_uri = in_uri};
    tmb_base64_reader again = {.in_uri = in_uri};
    size_t bytes = tmb_base64_read(&once, text, size, whole);
    size_t used = 0;
    bool failed = false;
    for (size_t at = 0; at < size && !failed; at += step) {
        size_t take = size - at < step ? size - at : step;
        size_t got = tmb_base64_read(&again, text + at, take, piece);
        failed = got == SIZE_MAX;
        fuzz_check(failed || got <= take / 4 * 3 + 3);
        if (!failed) {
            memcpy(pieces + used, piece, got);
            used += got;
        }
    }
    fuzz_check(failed == (bytes == SIZE_MAX));
    fuzz_check(failed || (used == bytes && memcmp(whole, pieces, bytes) == 0));
    fuzz_check(failed || tmb_base64_end(&once) == tmb_base64_end(&again));
    free(whole);
    free(pieces);
    free(piece);
}

/* What is encoded comes back, whatever the alphabet and padding. */
static void round_trip(const uint8_t *data, size_t size) {
    size_t length = tmb_base64_encoded_size(size);
    char *text = malloc(length + 1);
    char *back = malloc(length / 4 * 3 + 3);
    tmb_base64_encode(data, size, text);
    for (int variant = 0; variant < 2; variant++) {
        tmb_base64_reader reader = {.padding = 0};
        fuzz_check(tmb_base64_read(&reader, text, length, back) == size && tmb_base64_end(&reader));
        fuzz_check(memcmp(back, data, size) == 0);
        while (length && text[length - 1] == '=') {
            length--;
        }
        for (size_t i = 0; i < length; i++) {
            text[i] = text[i] == '+' ? '-' : text[i] == '/' ? '_' : text[i];
        }
    }
    free(text);
    free(back);
}

static void check_name(const char *text) {
    char name[TMB_NAME_SIZE];
    char again[TMB_NAME_SIZE];
    const char *what = NULL;
    if (!tmb_name_normalise(text, name, &what)) {
        fuzz_check(what != NULL && what[0] != '\0');
        return;
    }
    fuzz_check(strchr(name, '/') == NULL && name[0] != '.' && name[0] != '\0');
    fuzz_check(tmb_utf8_length(name, strlen(name)) <= TMB_NAME_LENGTH);
    fuzz_check(tmb_name_normalise(name, again, &what) && strcmp(name, again) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    size_t step = size ? 1 + data[0] % 7 : 1;
    decode((const char *)data, size, false, step);
    decode((const char *)data, size, true, step);
    round_trip(data, size);
    char *text = malloc(size + 1);
    memcpy(text, data, size);
    text[size] = '\0';
    const char *content = tmb_data_uri_content(text);
    fuzz_check(content == NULL || (content > text && content <= text + strlen(text)));
    (void)tmb_base64_is_likely(text, strlen(text));
    (void)tmb_language_by_tag(text);
    static const char *const names[] = {"temperature", "text", "seed"};
    (void)tmb_text_nearest(text, names, 3);
    check_name(text);
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    static const char *const texts[] = {
        "data:audio/wav;base64,UklGRiQAAABXQVZFZm10IA==",
        "data:;codecs=1;charset=utf-8; base64 ,UklG\r\nRiQA",
        "DATA:audio/ogg;BASE64,T2dnUw%3D%3D",
        "data:audio/wav,plain",
        "T2dnUwACAAAAAAAAAADqnjMlAAAAAOyyzPIBHgF2b3JiaXM_-__",
        "Zo\xc3\xab M\xc3\xbcller",
        "Zoe\xcc\x88",
        "\xe5\xbc\xa0\xe4\xbc\x9f",
        "zh-Hans-CN",
        "temprature",
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        add(texts[i], strlen(texts[i]));
    }
}
