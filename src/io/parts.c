#include "io/parts.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>

tmb_status tmb_parts_add(tmb_parts *parts, tmb_part part, tmb_error *error) {
    if (parts->count == TMB_PARTS_MAX) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "is a chain of more than %d recordings", TMB_PARTS_MAX);
    }
    tmb_part *items = tmb_realloc(parts->items, parts->count + 1, sizeof *items);
    if (items == NULL) {
        return tmb_fail_memory(error, "an audio reader", (parts->count + 1) * sizeof *items);
    }
    items[parts->count++] = part;
    parts->items = items;
    return TMB_OK;
}

void tmb_parts_free(tmb_parts *parts) {
    free(parts->items);
    *parts = (tmb_parts){0};
}
