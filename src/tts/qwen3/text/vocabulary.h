/* The tables of a byte-level BPE: token string to id, and pair of ids to what they merge into.
 *
 * Token strings are kept as the files write them, in the printable alphabet that GPT-2 gave each byte ("Ġ" is a
 * space): merging needs ids only, so nothing is ever decoded.
 */
#ifndef TMB_TTS_QWEN3_TEXT_VOCABULARY_H
#define TMB_TTS_QWEN3_TEXT_VOCABULARY_H

#include "timbre/timbre.h"

#define TMB_TOKEN_ID_MAX ((1 << 24) - 1)

typedef struct tmb_vocabulary_slot {
    uint32_t hash, offset, length; /* where the string is; length 0: free slot */
    int32_t id;
} tmb_vocabulary_slot;

typedef struct tmb_merge_slot {
    int32_t left, right; /* left < 0: free slot */
    int32_t id;          /* of the merged token */
    uint32_t rank;       /* lower merges first */
} tmb_merge_slot;

/* Zero-initialise, then tmb_vocabulary_init. Immutable once filled, so threads may share it. */
typedef struct tmb_vocabulary {
    uint64_t seed; /* of the hashes: a file cannot be made to collide */
    tmb_vocabulary_slot *slots;
    size_t slot_count, count; /* slot_count is a power of two, or 0 */
    char *strings;
    size_t string_bytes, string_capacity;
    tmb_merge_slot *merges;
    size_t merge_slot_count, merge_count;
    int32_t bytes[256]; /* the token of each byte */
    int32_t highest_id;
} tmb_vocabulary;

void tmb_vocabulary_init(tmb_vocabulary *vocabulary);
void tmb_vocabulary_free(tmb_vocabulary *vocabulary);

/* Adds a token. TMB_ERROR_FORMAT: the string is empty or there already, or the id is not from 0 to TMB_TOKEN_ID_MAX.
 * TMB_ERROR_MEMORY. */
tmb_status tmb_vocabulary_add(tmb_vocabulary *vocabulary, const char *text, size_t length, int64_t id,
                              tmb_error *error);

/* The id, or -1. */
int32_t tmb_vocabulary_find(const tmb_vocabulary *vocabulary, const char *text, size_t length);

/* Adds a merge; it ranks behind all before it. Repeating one changes nothing. TMB_ERROR_FORMAT if left, right, or
 * both joined are no tokens. */
tmb_status tmb_vocabulary_add_merge(tmb_vocabulary *vocabulary, const char *left, size_t left_length, const char *right,
                                    size_t right_length, tmb_error *error);

/* Fills `bytes` when all tokens are there; TMB_ERROR_FORMAT if a byte has none. */
tmb_status tmb_vocabulary_finish(tmb_vocabulary *vocabulary, tmb_error *error);

/* What two neighbours merge into, or NULL. */
const tmb_merge_slot *tmb_vocabulary_merge(const tmb_vocabulary *vocabulary, int32_t left, int32_t right);

#endif
