/* RIFF and its kin: Microsoft's Multimedia Programming Interface 1.0; EBU Tech 3306 (RF64) and ITU-R BS.2088 (BW64);
 * Sony's Wave64; Apple's AIFF-C and Core Audio Format; Sun's AU. */
#include "io/layout.h"

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
/* A chunk's contents that are looked at: heads are short, lists of texts are not. */
#define MAX_CONTENTS ((size_t)64 << 10)
#define NOT_SAID UINT64_MAX

/* How a family of containers writes its chunks. */
typedef struct family {
    size_t name, size;   /* bytes of a chunk's name and of its length */
    bool big_endian;     /* lengths and heads */
    bool counts_itself;  /* a chunk's length has its head in it */
    unsigned alignment;  /* of chunks */
    const char *samples; /* the chunk with the samples */
} family;

typedef struct walk {
    tmb_source *source;
    uint64_t start, end; /* of the file */
    family family;
    tmb_notes *notes;
    tmb_layout *out;
    uint64_t form_end;  /* where the head says that all ends; NOT_SAID: it does not */
    uint64_t long_size; /* of the samples, from ds64 */
    bool narrow;        /* lengths have 32 bits */
    bool has_format;
    bool has_samples;
    uint64_t promised;    /* bytes of samples */
    uint64_t frames;      /* AIFF: samples per channel by COMM */
    unsigned bits, block; /* bytes of a sample of all channels */
    uint8_t *data;        /* [MAX_CONTENTS] of a chunk */
} walk;

typedef struct chunk {
    uint8_t name[4];
    uint64_t contents; /* place */
    uint64_t size;     /* of the contents */
} chunk;

static uint64_t number(const walk *w, const uint8_t *bytes, size_t count) {
    return w->family.big_endian ? tmb_big(bytes, count) : tmb_little(bytes, count);
}

/* ---- chunks ---- */

/* The tail that all of Wave64's identifiers but one share. */
static const uint8_t w64_tail[12] = {0xf3, 0xac, 0xd3, 0x11, 0x8c, 0xd1, 0x00, 0xc0, 0x4f, 0x8e, 0xdb, 0x8a};

static bool is_printable(const uint8_t name[4]) {
    for (int i = 0; i < 4; i++) {
        if (name[i] < 0x20 || name[i] > 0x7e) {
            return false;
        }
    }
    return true;
}

/* The chunk whose head is at `place`; false: there is none. Its size may reach beyond the end. */
static bool chunk_at(const walk *w, uint64_t place, chunk *out) {
    uint8_t head[24];
    const size_t bytes = w->family.name + w->family.size;
    if (place > w->end || w->end - place < bytes || tmb_source_read_at(w->source, place, head, bytes) < bytes ||
        !is_printable(head)) {
        return false;
    }
    if (w->family.name == 16 && memcmp(head + 4, w64_tail, sizeof w64_tail) != 0) {
        return false;
    }
    memcpy(out->name, head, 4);
    out->contents = place + bytes;
    out->size = number(w, head + w->family.name, w->family.size);
    if (w->family.counts_itself) {
        const bool counted = out->size >= bytes;
        out->size -= counted ? bytes : out->size;
        return counted || memcmp(head, w->family.samples, 4) == 0; /* samples without a length: until the end */
    }
    return true;
}

static bool is(const chunk *c, const char *name) { return memcmp(c->name, name, 4) == 0; }

/* The place behind `at` at which a chunk may begin; at most the end. */
static uint64_t align(const walk *w, uint64_t at) {
    const uint64_t over = (at - w->start) % w->family.alignment;
    const uint64_t padded = over == 0 ? at : at + w->family.alignment - over;
    return padded < w->end ? padded : w->end;
}

/* Where the chunk behind one that ends at `at` begins: some writers forget the padding. */
static uint64_t behind(const walk *w, uint64_t at) {
    const uint64_t padded = align(w, at);
    chunk next;
    return padded != at && padded < w->end && !chunk_at(w, padded, &next) && chunk_at(w, at, &next) ? at : padded;
}

static bool zeros_to_end(const walk *w, uint64_t place) {
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
static bool file_begins(const walk *w, uint64_t place) {
    uint8_t head[16];
    tmb_file_kind kind;
    const size_t got = place < w->end ? tmb_source_read_at(w->source, place, head, sizeof head) : 0;
    return got >= 12 && tmb_sniff_is(head, got, &kind) && kind != TMB_FILE_MP3 && kind != TMB_FILE_OGG;
}

/* Whether nothing but whole chunks lies between `at` and the end or another file (*next): then the samples end at `at`
 * for certain. */
static bool only_chunks(const walk *w, uint64_t at, uint64_t *next) {
    uint64_t place = behind(w, at);
    *next = 0;
    for (int i = 0; i < MAX_CHUNKS; i++) {
        chunk c;
        if (file_begins(w, place)) {
            *next = place;
            return true;
        }
        if (place >= w->end || zeros_to_end(w, place)) {
            return true;
        }
        if (!chunk_at(w, place, &c) || c.size > w->end - c.contents) {
            return false;
        }
        place = behind(w, c.contents + c.size);
    }
    return false;
}

/* Bytes of samples, from the place at which they begin: see the header for the rule. */
static tmb_status settle_length(walk *w, uint64_t place, uint64_t promised, tmb_error *error) {
    const uint64_t there = w->end - place;
    tmb_layout *out = w->out;
    out->start = place;
    out->end = w->end;
    const bool fits = w->form_end == NOT_SAID || is_placeholder(w->form_end - w->start) ||
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
        const bool empty = promised == 0 && there > 0 && !(fits && w->form_end != NOT_SAID && w->form_end > place) &&
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
    const uint64_t marks = tmb_marks_skip(w->source, end, w->end);
    out->end = end;
    if (marks < w->end) {
        tmb_note(w->notes, "has %llu bytes behind its audio, which are left out", (unsigned long long)(w->end - end));
    }
    return TMB_OK;
}

/* ---- what the chunks say ---- */

/* "WAV with format number 17" */
static void name_codec(tmb_layout *out, const char *what, unsigned code) {
    out->codec = TMB_CODEC_OTHER;
    (void)snprintf(out->codec_name, sizeof out->codec_name, "%s %u", what, code);
}

/* PCM in `width` bytes. */
static int pcm_of_width(unsigned width, bool is_signed) {
    switch (width) {
    case 1: return is_signed ? SF_FORMAT_PCM_S8 : SF_FORMAT_PCM_U8;
    case 2: return SF_FORMAT_PCM_16;
    case 3: return SF_FORMAT_PCM_24;
    case 4: return SF_FORMAT_PCM_32;
    default: return 0;
    }
}

static void set_samples(walk *w, int subtype, bool little) {
    w->out->codec = TMB_CODEC_SAMPLES;
    w->out->format = SF_FORMAT_RAW | subtype | (little ? SF_ENDIAN_LITTLE : SF_ENDIAN_BIG);
    if (subtype == 0) {
        name_codec(w->out, "PCM, bits:", w->bits);
    }
}

static tmb_status read_wave_format(walk *w, const uint8_t *data, size_t size, tmb_error *error) {
    tmb_layout *out = w->out;
    if (size < 16) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: its fmt chunk has %zu bytes", size);
    }
    unsigned tag = (unsigned)number(w, data, 2);
    const unsigned channels = (unsigned)number(w, data + 2, 2);
    const uint64_t rate = number(w, data + 4, 4);
    w->block = (unsigned)number(w, data + 12, 2);
    w->bits = (unsigned)number(w, data + 14, 2);
    if (tag == 0xfffe && size >= 26) { /* WAVE_FORMAT_EXTENSIBLE */
        out->channel_mask = (uint32_t)number(w, data + 20, 4);
        tag = (unsigned)number(w, data + 24, 2);
    }
    out->rate = rate <= INT32_MAX ? (int)rate : INT32_MAX;
    out->channels = (int)channels;
    const unsigned width =
        channels > 0 && w->block % channels == 0 && w->block / channels > 0 ? w->block / channels : (w->bits + 7) / 8;
    const bool little = !w->family.big_endian;
    w->has_format = true;
    switch (tag) {
    case 1: set_samples(w, pcm_of_width(width, false), little); break;
    case 3: set_samples(w, width == 4 ? SF_FORMAT_FLOAT : width == 8 ? SF_FORMAT_DOUBLE : 0, little); break;
    case 6: set_samples(w, SF_FORMAT_ALAW, little); break;
    case 7: set_samples(w, SF_FORMAT_ULAW, little); break;
    case 0x55: out->codec = TMB_CODEC_MP3; break;
    default: name_codec(out, "WAV with format number", tag); break;
    }
    w->block = tag == 0x55 ? 1 : width * channels;
    return TMB_OK;
}

/* A number of 80 bits as AIFF writes rates; what is no sensible rate becomes 0. */
static int extended_rate(const uint8_t *bytes) {
    const int exponent = (int)(tmb_big(bytes, 2) & 0x7fff) - 16383;
    const uint64_t mantissa = tmb_big(bytes + 2, 8);
    return (bytes[0] & 0x80) == 0 && exponent >= 0 && exponent < 31 ? (int)(mantissa >> (63 - exponent)) : 0;
}

static tmb_status read_aiff_format(walk *w, const uint8_t *data, size_t size, tmb_error *error) {
    tmb_layout *out = w->out;
    if (size < 18) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: its COMM chunk has %zu bytes", size);
    }
    out->channels = (int)tmb_big(data, 2);
    w->frames = tmb_big(data + 2, 4);
    w->bits = (unsigned)tmb_big(data + 6, 2);
    out->rate = extended_rate(data + 8);
    const unsigned width = (w->bits + 7) / 8;
    const uint8_t *type = size >= 22 ? data + 18 : (const uint8_t *)"NONE";
    static const struct {
        const char *type;
        int subtype; /* 0: PCM of COMM's width */
        unsigned width;
        bool little;
    } types[] = {
        {"NONE", 0, 0, false},
        {"twos", 0, 0, false},
        {"sowt", 0, 0, true},
        {"in24", SF_FORMAT_PCM_24, 3, false},
        {"in32", SF_FORMAT_PCM_32, 4, false},
        {"raw ", SF_FORMAT_PCM_U8, 1, false},
        {"fl32", SF_FORMAT_FLOAT, 4, false},
        {"FL32", SF_FORMAT_FLOAT, 4, false},
        {"fl64", SF_FORMAT_DOUBLE, 8, false},
        {"FL64", SF_FORMAT_DOUBLE, 8, false},
        {"alaw", SF_FORMAT_ALAW, 1, false},
        {"ALAW", SF_FORMAT_ALAW, 1, false},
        {"ulaw", SF_FORMAT_ULAW, 1, false},
        {"ULAW", SF_FORMAT_ULAW, 1, false},
        {"42ni", SF_FORMAT_PCM_24, 3, true},
        {"23ni", SF_FORMAT_PCM_32, 4, true},
    };
    w->has_format = true;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (memcmp(types[i].type, type, 4) == 0) {
            const unsigned bytes = types[i].width > 0 ? types[i].width : width;
            set_samples(w, types[i].subtype != 0 ? types[i].subtype : pcm_of_width(width, true), types[i].little);
            w->block = bytes * (unsigned)out->channels;
            return TMB_OK;
        }
    }
    out->codec = TMB_CODEC_OTHER;
    w->block = 1;
    (void)snprintf(out->codec_name, sizeof out->codec_name, "AIFF with %.4s",
                   is_printable(type) ? (const char *)type : "an unknown codec");
    return TMB_OK;
}

static double big_double(const uint8_t *bytes) {
    const uint64_t bits = tmb_big(bytes, 8);
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static tmb_status read_caf_format(walk *w, const uint8_t *data, size_t size, tmb_error *error) {
    tmb_layout *out = w->out;
    if (size < 32) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: its desc chunk has %zu bytes", size);
    }
    const double rate = big_double(data);
    const uint32_t flags = (uint32_t)tmb_big(data + 12, 4);
    const uint64_t packet = tmb_big(data + 16, 4);
    const uint64_t channels = tmb_big(data + 24, 4);
    w->bits = (unsigned)tmb_big(data + 28, 4);
    out->rate = rate >= 1 && rate <= 1e9 ? (int)rate : 0;
    out->channels = channels <= INT32_MAX ? (int)channels : INT32_MAX;
    w->has_format = true;
    const unsigned width =
        channels > 0 && packet % channels == 0 && packet / channels <= 8 ? (unsigned)(packet / channels) : 0;
    w->block = packet <= 4096 ? (unsigned)packet : 0;
    if (memcmp(data + 8, "lpcm", 4) == 0 && (flags & 1) != 0) {
        set_samples(w, width == 4 ? SF_FORMAT_FLOAT : width == 8 ? SF_FORMAT_DOUBLE : 0, (flags & 2) != 0);
    } else if (memcmp(data + 8, "lpcm", 4) == 0) {
        set_samples(w, pcm_of_width(width, true), (flags & 2) != 0);
    } else if (memcmp(data + 8, "alaw", 4) == 0) {
        set_samples(w, SF_FORMAT_ALAW, false);
    } else if (memcmp(data + 8, "ulaw", 4) == 0) {
        set_samples(w, SF_FORMAT_ULAW, false);
    } else {
        out->codec = TMB_CODEC_OTHER;
        (void)snprintf(out->codec_name, sizeof out->codec_name, "CAF with %.4s",
                       is_printable(data + 8) ? (const char *)data + 8 : "an unknown codec");
    }
    return TMB_OK;
}

/* Sub-chunks of a LIST: texts of the recording, or labels of cue points. */
static void read_list(walk *w, const uint8_t *data, size_t size) {
    const bool info = size >= 4 && memcmp(data, "INFO", 4) == 0;
    const bool labels = size >= 4 && memcmp(data, "adtl", 4) == 0;
    for (size_t at = 4; (info || labels) && at + 8 <= size;) {
        const uint8_t *head = data + at;
        const uint64_t said = number(w, head + 4, 4);
        const size_t there = size - at - 8;
        const size_t bytes = said < there ? (size_t)said : there;
        if (info) {
            tmb_tags_set(&w->out->tags, tmb_tag_of_info(head), head + 8, bytes);
        } else if (memcmp(head, "labl", 4) == 0 && bytes > 4) {
            tmb_tags_label_cue(&w->out->tags, (uint32_t)number(w, head + 8, 4), head + 12, bytes - 4);
        }
        at += 8 + bytes + (bytes & 1);
    }
}

static void read_cues(walk *w, const uint8_t *data, size_t size) {
    const uint64_t count = size >= 4 ? number(w, data, 4) : 0;
    for (uint64_t i = 0; i < count && 4 + (i + 1) * 24 <= size; i++) {
        const uint8_t *cue = data + 4 + i * 24;
        tmb_tags_add_cue(&w->out->tags, (uint32_t)number(w, cue, 4), number(w, cue + 20, 4));
    }
}

/* Key and value, each ended by a 0. */
static void read_caf_info(tmb_tags *tags, const uint8_t *data, size_t size) {
    static const struct {
        const char *key;
        tmb_tag tag;
    } keys[] = {{"title", TMB_TAG_TITLE},        {"artist", TMB_TAG_ARTIST},    {"album", TMB_TAG_ALBUM},
                {"recorded date", TMB_TAG_DATE}, {"year", TMB_TAG_DATE},        {"genre", TMB_TAG_GENRE},
                {"track number", TMB_TAG_TRACK}, {"comments", TMB_TAG_COMMENT}, {"copyright", TMB_TAG_COPYRIGHT}};
    for (size_t at = 4; at < size;) {
        const size_t key = strnlen((const char *)data + at, size - at);
        const size_t value_at = at + key + 1;
        if (value_at >= size) {
            break;
        }
        const size_t value = strnlen((const char *)data + value_at, size - value_at);
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
            if (strlen(keys[i].key) == key && memcmp(keys[i].key, data + at, key) == 0) {
                tmb_tags_set(tags, keys[i].tag, data + value_at, value);
            }
        }
        at = value_at + value + 1;
    }
}

/* Every chunk but the samples. */
static tmb_status read_contents(walk *w, const chunk *c, tmb_error *error) {
    static const struct {
        const char *name;
        tmb_tag tag;
    } texts[] = {
        {"NAME", TMB_TAG_TITLE}, {"AUTH", TMB_TAG_ARTIST}, {"ANNO", TMB_TAG_COMMENT}, {"(c) ", TMB_TAG_COPYRIGHT}};
    uint8_t *data = w->data;
    const uint64_t left = w->end - c->contents;
    const uint64_t size = c->size < left ? c->size : left;
    const bool aiff = strcmp(w->family.samples, "SSND") == 0;
    const bool caf = strcmp(w->family.samples, "data") == 0 && w->family.big_endian && w->family.size == 8;
    tmb_tags *tags = &w->out->tags;
    const size_t got =
        tmb_source_read_at(w->source, c->contents, data, size < MAX_CONTENTS ? (size_t)size : MAX_CONTENTS);
    if (aiff) {
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            if (is(c, texts[i].name)) {
                tmb_tags_set(tags, texts[i].tag, data, got);
            }
        }
        return is(c, "COMM") && !w->has_format ? read_aiff_format(w, data, got, error) : TMB_OK;
    }
    if (caf) {
        if (is(c, "info")) {
            read_caf_info(tags, data, got);
        }
        if (is(c, "chan") && got >= 8 && tmb_big(data, 4) == 0x10000) { /* a bitmap, as in WAVE_FORMAT_EXTENSIBLE */
            w->out->channel_mask = (uint32_t)tmb_big(data + 4, 4);
        }
        return is(c, "desc") && !w->has_format ? read_caf_format(w, data, got, error) : TMB_OK;
    }
    if (is(c, "ds64") && got >= 16 && !w->has_samples) {
        w->long_size = tmb_little(data + 8, 8);
        const uint64_t whole = tmb_little(data, 8);
        w->form_end = whole <= UINT64_MAX - 8 - w->start ? w->start + 8 + whole : NOT_SAID;
        w->narrow = false;
    } else if (is(c, "LIST")) {
        read_list(w, data, got);
    } else if (is(c, "cue ")) {
        read_cues(w, data, got);
    } else if (is(c, "bext")) {
        tmb_tags_set_bext(tags, data, got);
    } else if (is(c, "fmt ") && !w->has_format) {
        return read_wave_format(w, data, got, error);
    }
    return TMB_OK;
}

/* ---- the walk ---- */

/* The samples' own head: AIFF has an offset, CAF a count of edits. */
static tmb_status read_samples(walk *w, chunk *c, tmb_error *error) {
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

static tmb_status walk_chunks(walk *w, uint64_t place, tmb_error *error) {
    tmb_status status = TMB_OK;
    for (int i = 0; i < MAX_CHUNKS && status == TMB_OK; i++) {
        chunk c;
        if (!chunk_at(w, place, &c)) {
            break;
        }
        if (!w->has_samples && is(&c, w->family.samples)) {
            status = read_samples(w, &c, error);
            if (w->out->unfinished) {
                break;
            }
            w->end = w->out->next != 0 ? w->out->next : w->end;
            place = behind(w, w->out->end);
            continue;
        }
        status = read_contents(w, &c, error);
        if (c.size > w->end - c.contents) {
            break;
        }
        place = behind(w, c.contents + c.size);
    }
    return status;
}

/* AIFF says the number of samples once more. */
static tmb_status check_frames(walk *w, tmb_error *error) {
    const uint64_t bytes = w->frames * w->block; /* 32 bits by 16 and a few */
    const uint64_t there = w->out->end - w->out->start;
    if (strcmp(w->family.samples, "SSND") != 0 || w->out->codec != TMB_CODEC_SAMPLES || bytes <= there ||
        is_placeholder(bytes) || is_placeholder(bytes + w->block) || w->out->unfinished) {
        return TMB_OK;
    }
    return tmb_lost(w->notes, error, "is cut short: it promises %llu samples and has %llu",
                    (unsigned long long)w->frames, (unsigned long long)(there / w->block));
}

static tmb_status finish(walk *w, tmb_error *error) {
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
    if (status == TMB_OK && over != 0) {
        tmb_note(w->notes, "ends inside a sample: its last %llu bytes are left out", (unsigned long long)over);
        out->end -= over;
    }
    return status;
}

static tmb_status read_au(walk *w, tmb_error *error) {
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
    name_codec(out, "AU with encoding number", code);
    for (size_t i = 0; i < sizeof codes / sizeof codes[0]; i++) {
        if (codes[i].code == code) {
            set_samples(w, codes[i].subtype, false);
            w->block = codes[i].width * (unsigned)out->channels;
        }
    }
    tmb_status status = settle_length(w, w->start + place, tmb_big(head + 8, 4), error);
    return status == TMB_OK ? finish(w, error) : status;
}

/* What the first bytes say about all that follows. */
static bool begin(walk *w, tmb_file_kind kind, const uint8_t *head, uint64_t *first) {
    const family riff = {.name = 4, .size = 4, .alignment = 2, .samples = "data"};
    w->family = riff;
    w->narrow = true;
    *first = w->start + 12;
    uint64_t whole = NOT_SAID;
    switch (kind) {
    case TMB_FILE_WAV:
        w->family.big_endian = memcmp(head, "RIFX", 4) == 0;
        whole = number(w, head + 4, 4);
        w->out->container = memcmp(head, "RF64", 4) == 0 ? "RF64" : memcmp(head, "BW64", 4) == 0 ? "BW64" : "WAV";
        w->form_end = whole == 0 || whole == 0xffffffffu ? NOT_SAID : w->start + 8 + whole;
        return true;
    case TMB_FILE_AIFF:
        w->family.big_endian = true;
        w->family.samples = "SSND";
        whole = number(w, head + 4, 4);
        w->out->container = "AIFF";
        w->form_end = whole == 0 || whole == 0xffffffffu ? NOT_SAID : w->start + 8 + whole;
        return true;
    case TMB_FILE_W64:
        w->family = (family){.name = 16, .size = 8, .counts_itself = true, .alignment = 8, .samples = "data"};
        w->narrow = false;
        *first = w->start + 40;
        whole = tmb_little(head + 16, 8);
        w->out->container = "Wave64";
        w->form_end = whole <= UINT64_MAX - w->start && whole > 40 ? w->start + whole : NOT_SAID;
        return true;
    case TMB_FILE_CAF:
        w->family = (family){.name = 4, .size = 8, .big_endian = true, .alignment = 1, .samples = "data"};
        w->narrow = false;
        *first = w->start + 8;
        w->out->container = "CAF";
        w->form_end = NOT_SAID;
        return true;
    case TMB_FILE_AU:
        w->out->container = "AU";
        w->family.samples = ".snd";
        w->family.big_endian = true;
        w->form_end = NOT_SAID;
        return true;
    default: return false;
    }
}

tmb_status tmb_layout_read(tmb_source *source, uint64_t start, uint64_t end, tmb_file_kind kind, tmb_notes *notes,
                           tmb_layout *out, tmb_error *error) {
    *out = (tmb_layout){0};
    walk w = {.source = source, .start = start, .end = end, .notes = notes, .out = out, .form_end = NOT_SAID};
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
    w.data = tmb_calloc(MAX_CONTENTS, 1);
    if (w.data == NULL) {
        return tmb_fail_memory(error, "an audio reader", MAX_CONTENTS);
    }
    tmb_status status = walk_chunks(&w, first, error);
    free(w.data);
    return status == TMB_OK ? finish(&w, error) : status;
}
