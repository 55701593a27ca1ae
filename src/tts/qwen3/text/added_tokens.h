/* Tokens that are cut out of a text before anything else: "<|im_end|>" typed by a user is the token. */
#ifndef TMB_TTS_QWEN3_TEXT_ADDED_TOKENS_H
#define TMB_TTS_QWEN3_TEXT_ADDED_TOKENS_H

#include "timbre/timbre.h"

enum { TMB_ADDED_TOKENS_MAX = 1024, TMB_ADDED_TOKEN_BYTES_MAX = 256 };

typedef struct tmb_added_token {
    char *content;
    size_t length;
    int32_t id;
    bool normalized; /* looked for in the normalized text instead of the raw one */
} tmb_added_token;

/* Zero-initialise; tmb_added_tokens_free. Immutable once sorted. */
typedef struct tmb_added_tokens {
    tmb_added_token *tokens;
    size_t count, capacity;
    uint16_t first[257]; /* tokens that begin with byte b: [first[b], first[b + 1]) */
} tmb_added_tokens;

/* Adds one; the same content again replaces it. TMB_ERROR_FORMAT, TMB_ERROR_LIMIT, TMB_ERROR_MEMORY. */
tmb_status tmb_added_tokens_add(tmb_added_tokens *tokens, const char *content, size_t length, int64_t id,
                                bool normalized, tmb_error *error);

/* Call when all are added, before any search. */
void tmb_added_tokens_sort(tmb_added_tokens *tokens);

/* The leftmost token at or after `from` (the longest, if several begin there) of one kind, or NULL; *at = its place.
 */
const tmb_added_token *tmb_added_tokens_search(const tmb_added_tokens *tokens, bool normalized, const char *text,
                                               size_t bytes, size_t from, size_t *at);

/* The id of a token by its content, or -1. */
int32_t tmb_added_tokens_find(const tmb_added_tokens *tokens, const char *content);

void tmb_added_tokens_free(tmb_added_tokens *tokens);

#endif
