#include "tts/qwen3/cpu/lm/kv.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

size_t tmb_kv_page_bytes(const tmb_kv_shape *shape) {
    size_t bytes = shape->half ? 2 : 4;
    const size_t factors[] = {shape->layers, 2, shape->heads, shape->head_size, shape->page_positions};
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        if (!tmb_mul_size(bytes, factors[i], &bytes)) {
            return SIZE_MAX;
        }
    }
    return bytes;
}

size_t tmb_kv_bytes(const tmb_kv_shape *shape, size_t positions) {
    size_t bytes = 0;
    size_t pages = positions / shape->page_positions + (positions % shape->page_positions != 0);
    return tmb_mul_size(tmb_kv_page_bytes(shape), pages, &bytes) ? bytes : SIZE_MAX;
}

tmb_status tmb_kv_reserve(tmb_kv *kv, size_t positions, tmb_error *error) {
    size_t pages = positions / kv->shape.page_positions + (positions % kv->shape.page_positions != 0);
    if (pages > kv->page_capacity) {
        size_t capacity = pages < 8 ? 8 : pages * 2;
        uint8_t **list = tmb_realloc(kv->pages, capacity, sizeof *list);
        if (list == NULL) {
            return tmb_fail_memory(error, "a sequence's list of pages", capacity * sizeof *list);
        }
        kv->pages = list;
        kv->page_capacity = capacity;
    }
    while (kv->page_count < pages) {
        uint8_t *page = tmb_alloc_aligned(1, tmb_kv_page_bytes(&kv->shape));
        if (page == NULL) {
            return tmb_fail_memory(error, "a sequence's keys and values", tmb_kv_page_bytes(&kv->shape));
        }
        kv->pages[kv->page_count++] = page;
    }
    return TMB_OK;
}

void tmb_kv_free(tmb_kv *kv) {
    for (size_t i = 0; i < kv->page_count; i++) {
        free(kv->pages[i]);
    }
    free(kv->pages);
    kv->pages = NULL;
    kv->page_count = kv->page_capacity = 0;
}

void tmb_kv_copy(tmb_kv *to, const tmb_kv *from, size_t positions) {
    const tmb_kv_shape *shape = &from->shape;
    size_t row = shape->head_size * (shape->half ? 2 : 4);
    for (size_t page = 0; page * shape->page_positions < positions; page++) {
        size_t count = positions - page * shape->page_positions;
        if (count >= shape->page_positions) {
            memcpy(to->pages[page], from->pages[page], tmb_kv_page_bytes(shape));
            continue;
        }
        for (size_t layer = 0; layer < shape->layers; layer++) {
            for (size_t head = 0; head < shape->heads; head++) {
                for (int values = 0; values < 2; values++) {
                    size_t offset = tmb_kv_offset(shape, layer, values, head);
                    memcpy(to->pages[page] + offset, from->pages[page] + offset, count * row);
                }
            }
        }
    }
}
