/* A text, and the tokenizer's files that split it: vocab.json, merges.txt, tokenizer_config.json, tokenizer.json. */
#include "fuzz_parts.h"

#include "tts/qwen3/text/tokenizer.h"

enum { TEXT, VOCAB, MERGES, CONFIG, WHOLE, PARTS };

static void encode(const tmb_tokenizer *tokenizer, const char *text, size_t bytes) {
    int32_t *ids = NULL;
    size_t count = 0;
    tmb_error error = {0};
    if (tmb_tokenizer_encode(tokenizer, text, bytes, &ids, &count, &error) != TMB_OK) {
        fuzz_check(ids == NULL && error.message[0] != '\0');
        return;
    }
    /* A composed character may have less bytes than its parts, and no token is less than a byte of NFC: at most three
     * bytes of NFC for one of the text. */
    fuzz_check(count <= 3 * bytes);
    for (size_t i = 0; i < count; i++) {
        fuzz_check(ids[i] >= 0 && (size_t)ids[i] < tmb_tokenizer_id_limit(tokenizer));
    }
    free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_part parts[PARTS];
    fuzz_split(data, size, parts, PARTS);
    /* An empty part is a file that is not there. */
    for (size_t i = VOCAB; i < PARTS; i++) {
        if (parts[i].size == 0) {
            free(parts[i].text);
            parts[i].text = NULL;
        }
    }
    tmb_tokenizer_texts texts = {
        .vocab = parts[VOCAB].text,
        .vocab_bytes = parts[VOCAB].size,
        .merges = parts[MERGES].text,
        .merges_bytes = parts[MERGES].size,
        .tokenizer_config = parts[CONFIG].text,
        .tokenizer_config_bytes = parts[CONFIG].size,
        .tokenizer = parts[WHOLE].text,
        .tokenizer_bytes = parts[WHOLE].size,
    };
    for (int pattern = TMB_TEXT_PATTERN_QWEN2; pattern <= TMB_TEXT_PATTERN_QWEN2 + (size % 2 != 0); pattern++) {
        tmb_tokenizer *tokenizer = NULL;
        tmb_error error = {0};
        if (tmb_tokenizer_parse(&texts, (tmb_text_pattern)pattern, &tokenizer, &error) != TMB_OK) {
            fuzz_check(tokenizer == NULL && error.message[0] != '\0');
            continue;
        }
        encode(tokenizer, parts[TEXT].text, parts[TEXT].size);
        for (size_t i = VOCAB; i < PARTS; i++) {
            encode(tokenizer, parts[i].text != NULL ? parts[i].text : "", parts[i].size);
        }
        (void)tmb_tokenizer_added_token(tokenizer, "<|im_end|>");
        tmb_tokenizer_destroy(&tokenizer);
    }
    fuzz_free_parts(parts, PARTS);
    return 0;
}
