#include "tts/qwen3/text/bpe.h"

#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct tmb_bpe_symbol {
    int32_t id; /* -1: merged into the symbol before it */
    uint32_t previous, next;
} tmb_bpe_symbol;

bool tmb_token_list_reserve(tmb_token_list *list, size_t more) {
    size_t needed = list->count + more;
    if (needed <= list->capacity) {
        return true;
    }
    size_t capacity = needed < 64 ? 128 : 2 * needed;
    int32_t *ids = tmb_realloc(list->ids, capacity, sizeof *ids);
    if (ids == NULL) {
        return false;
    }
    list->ids = ids;
    list->capacity = capacity;
    return true;
}

void tmb_bpe_scratch_free(tmb_bpe_scratch *scratch) {
    free(scratch->symbols);
    free(scratch->heap);
    memset(scratch, 0, sizeof *scratch);
}

static bool reserve_scratch(tmb_bpe_scratch *scratch, size_t bytes) {
    size_t room = bytes < 512 ? 512 : bytes;
    if (bytes > scratch->symbol_capacity) {
        tmb_bpe_symbol *symbols = tmb_realloc(scratch->symbols, room, sizeof *symbols);
        if (symbols == NULL) {
            return false;
        }
        scratch->symbols = symbols;
        scratch->symbol_capacity = room;
    }
    /* n - 1 pairs to begin with; a merge takes one out and puts two in, n - 1 times at most. */
    if (3 * bytes > scratch->heap_capacity) {
        uint64_t *heap = tmb_realloc(scratch->heap, 3 * room, sizeof *heap);
        if (heap == NULL) {
            return false;
        }
        scratch->heap = heap;
        scratch->heap_capacity = 3 * room;
    }
    return true;
}

/* A binary heap of rank << 32 | position: the lowest rank, then the leftmost, is first. */
static void heap_push(uint64_t *heap, size_t *count, uint64_t entry) {
    size_t i = (*count)++;
    while (i != 0 && heap[(i - 1) / 2] > entry) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = entry;
}

static uint64_t heap_pop(uint64_t *heap, size_t *count) {
    uint64_t top = heap[0];
    uint64_t last = heap[--*count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *count) {
            break;
        }
        if (child + 1 < *count && heap[child + 1] < heap[child]) {
            child++;
        }
        if (heap[child] >= last) {
            break;
        }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* The merge of the symbol at `position` and the one after it, or NULL. */
static const tmb_merge_slot *merge_at(const tmb_vocabulary *vocabulary, const tmb_bpe_symbol *symbols,
                                      uint32_t position) {
    uint32_t next = symbols[position].next;
    return next == NONE ? NULL : tmb_vocabulary_merge(vocabulary, symbols[position].id, symbols[next].id);
}

static void push_merge(const tmb_vocabulary *vocabulary, tmb_bpe_scratch *scratch, size_t *heap_count,
                       uint32_t position) {
    const tmb_merge_slot *merge = merge_at(vocabulary, scratch->symbols, position);
    if (merge != NULL) {
        heap_push(scratch->heap, heap_count, (uint64_t)merge->rank << 32 | position);
    }
}

bool tmb_bpe_encode(const tmb_vocabulary *vocabulary, tmb_bpe_scratch *scratch, const char *text, size_t bytes,
                    tmb_token_list *out) {
    if (bytes == 0) {
        return true;
    }
    if (!reserve_scratch(scratch, bytes) || !tmb_token_list_reserve(out, bytes)) {
        return false;
    }
    tmb_bpe_symbol *symbols = scratch->symbols;
    for (size_t i = 0; i < bytes; i++) {
        symbols[i] = (tmb_bpe_symbol){vocabulary->bytes[(unsigned char)text[i]], i == 0 ? NONE : (uint32_t)(i - 1),
                                      i + 1 == bytes ? NONE : (uint32_t)(i + 1)};
    }
    size_t heap_count = 0;
    for (size_t i = 0; i + 1 < bytes; i++) {
        push_merge(vocabulary, scratch, &heap_count, (uint32_t)i);
    }
    while (heap_count != 0) {
        uint64_t entry = heap_pop(scratch->heap, &heap_count);
        uint32_t position = (uint32_t)entry;
        tmb_bpe_symbol *symbol = &symbols[position];
        /* What was pushed may be gone by now, or have become another pair. */
        const tmb_merge_slot *merge = symbol->id < 0 ? NULL : merge_at(vocabulary, symbols, position);
        if (merge == NULL || merge->rank != entry >> 32) {
            continue;
        }
        tmb_bpe_symbol *eaten = &symbols[symbol->next];
        symbol->id = merge->id;
        symbol->next = eaten->next;
        eaten->id = -1;
        if (symbol->next != NONE) {
            symbols[symbol->next].previous = position;
        }
        if (symbol->previous != NONE) {
            push_merge(vocabulary, scratch, &heap_count, symbol->previous);
        }
        push_merge(vocabulary, scratch, &heap_count, position);
    }
    for (uint32_t i = 0; i != NONE; i = symbols[i].next) {
        out->ids[out->count++] = symbols[i].id;
    }
    return true;
}
