#include "tts/qwen3/text/tokenizer.h"

#include "base/error.h"
#include "base/utf8.h"
#include "tts/qwen3/text/bpe.h"
#include "tts/qwen3/text/normalize.h"
#include "tts/qwen3/text/tokenizer_internal.h"

#include <stdlib.h>

/* One call of encode. */
typedef struct encoding {
    const tmb_tokenizer *tokenizer;
    tmb_pretokenizer_run *run;
    tmb_bpe_scratch scratch;
    tmb_token_list list;
    tmb_error *error;
} encoding;

/* Text in which no added token is. */
static tmb_status encode_plain(encoding *e, const char *text, size_t bytes) {
    size_t from = 0;
    while (from < bytes) {
        size_t end = 0;
        tmb_status status = tmb_pretokenizer_next(e->run, text, bytes, from, &end, e->error);
        if (status != TMB_OK) {
            return status;
        }
        if (!tmb_bpe_encode(&e->tokenizer->vocabulary, &e->scratch, text + from, end - from, &e->list)) {
            return tmb_fail_memory(e->error, "the tokens of a text", 0);
        }
        from = end;
    }
    return TMB_OK;
}

typedef tmb_status (*encode_function)(encoding *e, const char *text, size_t bytes);

/* Cuts out added tokens of one kind; `between` gets what lies between them. */
static tmb_status cut_added(encoding *e, bool normalized, const char *text, size_t bytes, encode_function between) {
    size_t from = 0;
    while (from < bytes) {
        size_t at = bytes;
        const tmb_added_token *token =
            tmb_added_tokens_search(&e->tokenizer->added, normalized, text, bytes, from, &at);
        tmb_status status = at == from ? TMB_OK : between(e, text + from, at - from);
        if (status != TMB_OK || token == NULL) {
            return status;
        }
        if (!tmb_token_list_reserve(&e->list, 1)) {
            return tmb_fail_memory(e->error, "the tokens of a text", 0);
        }
        e->list.ids[e->list.count++] = token->id;
        from = at + token->length;
    }
    return TMB_OK;
}

static tmb_status encode_normalized(encoding *e, const char *text, size_t bytes) {
    const char *normalized = NULL;
    size_t normalized_bytes = 0;
    char *owned = NULL;
    tmb_status status = tmb_normalize_nfc(text, bytes, &normalized, &normalized_bytes, &owned, e->error);
    if (status == TMB_OK) {
        status = cut_added(e, true, normalized, normalized_bytes, encode_plain);
    }
    free(owned);
    return status;
}

tmb_status tmb_tokenizer_encode(const tmb_tokenizer *tokenizer, const char *text, size_t bytes, int32_t **ids,
                                size_t *count, tmb_error *error) {
    *ids = NULL;
    *count = 0;
    if (bytes > TMB_TOKENIZER_TEXT_MAX) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "a text of %zu bytes, over the limit of %zu", bytes,
                        TMB_TOKENIZER_TEXT_MAX);
    }
    size_t valid = tmb_utf8_valid_prefix(text, bytes);
    if (valid != bytes) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the text is not valid UTF-8: byte 0x%02x at place %zu",
                        (unsigned char)text[valid], valid);
    }
    encoding e = {.tokenizer = tokenizer, .error = error};
    tmb_status status = tmb_pretokenizer_run_create(tokenizer->pretokenizer, &e.run, error);
    if (status == TMB_OK) {
        status = cut_added(&e, false, text, bytes, encode_normalized);
    }
    if (status == TMB_OK && !tmb_token_list_reserve(&e.list, 1)) {
        status = tmb_fail_memory(error, "the tokens of a text", 0);
    }
    tmb_pretokenizer_run_destroy(&e.run);
    tmb_bpe_scratch_free(&e.scratch);
    if (status != TMB_OK) {
        free(e.list.ids);
        return status;
    }
    *ids = e.list.ids;
    *count = e.list.count;
    return TMB_OK;
}

size_t tmb_tokenizer_id_limit(const tmb_tokenizer *tokenizer) {
    int32_t highest = tokenizer->vocabulary.highest_id;
    for (size_t i = 0; i < tokenizer->added.count; i++) {
        highest = tokenizer->added.tokens[i].id > highest ? tokenizer->added.tokens[i].id : highest;
    }
    return (size_t)highest + 1;
}

int32_t tmb_tokenizer_added_token(const tmb_tokenizer *tokenizer, const char *content) {
    return tmb_added_tokens_find(&tokenizer->added, content);
}

void tmb_tokenizer_destroy(tmb_tokenizer **tokenizer_address) {
    tmb_tokenizer *tokenizer = *tokenizer_address;
    *tokenizer_address = NULL;
    if (tokenizer != NULL) {
        tmb_vocabulary_free(&tokenizer->vocabulary);
        tmb_added_tokens_free(&tokenizer->added);
        tmb_pretokenizer_destroy(&tokenizer->pretokenizer);
        free(tokenizer);
    }
}
