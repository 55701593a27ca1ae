/* RIFF and its kin: Microsoft's Multimedia Programming Interface 1.0; EBU Tech 3306 (RF64) and ITU-R BS.2088 (BW64);
 * Sony's Wave64; Apple's AIFF-C and Core Audio Format; Sun's AU. */
#include "io/layout_internal.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/bytes.h"
#include "io/marks.h"

#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Chunks that are walked through. */
#define MAX_CHUNKS 4096
/* ---- chunks ---- */

/* The tail that Wave64's identifiers share which are read here. */
static const uint8_t w64_tail[12] = {0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0x00, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a};

/* The chunk whose head is at `place`; false: there is none. Its size may reach beyond the end. */
static bool chunk_at(const tmb_layout_walk *w, uint64_t place, tmb_layout_chunk *out) {
    uint8_t head[24];
    const size_t bytes = w->family.name + w->family.size;
    if (place > w->end || w->end - place < bytes || tmb_source_read_at(w->source, place, head, bytes) < bytes) {
        return false;
    }
    out->contents = place + bytes;
    out->size = tmb_layout_number(w, head + w->family.name, w->family.size);
    if (w->family.name == 16 && memcmp(head + 4, w64_tail, sizeof w64_tail) != 0) { /* anybody's, if it is one */
        memset(out->name, 0, sizeof out->name);
        const bool fits = out->size >= bytes && out->size - bytes <= w->end - out->contents;
        out->size -= fits ? bytes : 0;
        return fits;
    }
    if (!tmb_layout_is_printable(head)) {
        return false;
    }
    memcpy(out->name, head, 4);
    if (w->family.counts_itself) {
        const bool counted = out->size >= bytes;
        out->size -= counted ? bytes : out->size;
        return counted || memcmp(head, w->family.samples, 4) == 0; /* samples without a length: until the end */
    }
    return true;
}

/* The place behind `at` at which a chunk may begin; at most the end. */
static uint64_t align(const tmb_layout_walk *w, uint64_t at) {
    const uint64_t over = (at - w->start) % w->family.alignment;
    const uint64_t padded = over == 0 ? at : at + w->family.alignment - over;
    return padded < w->end ? padded : w->end;
}

/* Where the chunk behind one that ends at `at` begins: some writers forget the padding. */
static uint64_t behind(const tmb_layout_walk *w, uint64_t at) {
    const uint64_t padded = align(w, at);
    tmb_layout_chunk next;
    return padded != at && padded < w->end && !chunk_at(w, padded, &next) && chunk_at(w, at, &next) ? at : padded;
}

static bool zeros_to_end(const tmb_layout_walk *w, uint64_t place) {
    uint8_t block[256];
    const uint64_t left = w->end - place;
    if (left > sizeof block) {
        return false;
    }
    const size_t got = tmb_source_read_at(w->source, place, block, (size_t)left);
    for (size_t i = 0; i < got; i++) {
        if (block[i] != 0) {
            return false;
        }
    }
    return true;
}

/* ---- lengths ---- */

/* Whether no recording ends there but by a writer's guess: from 1 GiB on, a multiple of 16 MiB, up to a head of 4 KiB
 * more or 64 KiB less. All of 0x7fffffff, 0x80000000, 0x7ffff000, 0xffffffff and -1 in 64 bits are such, with and
 * without the head in them. */
static bool is_placeholder(uint64_t size) {
    const uint64_t unit = UINT64_C(1) << 24;
    const uint64_t over = size % unit;
    return size >= (UINT64_C(1) << 30) - 65536 && (over <= 4096 || over >= unit - 65536);
}

/* Whether a file of ours begins at `place`. */
static bool file_begins(const tmb_layout_walk *w, uint64_t place) {
    uint8_t head[16];
    tmb_file_kind kind;
    const size_t got = place < w->end ? tmb_source_read_at(w->source, place, head, sizeof head) : 0;
    return got >= 12 && tmb_sniff_is(head, got, &kind) && kind != TMB_FILE_MP3 && kind != TMB_FILE_OGG;
}

/* Whether nothing but whole chunks and tags lies between `at` and the end or another file (*next): then the samples end
 * at `at` for certain. */
static bool only_chunks(const tmb_layout_walk *w, uint64_t at, uint64_t *next) {
    uint64_t place = behind(w, at);
    *next = 0;
    for (int i = 0; i < MAX_CHUNKS; i++) {
        tmb_layout_chunk c;
        if (file_begins(w, place)) {
            *next = place;
            return true;
        }
        if (place >= w->end || zeros_to_end(w, place)) {
            return true;
        }
        const bool chunk = chunk_at(w, place, &c) && c.size <= w->end - c.contents;
        const uint64_t mark = chunk ? 0 : tmb_mark_at(w->source, place, w->end);
        if (!chunk && mark == 0) {
            return false;
        }
        place = chunk ? behind(w, c.contents + c.size) : place + mark;
    }
    return false;
}

/* The place at or behind `at` from which on nothing is a chunk, a tag or zeros. Zeros may be samples: they say nothing
 * about where these end. */
static uint64_t skip_known(const tmb_layout_walk *w, uint64_t at) {
    uint64_t place = behind(w, at);
    for (int i = 0; i < MAX_CHUNKS && place < w->end; i++) {
        tmb_layout_chunk c;
        const bool chunk = chunk_at(w, place, &c) && c.size <= w->end - c.contents;
        const uint64_t next = chunk ? behind(w, c.contents + c.size) : tmb_marks_skip(w->source, place, w->end);
        if (next == place) {
            break;
        }
        place = next;
    }
    return place;
}

/* Bytes of samples, from the place at which they begin: see the header for the rule. */
static tmb_status settle_length(tmb_layout_walk *w, uint64_t place, uint64_t promised, tmb_error *error) {
    const uint64_t there = w->end - place;
    tmb_layout *out = w->out;
    out->start = place;
    out->end = w->end;
    const bool fits = w->form_end == TMB_LAYOUT_NOT_SAID || is_placeholder(w->form_end - w->start) ||
                      (place <= w->form_end && promised <= w->form_end - place);
    if (promised > there) {
        if (is_placeholder(promised) || !fits) {
            out->unfinished = true;
            return TMB_OK;
        }
        return tmb_lost(w->notes, error, "is cut short: it promises %llu bytes of audio and has %llu",
                        (unsigned long long)promised, (unsigned long long)there);
    }
    uint64_t next = 0;
    if (promised == there || only_chunks(w, place + promised, &next)) {
        /* An empty length before nothing but zeros is a recorder's that was never stopped. */
        const bool empty = promised == 0 && there > 0 &&
                           !(fits && w->form_end != TMB_LAYOUT_NOT_SAID && w->form_end > place) &&
                           zeros_to_end(w, place);
        out->unfinished = empty;
        out->next = next;
        out->end = empty ? w->end : place + promised;
        return TMB_OK;
    }
    const uint64_t end = place + promised;
    if (promised > 0 && file_begins(w, end)) { /* without padding between */
        out->end = end;
        out->next = end;
        return TMB_OK;
    }
    if (promised == 0 || is_placeholder(promised)) {
        out->unfinished = true;
        return TMB_OK;
    }
    for (uint64_t more = there - promised; w->narrow && more >> 32 > 0;) {
        const uint64_t whole = promised + (more & ~UINT64_C(0xffffffff));
        if (whole == there || only_chunks(w, place + whole, &next)) {
            out->end = place + whole;
            out->next = next;
            return TMB_OK;
        }
        more -= UINT64_C(1) << 32;
    }
    if (w->narrow && there >> 32 > 0) {
        out->unfinished = true; /* a length that wrapped, and something behind the samples that is no chunk */
        return TMB_OK;
    }
    out->end = end;
    if (tmb_marks_skip(w->source, end, w->end) < w->end && skip_known(w, end) < w->end) {
        tmb_note(w->notes, "has %llu bytes behind its audio, which are left out", (unsigned long long)(w->end - end));
    }
    return TMB_OK;
}

/* ---- the walk ---- */

/* The samples' own head: AIFF has an offset, CAF a count of edits. */
static tmb_status read_samples(tmb_layout_walk *w, tmb_layout_chunk *c, tmb_error *error) {
    uint8_t head[8] = {0};
    if (strcmp(w->family.samples, "SSND") == 0) {
        const size_t got = tmb_source_read_at(w->source, c->contents, head, 8);
        uint64_t offset = got == 8 ? tmb_big(head, 4) : 0;
        offset = offset <= c->size - (c->size < 8 ? c->size : 8) ? offset : 0;
        if (got < 8 || offset > w->end - c->contents - 8) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside its SSND chunk");
        }
        c->contents += 8 + offset;
        c->size = c->size >= 8 + offset ? c->size - 8 - offset : 0;
    } else if (w->family.big_endian && w->family.size == 8) {
        if (w->end - c->contents < 4) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside its data chunk");
        }
        c->contents += 4;
        c->size = c->size == UINT64_MAX ? c->size : c->size >= 4 ? c->size - 4 : 0;
    }
    w->promised = !w->narrow && w->family.size == 4 && c->size == 0xffffffffu ? w->long_size : c->size;
    w->has_samples = true;
    return settle_length(w, c->contents, w->promised, error);
}

static tmb_status walk_chunks(tmb_layout_walk *w, uint64_t place, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (int i = 0; i < MAX_CHUNKS && status == TMB_OK; i++) {
        tmb_layout_chunk c;
        if (!chunk_at(w, place, &c)) {
            break;
        }
        const bool samples = tmb_layout_chunk_is(&c, w->family.samples);
        if (samples && w->has_samples && w->out->end > w->out->start && c.size > 0) {
            const uint64_t there = c.size < w->end - c.contents ? c.size : w->end - c.contents;
            tmb_note(w->notes, "has a second %s chunk, whose %llu bytes are left out", w->family.samples,
                     (unsigned long long)there);
        }
        /* Before the one with the samples some writers leave an empty one. */
        if (samples && (!w->has_samples || w->out->end == w->out->start)) {
            status = read_samples(w, &c, error);
            if (w->out->unfinished) {
                break;
            }
            w->end = w->out->next != 0 ? w->out->next : w->end;
            place = behind(w, w->out->end);
            continue;
        }
        status = tmb_layout_read_contents(w, &c, error);
        if (c.size > w->end - c.contents) {
            break;
        }
        place = behind(w, c.contents + c.size);
    }
    return status;
}

/* AIFF says the number of samples once more. */
static tmb_status check_frames(tmb_layout_walk *w, tmb_error *error) {
    const uint64_t bytes = w->frames * w->block; /* 32 bits by 16 and a few */
    const uint64_t there = w->out->end - w->out->start;
    if (strcmp(w->family.samples, "SSND") != 0 || w->out->codec != TMB_CODEC_SAMPLES || bytes <= there ||
        is_placeholder(bytes) || is_placeholder(bytes + w->block) || w->out->unfinished) {
        return TMB_OK;
    }
    return tmb_lost(w->notes, error, "is cut short: it promises %llu samples and has %llu",
                    (unsigned long long)w->frames, (unsigned long long)(there / w->block));
}

static tmb_status finish(tmb_layout_walk *w, tmb_error *error) {
    tmb_layout *out = w->out;
    if (!w->has_samples) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "has no audio: no %s chunk (cut short?)", w->family.samples);
    }
    if (!w->has_format) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: nothing says what its samples are");
    }
    if (out->codec != TMB_CODEC_SAMPLES) {
        return TMB_OK;
    }
    if (w->block == 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: %d channels of %u bits make no sample", out->channels,
                        w->bits);
    }
    tmb_status status = check_frames(w, error);
    const uint64_t over = (out->end - out->start) % w->block;
    out->frame = w->block;
    if (status == TMB_OK && over != 0) {
        tmb_note(w->notes, "ends inside a sample: its last %llu bytes are left out", (unsigned long long)over);
        out->end -= over;
    }
    return status;
}

static tmb_status read_au(tmb_layout_walk *w, tmb_error *error) {
    static const struct {
        unsigned code;
        int subtype;
        unsigned width;
    } codes[] = {{1, SF_FORMAT_ULAW, 1},   {2, SF_FORMAT_PCM_S8, 1}, {3, SF_FORMAT_PCM_16, 2}, {4, SF_FORMAT_PCM_24, 3},
                 {5, SF_FORMAT_PCM_32, 4}, {6, SF_FORMAT_FLOAT, 4},  {7, SF_FORMAT_DOUBLE, 8}, {27, SF_FORMAT_ALAW, 1}};
    uint8_t head[24];
    if (tmb_source_read_at(w->source, w->start, head, sizeof head) < sizeof head) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside its header");
    }
    const uint64_t place = tmb_big(head + 4, 4);
    const uint64_t rate = tmb_big(head + 16, 4);
    const uint64_t channels = tmb_big(head + 20, 4);
    const unsigned code = (unsigned)tmb_big(head + 12, 4);
    tmb_layout *out = w->out;
    if (place < 24 || place > w->end - w->start) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged or cut short: its audio begins at byte %llu",
                        (unsigned long long)place);
    }
    out->rate = rate <= INT32_MAX ? (int)rate : INT32_MAX;
    out->channels = channels <= 65535 ? (int)channels : 65535;
    w->has_format = true;
    w->has_samples = true;
    tmb_layout_name_codec(out, "AU with encoding number", code);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].code == code) {
            tmb_layout_set_samples(w, codes[i].subtype, false);
            w->block = codes[i].width * (unsigned)out->channels;
        }
    }
    tmb_status status = settle_length(w, w->start + place, tmb_big(head + 8, 4), error);
    return status == TMB_OK ? finish(w, error) : status;
}

/* What the first bytes say about all that follows. */
static bool begin(tmb_layout_walk *w, tmb_file_kind kind, const uint8_t *head, uint64_t *first) {
    const tmb_layout_family riff = {.name = 4, .size = 4, .alignment = 2, .samples = "data"};
    w->family = riff;
    w->narrow = true;
    *first = w->start + 12;
    uint64_t whole = TMB_LAYOUT_NOT_SAID;
    switch (kind) {
    case TMB_FILE_WAV:
        w->out->demuxer = "wav";
        w->family.big_endian = memcmp(head, "RIFX", 4) == 0;
        whole = tmb_layout_number(w, head + 4, 4);
        w->out->container = memcmp(head, "RF64", 4) == 0 ? "RF64" : memcmp(head, "BW64", 4) == 0 ? "BW64" : "WAV";
        w->form_end = whole == 0 || whole == 0xffffffffu ? TMB_LAYOUT_NOT_SAID : w->start + 8 + whole;
        return true;
    case TMB_FILE_AIFF:
        w->out->demuxer = "aiff";
        w->family.big_endian = true;
        w->family.samples = "SSND";
        whole = tmb_layout_number(w, head + 4, 4);
        w->out->container = "AIFF";
        w->form_end = whole == 0 || whole == 0xffffffffu ? TMB_LAYOUT_NOT_SAID : w->start + 8 + whole;
        return true;
    case TMB_FILE_W64:
        w->out->demuxer = "w64";
        w->family =
            (tmb_layout_family){.name = 16, .size = 8, .counts_itself = true, .alignment = 8, .samples = "data"};
        w->narrow = false;
        *first = w->start + 40;
        whole = tmb_little(head + 16, 8);
        w->out->container = "Wave64";
        w->form_end = whole <= UINT64_MAX - w->start && whole > 40 ? w->start + whole : TMB_LAYOUT_NOT_SAID;
        return true;
    case TMB_FILE_CAF:
        w->out->demuxer = "caf";
        w->family = (tmb_layout_family){.name = 4, .size = 8, .big_endian = true, .alignment = 1, .samples = "data"};
        w->narrow = false;
        *first = w->start + 8;
        w->out->container = "CAF";
        w->form_end = TMB_LAYOUT_NOT_SAID;
        return true;
    case TMB_FILE_AU:
        w->out->demuxer = "au";
        w->out->container = "AU";
        w->family.samples = ".snd";
        w->family.big_endian = true;
        w->form_end = TMB_LAYOUT_NOT_SAID;
        return true;
    default: return false;
    }
}

tmb_status tmb_layout_read(tmb_source *source, uint64_t start, uint64_t end, tmb_file_kind kind, tmb_notes *notes,
                           tmb_layout *out, tmb_error *error) {
    *out = (tmb_layout){0};
    tmb_layout_walk w = {
        .source = source, .start = start, .end = end, .notes = notes, .out = out, .form_end = TMB_LAYOUT_NOT_SAID};
    uint8_t head[40] = {0};
    const size_t needed = kind == TMB_FILE_W64 ? 40 : kind == TMB_FILE_CAF ? 8 : kind == TMB_FILE_AU ? 24 : 12;
    uint64_t first = 0;
    if (tmb_source_read_at(source, start, head, needed) < needed) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside its header");
    }
    if (!begin(&w, kind, head, &first)) {
        return tmb_fail(error, TMB_ERROR_INTERNAL, "no container of chunks");
    }
    if (kind == TMB_FILE_AU) {
        return read_au(&w, error);
    }
    w.data = tmb_calloc(TMB_LAYOUT_CONTENTS, 1);
    if (w.data == NULL) {
        return tmb_fail_memory(error, "an audio reader", TMB_LAYOUT_CONTENTS);
    }
    tmb_status status = walk_chunks(&w, first, error);
    free(w.data);
    return status == TMB_OK ? finish(&w, error) : status;
}
