#include "server/rope.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct segment {
    uint64_t start, size; /* in the answer */
    char *text;           /* or a file: */
    int descriptor;
    uint64_t bytes;
} segment;

struct tmb_rope {
    segment *segments;
    size_t count, capacity;
    size_t last; /* where the last read was: reads go forward */
};

tmb_rope *tmb_rope_create(void) { return tmb_calloc(1, sizeof(tmb_rope)); }

void tmb_rope_destroy(tmb_rope *rope) {
    if (!rope) {
        return;
    }
    for (size_t i = 0; i < rope->count; i++) {
        if (rope->segments[i].descriptor >= 0) {
            (void)close(rope->segments[i].descriptor);
        }
        free(rope->segments[i].text);
    }
    free(rope->segments);
    free(rope);
}

static segment *append(tmb_rope *rope, uint64_t size) {
    if (rope->count == rope->capacity) {
        size_t capacity = rope->capacity ? 2 * rope->capacity : 16;
        segment *grown = tmb_realloc(rope->segments, capacity, sizeof(*grown));
        if (!grown) {
            return NULL;
        }
        rope->segments = grown;
        rope->capacity = capacity;
    }
    segment *added = &rope->segments[rope->count];
    *added = (segment){.start = tmb_rope_size(rope), .size = size, .descriptor = -1};
    rope->count++;
    return added;
}

bool tmb_rope_text(tmb_rope *rope, const char *text, size_t size) {
    char *copy = tmb_calloc(size, 1);
    segment *added = copy ? append(rope, size) : NULL;
    if (!added) {
        free(copy);
        return false;
    }
    memcpy(copy, text, size);
    added->text = copy;
    return true;
}

bool tmb_rope_base64_file(tmb_rope *rope, int descriptor, uint64_t size) {
    segment *added = size < UINT64_MAX / 2 ? append(rope, tmb_base64_encoded_size(size)) : NULL;
    if (!added) {
        (void)close(descriptor);
        return false;
    }
    added->descriptor = descriptor;
    added->bytes = size;
    return true;
}

uint64_t tmb_rope_size(const tmb_rope *rope) {
    return rope->count ? rope->segments[rope->count - 1].start + rope->segments[rope->count - 1].size : 0;
}

/* Characters [position, position + wanted) of the segment's base64. */
static bool read_base64(const segment *from, uint64_t position, char *out, size_t wanted) {
    tmb_error error;
    char bytes[3 * 1024];
    char characters[4 * 1024];
    while (wanted) {
        uint64_t group = position / 4;
        uint64_t left = from->bytes - 3 * group;
        size_t count = left < sizeof(bytes) ? (size_t)left : sizeof(bytes);
        if (tmb_file_read_at(from->descriptor, 3 * group, bytes, count, "an answer's audio", &error) != TMB_OK) {
            return false;
        }
        tmb_base64_encode(bytes, count, characters);
        size_t skip = (size_t)(position % 4);
        size_t ready = tmb_base64_encoded_size(count) - skip;
        size_t taken = ready < wanted ? ready : wanted;
        memcpy(out, characters + skip, taken);
        out += taken;
        wanted -= taken;
        position += taken;
    }
    return true;
}

ssize_t tmb_rope_read(tmb_rope *rope, uint64_t position, char *out, size_t capacity) {
    if (rope->last >= rope->count || position < rope->segments[rope->last].start) {
        rope->last = 0;
    }
    size_t done = 0;
    while (done < capacity && rope->last < rope->count) {
        const segment *at = &rope->segments[rope->last];
        uint64_t inside = position + done - at->start;
        if (inside >= at->size) {
            rope->last++;
            continue;
        }
        uint64_t left = at->size - inside;
        size_t take = left < capacity - done ? (size_t)left : capacity - done;
        if (at->text) {
            memcpy(out + done, at->text + inside, take);
        } else if (!read_base64(at, inside, out + done, take)) {
            return -1;
        }
        done += take;
    }
    return (ssize_t)done;
}
