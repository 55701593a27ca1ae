/* Frames as in RFC 9639, section 9: a header with a checksum of 8 bits, subframes, a checksum of 16 bits over all.
 * Where a frame ends is nowhere written: it is where its checksum comes out right and the next one begins. */
#include "io/flac_frames.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/bytes.h"
#include "io/marks.h"

#include <stdlib.h>
#include <string.h>

#define STREAMINFO_BYTES 34
#define MAX_HEADER 16
/* No frame is smaller: a header, one subframe of a byte and a half, the checksum. */
#define MIN_FRAME 10
/* Nor larger: 65535 samples of eight channels, as they are. */
#define MAX_FRAME ((uint64_t)65535 * 8 * 4 + 64)
#define BLOCK ((size_t)64 << 10)

/* A window on the source that moves forward. */
typedef struct window {
    tmb_source *source;
    uint64_t place, end;
    size_t size;
    uint8_t *data; /* [2 * BLOCK] */
} window;

/* `count` bytes at `place`, NULL when they reach beyond the end. */
static const uint8_t *look(window *w, uint64_t place, size_t count) {
    if (place < w->place || place + count > w->place + w->size) {
        const uint64_t left = place < w->end ? w->end - place : 0;
        w->place = place;
        w->size = tmb_source_read_at(w->source, place, w->data, left < 2 * BLOCK ? (size_t)left : 2 * BLOCK);
        if (w->size < count) {
            return NULL;
        }
    }
    return w->data + (place - w->place);
}

static uint8_t checksum8(const uint8_t *data, size_t size) {
    unsigned value = 0;
    for (size_t i = 0; i < size; i++) {
        value ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            value = (value << 1) ^ ((value & 0x80) != 0 ? 0x107u : 0);
        }
    }
    return (uint8_t)value;
}

/* Polynomial 0x8005, most significant bit first, from 0. */
static void make_table(uint16_t table[256]) {
    for (unsigned i = 0; i < 256; i++) {
        unsigned value = i << 8;
        for (int bit = 0; bit < 8; bit++) {
            value = (value << 1) ^ ((value & 0x8000) != 0 ? 0x18005u : 0);
        }
        table[i] = (uint16_t)value;
    }
}

/* Samples of the frame whose header begins at `place`; 0: none begins there. *size = bytes of the header. */
static unsigned frame_samples(window *w, uint64_t place, size_t *size) {
    uint8_t head[MAX_HEADER] = {0};
    size_t there = MAX_HEADER;
    const uint8_t *bytes = look(w, place, there);
    while (bytes == NULL && there > 6) {
        bytes = look(w, place, --there);
    }
    if (bytes == NULL) {
        return 0;
    }
    memcpy(head, bytes, there);
    const unsigned code = head[2] >> 4;
    const unsigned rate = head[2] & 0xf;
    const unsigned bits = (head[3] >> 1) & 7;
    if (head[0] != 0xff || (head[1] & 0xfe) != 0xf8 || code == 0 || rate == 15 || head[3] >> 4 > 10 || bits == 3 ||
        (head[3] & 1) != 0) {
        return 0;
    }
    size_t coded = 1; /* bytes of the frame's or sample's number, in the manner of UTF-8 */
    while (coded < 7 && (head[4] & (0x80 >> coded)) != 0 && (head[4] & 0x80) != 0) {
        coded++;
    }
    size_t at = 4 + coded;
    unsigned samples = 0;
    if (code == 1) {
        samples = 192;
    } else if (code <= 5) {
        samples = 576u << (code - 2);
    } else if (code == 6) {
        samples = head[at] + 1u;
        at += 1;
    } else if (code == 7) {
        samples = (unsigned)tmb_big(head + at, 2) + 1;
        at += 2;
    } else {
        samples = 256u << (code - 8);
    }
    at += rate == 12 ? 1 : rate >= 13 ? 2 : 0;
    if (at >= there || head[at] != checksum8(head, at)) {
        return 0;
    }
    *size = at + 1;
    return samples;
}

/* Where the frame at `place` ends: at the next frame or at the end of all; 0: nowhere. Then *maybe is the first place
 * at which the checksum came out right, or 0: what is behind it is no FLAC. */
static uint64_t frame_end(window *w, const uint16_t table[256], uint64_t place, uint64_t *maybe) {
    unsigned value = 0;
    *maybe = 0;
    for (uint64_t base = place; base < w->end;) {
        const size_t count = w->end - base < BLOCK ? (size_t)(w->end - base) : BLOCK;
        const uint8_t *data = look(w, base, count);
        for (size_t i = 0; data != NULL && i < count; i++) {
            if (value == 0 && base + i >= place + MIN_FRAME) {
                size_t size = 0;
                if (frame_samples(w, base + i, &size) > 0) {
                    return base + i;
                }
                *maybe = *maybe == 0 && base + i - place < MAX_FRAME ? base + i : *maybe;
                data = look(w, base, count);
                if (data == NULL) {
                    break;
                }
            }
            value = ((value << 8) & 0xffff) ^ table[(value >> 8) ^ data[i]];
        }
        if (data == NULL) {
            return 0;
        }
        base += count;
    }
    return value == 0 && w->end >= place + MIN_FRAME ? w->end : 0;
}

/* "fLaC" and the head of a STREAMINFO block. */
static bool is_stream(const uint8_t *data) {
    return memcmp(data, "fLaC", 4) == 0 && (data[4] & 0x7f) == 0 && tmb_big(data + 5, 3) == STREAMINFO_BYTES;
}

/* Where the next stream begins behind `place`, or the end. */
static uint64_t next_stream(window *w, uint64_t place) {
    while (place + 8 <= w->end) {
        const size_t count = w->end - place < BLOCK ? (size_t)(w->end - place) : BLOCK;
        const uint8_t *data = look(w, place, count);
        if (data == NULL) {
            break;
        }
        for (size_t i = 0; i + 8 <= count;) {
            const uint8_t *found = memchr(data + i, 'f', count - 7 - i);
            if (found == NULL) {
                break;
            }
            if (is_stream(found)) {
                return place + (uint64_t)(found - data);
            }
            i = (size_t)(found - data) + 1;
        }
        place += count > 7 ? count - 7 : count;
    }
    return w->end;
}

/* Where the frames begin; 0: the metadata is cut short. */
static uint64_t skip_metadata(window *w, uint64_t place) {
    place += 4;
    for (bool last = false; !last;) {
        const uint8_t *head = look(w, place, 4);
        if (head == NULL) {
            return 0;
        }
        last = (head[0] & 0x80) != 0;
        place += 4 + tmb_big(head + 1, 3);
    }
    return place <= w->end ? place : 0;
}

/* One stream, from its "fLaC" to where its frames end. */
static tmb_status walk_stream(window *w, const uint16_t table[256], tmb_notes *notes, tmb_part *part,
                              tmb_error *error) {
    const uint8_t *head = look(w, part->start, 8 + STREAMINFO_BYTES);
    if (head == NULL || !is_stream(head)) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged or cut short in its FLAC header");
    }
    const uint64_t promised = tmb_big(head + TMB_FLAC_TOTAL_PLACE, TMB_FLAC_TOTAL_BYTES) & UINT64_C(0xfffffffff);
    uint64_t place = skip_metadata(w, part->start);
    if (place == 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside its FLAC header");
    }
    uint64_t damaged = 0;
    bool followed = false; /* by what is no FLAC */
    while (place < w->end && damaged == 0) {
        size_t size = 0;
        uint64_t maybe = 0;
        const unsigned samples = frame_samples(w, place, &size);
        uint64_t end = samples > 0 ? frame_end(w, table, place, &maybe) : 0;
        if (end == 0 && maybe > 0) { /* whether it was whole, the decoder finds */
            damaged = maybe;
            end = maybe;
            followed = true;
        } else if (end == 0) {
            damaged = place;
        }
        if (end > 0) {
            part->length += samples;
            place = end;
        }
    }
    part->end = place;
    if (damaged != 0 && (promised > 0 ? part->length >= promised : followed)) {
        if (tmb_marks_skip(w->source, damaged, w->end) < w->end) {
            tmb_note(notes, "has %llu bytes behind its audio, which are left out",
                     (unsigned long long)(w->end - damaged));
        }
        return TMB_OK;
    }
    if (damaged != 0) {
        return promised > 0 ? tmb_lost(notes, error,
                                       "is damaged or cut short at byte %llu: it promises %llu samples and %llu are "
                                       "whole",
                                       (unsigned long long)damaged, (unsigned long long)promised,
                                       (unsigned long long)part->length)
                            : tmb_lost(notes, error, "is damaged or cut short at byte %llu: %llu samples are whole",
                                       (unsigned long long)damaged, (unsigned long long)part->length);
    }
    if (part->length < promised) {
        return tmb_lost(notes, error, "is cut short: it promises %llu samples and has %llu",
                        (unsigned long long)promised, (unsigned long long)part->length);
    }
    return TMB_OK;
}

tmb_status tmb_flac_walk(tmb_source *source, uint64_t start, uint64_t end, tmb_notes *notes, tmb_parts *parts,
                         tmb_error *error) {
    uint16_t table[256];
    make_table(table);
    window whole = {.source = source, .end = end, .data = tmb_calloc(2, BLOCK)};
    if (whole.data == NULL) {
        return tmb_fail_memory(error, "an audio reader", 2 * BLOCK);
    }
    tmb_status status = TMB_OK;
    while (status == TMB_OK && start < end) {
        window w = whole;
        w.place = start;
        w.size = 0;
        const uint64_t next = next_stream(&w, start + 8);
        w.end = tmb_marks_strip(source, start, next);
        w.place = start;
        w.size = 0;
        tmb_part part = {.start = start};
        status = walk_stream(&w, table, notes, &part, error);
        if (status == TMB_OK && (part.length > 0 || parts->count == 0)) {
            status = tmb_parts_add(parts, part, error);
        }
        start = next;
    }
    free(whole.data);
    return status;
}
