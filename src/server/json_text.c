#include "server/json_text.h"

#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

json_t *tmb_json_text(const char *text) {
    if (text == NULL) {
        return json_null();
    }
    size_t size = strlen(text);
    if (tmb_utf8_valid_prefix(text, size) == size) {
        return json_stringn_nocheck(text, size);
    }
    char *clean = tmb_calloc(3 * size + 1, 1);
    json_t *value = clean != NULL ? json_stringn_nocheck(clean, tmb_utf8_clean(text, size, clean, 3 * size + 1)) : NULL;
    free(clean);
    return value;
}
