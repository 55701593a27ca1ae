/* Merging the bytes of one pre-token into tokens. */
#ifndef TMB_TTS_QWEN3_TEXT_BPE_H
#define TMB_TTS_QWEN3_TEXT_BPE_H

#include "tts/qwen3/text/vocabulary.h"

/* Ids that grow as they are appended to. */
typedef struct tmb_token_list {
    int32_t *ids;
    size_t count, capacity;
} tmb_token_list;

bool tmb_token_list_reserve(tmb_token_list *list, size_t more);

/* Memory that is kept from one pre-token to the next; zero-initialise, tmb_bpe_scratch_free. */
typedef struct tmb_bpe_scratch {
    struct tmb_bpe_symbol *symbols;
    uint64_t *heap;
    size_t symbol_capacity, heap_capacity;
} tmb_bpe_scratch;

void tmb_bpe_scratch_free(tmb_bpe_scratch *scratch);

/* Appends the tokens of text[0 .. bytes), bytes < 2^31. The pair of lowest rank merges first, the leftmost among
 * equals: O(n log n) with a heap over a linked list. False when out of memory. */
bool tmb_bpe_encode(const tmb_vocabulary *vocabulary, tmb_bpe_scratch *scratch, const char *text, size_t bytes,
                    tmb_token_list *out);

#endif
