#include "tts/qwen3/text/normalize.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tts/qwen3/text/unicode_ranges.h"

#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

static bool is_ascii(const char *text, size_t bytes) {
    size_t i = 0;
    for (; bytes - i >= 8; i += 8) {
        uint64_t block;
        memcpy(&block, text + i, 8);
        if ((block & 0x8080808080808080u) != 0) {
            return false;
        }
    }
    for (; i < bytes; i++) {
        if ((unsigned char)text[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

static unsigned combining_class(utf8proc_int32_t code) {
    return (unsigned)utf8proc_get_property(code)->combining_class;
}

/* Sorts a run of marks by combining class, equal ones in their order (a counting sort: the library's own
 * takes quadratic time). `scratch` has room for `count`. */
static void sort_marks(utf8proc_int32_t *marks, utf8proc_int32_t *scratch, size_t count) {
    size_t begin[257] = {0};
    for (size_t i = 0; i < count; i++) {
        begin[combining_class(marks[i]) % 256 + 1]++;
    }
    for (size_t i = 1; i < 257; i++) {
        begin[i] += begin[i - 1];
    }
    for (size_t i = 0; i < count; i++) {
        scratch[begin[combining_class(marks[i]) % 256]++] = marks[i];
    }
    memcpy(marks, scratch, count * sizeof *marks);
}

static void order_canonically(utf8proc_int32_t *codes, utf8proc_int32_t *scratch, size_t count) {
    size_t i = 0;
    while (i < count) {
        size_t end = i;
        bool sorted = true;
        unsigned before = 0;
        for (unsigned class; end < count && (class = combining_class(codes[end])) != 0; end++) {
            sorted = sorted && class >= before;
            before = class;
        }
        if (!sorted) {
            sort_marks(codes + i, scratch, end - i);
        }
        i = end + 1;
    }
}

/* Canonical decomposition of a code point gives 4 at most. */
#define EXPANSION 4
#define COMPOSING (UTF8PROC_STABLE | UTF8PROC_COMPOSE)

/* Code points for which the official normalizer's older tables know no class and no composition: the
 * text before and behind them is normalized by itself. */
static bool is_break(uint32_t code) {
    size_t low = 0;
    size_t high = sizeof tmb_normalization_breaks / sizeof tmb_normalization_breaks[0];
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (code > tmb_normalization_breaks[middle][1]) {
            low = middle + 1;
        } else if (code < tmb_normalization_breaks[middle][0]) {
            high = middle;
        } else {
            return true;
        }
    }
    return false;
}

/* Buffers for one text, and what has been written so far. */
typedef struct normalization {
    utf8proc_int32_t *codes, *scratch;
    size_t count; /* decomposed code points of the run */
    char *out;
    size_t out_bytes;
} normalization;

/* Orders and composes the run and writes it. */
static void end_run(normalization *n) {
    order_canonically(n->codes, n->scratch, n->count);
    utf8proc_ssize_t composed = utf8proc_normalize_utf32(n->codes, (utf8proc_ssize_t)n->count, COMPOSING);
    for (utf8proc_ssize_t i = 0; i < composed; i++) {
        n->out_bytes += tmb_utf8_encode((uint32_t)n->codes[i], n->out + n->out_bytes);
    }
    n->count = 0;
}

static void normalize_all(normalization *n, const char *text, size_t bytes) {
    for (size_t position = 0; position < bytes;) {
        uint32_t code = 0;
        size_t length = tmb_utf8_decode(text + position, bytes - position, &code);
        position += length;
        if (is_break(code)) {
            end_run(n);
            n->out_bytes += tmb_utf8_encode(code, n->out + n->out_bytes);
            continue;
        }
        int boundary = 0;
        utf8proc_ssize_t more =
            utf8proc_decompose_char((utf8proc_int32_t)code, n->codes + n->count, EXPANSION, COMPOSING, &boundary);
        n->count += more > 0 && more <= EXPANSION ? (size_t)more : 0;
    }
    end_run(n);
}

tmb_status tmb_normalize_nfc(const char *text, size_t bytes, const char **out, size_t *out_bytes, char **owned,
                             tmb_error *error) {
    *out = text;
    *out_bytes = bytes;
    *owned = NULL;
    if (is_ascii(text, bytes)) {
        return TMB_OK;
    }
    size_t codes = 0;
    for (size_t i = 0; i < bytes; i++) {
        codes += ((unsigned char)text[i] & 0xc0) != 0x80;
    }
    normalization n = {
        .codes = tmb_calloc(EXPANSION * codes + 1, sizeof *n.codes),
        .scratch = tmb_calloc(EXPANSION * codes + 1, sizeof *n.scratch),
        .out = tmb_calloc(EXPANSION * codes + 1, 4), /* a code point takes 4 bytes at most */
    };
    bool good = n.codes != NULL && n.scratch != NULL && n.out != NULL;
    if (good) {
        normalize_all(&n, text, bytes);
    }
    free(n.codes);
    free(n.scratch);
    if (!good) {
        free(n.out);
        return tmb_fail_memory(error, "a text", 0);
    }
    *owned = n.out;
    *out = n.out;
    *out_bytes = n.out_bytes;
    return TMB_OK;
}
