#include "tts/qwen3/text/added_tokens.h"

#include "base/error.h"
#include "base/memory.h"
#include "tts/qwen3/text/vocabulary.h"

#include <stdlib.h>
#include <string.h>

tmb_status tmb_added_tokens_add(tmb_added_tokens *tokens, const char *content, size_t length, int64_t id,
                                bool normalized, tmb_error *error) {
    if (length == 0 || length > TMB_ADDED_TOKEN_BYTES_MAX || id < 0 || id > TMB_TOKEN_ID_MAX) {
        return tmb_fail(error, TMB_ERROR_FORMAT,
                        "an added token has %zu bytes and the id %lld: outside 1 to %d or 0 to %d", length,
                        (long long)id, TMB_ADDED_TOKEN_BYTES_MAX, TMB_TOKEN_ID_MAX);
    }
    for (size_t i = 0; i < tokens->count; i++) {
        tmb_added_token *token = &tokens->tokens[i];
        if (token->length == length && memcmp(token->content, content, length) == 0) {
            token->id = (int32_t)id;
            token->normalized = normalized;
            return TMB_OK;
        }
    }
    if (tokens->count == TMB_ADDED_TOKENS_MAX) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "more than %d added tokens", TMB_ADDED_TOKENS_MAX);
    }
    if (tokens->count == tokens->capacity) {
        size_t capacity = tokens->capacity == 0 ? 64 : 2 * tokens->capacity;
        tmb_added_token *grown = tmb_realloc(tokens->tokens, capacity, sizeof *grown);
        if (grown == NULL) {
            return tmb_fail_memory(error, "added tokens", 0);
        }
        tokens->tokens = grown;
        tokens->capacity = capacity;
    }
    char *copy = tmb_calloc(length + 1, 1);
    if (copy == NULL) {
        return tmb_fail_memory(error, "added tokens", 0);
    }
    memcpy(copy, content, length);
    tokens->tokens[tokens->count++] = (tmb_added_token){copy, length, (int32_t)id, normalized};
    return TMB_OK;
}

/* By first byte, then the longest first. */
static int compare_tokens(const void *a, const void *b) {
    const tmb_added_token *left = a;
    const tmb_added_token *right = b;
    unsigned char left_first = (unsigned char)left->content[0];
    unsigned char right_first = (unsigned char)right->content[0];
    if (left_first != right_first) {
        return left_first < right_first ? -1 : 1;
    }
    if (left->length != right->length) {
        return left->length > right->length ? -1 : 1;
    }
    return memcmp(left->content, right->content, left->length);
}

void tmb_added_tokens_sort(tmb_added_tokens *tokens) {
    if (tokens->count != 0) {
        qsort(tokens->tokens, tokens->count, sizeof *tokens->tokens, compare_tokens);
    }
    size_t i = 0;
    for (unsigned byte = 0; byte <= 256; byte++) {
        while (i < tokens->count && (unsigned char)tokens->tokens[i].content[0] < byte) {
            i++;
        }
        tokens->first[byte] = (uint16_t)i;
    }
}

const tmb_added_token *tmb_added_tokens_search(const tmb_added_tokens *tokens, bool normalized, const char *text,
                                               size_t bytes, size_t from, size_t *at) {
    if (tokens->count == 0) {
        return NULL;
    }
    for (size_t i = from; i < bytes; i++) {
        unsigned byte = (unsigned char)text[i];
        for (size_t k = tokens->first[byte]; k < tokens->first[byte + 1]; k++) {
            const tmb_added_token *token = &tokens->tokens[k];
            if (token->normalized == normalized && token->length <= bytes - i &&
                memcmp(token->content, text + i, token->length) == 0) {
                *at = i;
                return token;
            }
        }
    }
    return NULL;
}

int32_t tmb_added_tokens_find(const tmb_added_tokens *tokens, const char *content) {
    for (size_t i = 0; i < tokens->count; i++) {
        if (strcmp(tokens->tokens[i].content, content) == 0) {
            return tokens->tokens[i].id;
        }
    }
    return -1;
}

void tmb_added_tokens_free(tmb_added_tokens *tokens) {
    for (size_t i = 0; i < tokens->count; i++) {
        free(tokens->tokens[i].content);
    }
    free(tokens->tokens);
    memset(tokens, 0, sizeof *tokens);
}
