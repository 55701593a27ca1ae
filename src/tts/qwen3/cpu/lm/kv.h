/* Keys and values of one sequence, in pages that are taken as the sequence grows.
 *
 * A page holds `page_positions` positions of every layer: [layers][keys, values][heads][positions][head size], f32 or
 * f16. A sequence is used by one thread at a time, but for positions that are written by several threads,
 * each its own heads.
 */
#ifndef TMB_TTS_QWEN3_CPU_LM_KV_H
#define TMB_TTS_QWEN3_CPU_LM_KV_H

#include "timbre/timbre.h"

typedef struct tmb_kv_shape {
    size_t layers, heads, head_size, page_positions;
    bool half; /* f16, otherwise f32 */
} tmb_kv_shape;

typedef struct tmb_kv {
    tmb_kv_shape shape;
    uint8_t **pages;
    size_t page_count;    /* allocated */
    size_t page_capacity; /* of the list */
} tmb_kv;

/* Bytes of a page, and of what `positions` positions need; SIZE_MAX if that does not fit. */
size_t tmb_kv_page_bytes(const tmb_kv_shape *shape);
size_t tmb_kv_bytes(const tmb_kv_shape *shape, size_t positions);

/* A zeroed tmb_kv with the shape is empty. Makes room for positions [0, positions). */
tmb_status tmb_kv_reserve(tmb_kv *kv, size_t positions, tmb_error *error);
void tmb_kv_free(tmb_kv *kv);

/* Copies positions [0, positions) of every layer; both have the shape, `to` has the room. */
void tmb_kv_copy(tmb_kv *to, const tmb_kv *from, size_t positions);

/* Where the keys (values: 1) of a head begin in a page. */
static inline size_t tmb_kv_offset(const tmb_kv_shape *shape, size_t layer, int values, size_t head) {
    return ((layer * 2 + (size_t)values) * shape->heads + head) * shape->page_positions * shape->head_size *
           (shape->half ? 2 : 4);
}

#endif
