#include "server/rope.h"

#include "base/file.h"
#include "base/memory.h"
#include "base/text.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct segment {
    uint64_t size; /* in the answer; of one that is opened later: not known before */
    char *text;    /* or a file: */
    int descriptor;
    uint64_t bytes;
    tmb_rope_open open; /* or one that is opened when its turn comes */
    void *user;
    char id[64];
    bool quoted; /* the base64 stands in quotes */
} segment;

struct tmb_rope {
    segment *segments;
    size_t count, capacity;
    uint64_t size; /* UINT64_MAX: not known */
    size_t at;     /* the segment that is read, and where it begins in the answer */
    uint64_t start;
};

tmb_rope *tmb_rope_create(void) { return tmb_calloc(1, sizeof(tmb_rope)); }

static void empty(segment *done) {
    if (done->descriptor >= 0) {
        (void)close(done->descriptor);
    }
    free(done->text);
    done->descriptor = -1;
    done->text = NULL;
}

void tmb_rope_destroy(tmb_rope *rope) {
    if (rope == NULL) {
        return;
    }
    for (size_t i = 0; i < rope->count; i++) {
        empty(&rope->segments[i]);
    }
    free(rope->segments);
    free(rope);
}

static segment *append(tmb_rope *rope, uint64_t size) {
    if (rope->count == rope->capacity) {
        size_t capacity = rope->capacity ? 2 * rope->capacity : 16;
        segment *grown = tmb_realloc(rope->segments, capacity, sizeof *grown);
        if (grown == NULL) {
            return NULL;
        }
        rope->segments = grown;
        rope->capacity = capacity;
    }
    segment *added = &rope->segments[rope->count];
    *added = (segment){.size = size, .descriptor = -1};
    rope->count++;
    if (rope->size != UINT64_MAX) {
        rope->size += size;
    }
    return added;
}

bool tmb_rope_text(tmb_rope *rope, const char *text, size_t size) {
    char *copy = tmb_calloc(size, 1);
    segment *added = copy != NULL ? append(rope, size) : NULL;
    if (added == NULL) {
        free(copy);
        return false;
    }
    memcpy(copy, text, size);
    added->text = copy;
    return true;
}

bool tmb_rope_base64_file(tmb_rope *rope, int descriptor, uint64_t size) {
    segment *added = size < UINT64_MAX / 2 ? append(rope, tmb_base64_encoded_size(size)) : NULL;
    if (added == NULL) {
        (void)close(descriptor);
        return false;
    }
    added->descriptor = descriptor;
    added->bytes = size;
    return true;
}

bool tmb_rope_audio(tmb_rope *rope, tmb_rope_open open, void *user, const char *id) {
    size_t length = strlen(id);
    segment *added = length < sizeof added->id ? append(rope, 0) : NULL;
    if (added == NULL) {
        return false;
    }
    added->open = open;
    added->user = user;
    memcpy(added->id, id, length + 1);
    rope->size = UINT64_MAX;
    return true;
}

uint64_t tmb_rope_size(const tmb_rope *rope) { return rope->size; }

/* Characters [position, position + wanted) of the segment's base64. */
static bool read_base64(const segment *from, uint64_t position, char *out, size_t wanted) {
    tmb_error error;
    char bytes[3 * 1024];
    char characters[4 * 1024];
    while (wanted) {
        uint64_t group = position / 4;
        uint64_t left = from->bytes - 3 * group;
        size_t count = left < sizeof bytes ? (size_t)left : sizeof bytes;
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

/* The turn of a file that was not opened before has come: now it is known what stands in the answer. */
static bool open_segment(segment *at) {
    char problem[160];
    unsigned status = at->open(at->user, at->id, &at->descriptor, &at->bytes, problem, sizeof problem);
    at->open = NULL;
    if (status) {
        json_t *message = json_string(problem);
        char *quoted = message != NULL ? json_dumps(message, JSON_ENCODE_ANY) : NULL;
        json_decref(message);
        at->text = quoted != NULL ? tmb_asprintf("null,\"error\":%s", quoted) : NULL;
        free(quoted);
        at->size = at->text != NULL ? strlen(at->text) : 0;
        return at->text != NULL;
    }
    at->quoted = true;
    at->size = tmb_base64_encoded_size(at->bytes) + 2;
    return true;
}

/* Characters [inside, inside + wanted) of a file, in quotes if they belong to it. */
static bool read_file(const segment *at, uint64_t inside, char *out, size_t wanted) {
    uint64_t length = at->size - (at->quoted ? 2 : 0);
    if (at->quoted && inside == 0) {
        *out++ = '"';
        wanted--;
    }
    uint64_t position = at->quoted && inside ? inside - 1 : 0;
    position = at->quoted ? position : inside;
    size_t take = wanted < length - position ? wanted : (size_t)(length - position);
    if (!read_base64(at, position, out, take)) {
        return false;
    }
    if (take < wanted) {
        out[take] = '"';
    }
    return true;
}

bool tmb_rope_waits(const tmb_rope *rope) { return rope->at < rope->count && rope->segments[rope->at].open != NULL; }

bool tmb_rope_go_on(tmb_rope *rope) { return open_segment(&rope->segments[rope->at]); }

ssize_t tmb_rope_read(tmb_rope *rope, uint64_t position, char *out, size_t capacity) {
    bool once = rope->size == UINT64_MAX;
    size_t done = 0;
    if (position < rope->start && once) {
        return -1;
    }
    if (position < rope->start) {
        rope->at = 0;
        rope->start = 0;
    }
    while (done < capacity && rope->at < rope->count) {
        segment *at = &rope->segments[rope->at];
        if (at->open != NULL) {
            break;
        }
        uint64_t inside = position + done - rope->start;
        if (inside >= at->size) {
            if (once) {
                empty(at);
            }
            rope->start += at->size;
            rope->at++;
            continue;
        }
        uint64_t left = at->size - inside;
        size_t take = left < capacity - done ? (size_t)left : capacity - done;
        if (at->text != NULL) {
            memcpy(out + done, at->text + inside, take);
        } else if (!read_file(at, inside, out + done, take)) {
            return -1;
        }
        done += take;
    }
    return (ssize_t)done;
}
