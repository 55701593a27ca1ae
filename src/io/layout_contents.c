/* What the chunks of a file say: formats, texts, marks. */
#include "io/layout_internal.h"

#include "base/error.h"
#include "io/bytes.h"
#include "io/marks.h"

#include <sndfile.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void tmb_layout_name_codec(tmb_layout *out, const char *what, unsigned code) {
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

void tmb_layout_set_samples(tmb_layout_walk *w, int subtype, bool little) {
    w->out->codec = TMB_CODEC_SAMPLES;
    w->out->format = SF_FORMAT_RAW | subtype | (little ? SF_ENDIAN_LITTLE : SF_ENDIAN_BIG);
    if (subtype == 0) { /* ffmpeg would take half floats for something else */
        tmb_layout_name_codec(w->out, "PCM, bits:", w->bits);
        w->out->demuxer = NULL;
    }
}

/* Bytes of one channel's sample, from the bytes of all channels' and the depth, either of which may be 0: not said. 17
 * to 24 bits may lie in four bytes. 0: the two contradict each other, and what is read would be noise. */
static unsigned settle_width(uint64_t block, uint64_t channels, unsigned bits) {
    const unsigned needed = (bits + 7) / 8;
    if (block == 0 || channels == 0) {
        return needed;
    }
    if (block % channels != 0 || block / channels > 8) {
        return 0;
    }
    const unsigned width = (unsigned)(block / channels);
    return bits == 0 || width == needed || (width == 4 && needed == 3) ? width : 0;
}

static tmb_status contradiction(const tmb_layout_walk *w, uint64_t block, tmb_error *error) {
    return tmb_fail(error, TMB_ERROR_FORMAT,
                    "is damaged: its head contradicts itself: %d channels of %u bits do not make the %llu bytes for "
                    "each sample (block alignment) that it says",
                    w->out->channels, w->bits, (unsigned long long)block);
}

/* The codecs of WAV that have names. */
static const char *wave_codec(unsigned tag) {
    static const struct {
        unsigned tag;
        const char *name;
    } names[] = {{0x02, "Microsoft ADPCM"}, {0x11, "IMA ADPCM"}, {0x31, "GSM 6.10"}, {0x45, "G.726"},
                 {0x50, "MPEG audio"},      {0x64, "G.726"},     {0xff, "AAC"},      {0x2000, "AC-3"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (names[i].tag == tag) {
            return names[i].name;
        }
    }
    return NULL;
}

static tmb_status read_wave_format(tmb_layout_walk *w, const uint8_t *data, size_t size, tmb_error *error) {
    tmb_layout *out = w->out;
    if (size < 16) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: its fmt chunk has %zu bytes", size);
    }
    unsigned tag = (unsigned)tmb_layout_number(w, data, 2);
    const unsigned channels = (unsigned)tmb_layout_number(w, data + 2, 2);
    const uint64_t rate = tmb_layout_number(w, data + 4, 4);
    w->block = (unsigned)tmb_layout_number(w, data + 12, 2);
    w->bits = (unsigned)tmb_layout_number(w, data + 14, 2);
    if (tag == 0xfffe && size >= 26) { /* WAVE_FORMAT_EXTENSIBLE */
        out->channel_mask = (uint32_t)tmb_layout_number(w, data + 20, 4);
        tag = (unsigned)tmb_layout_number(w, data + 24, 2);
    }
    out->rate = rate <= INT32_MAX ? (int)rate : INT32_MAX;
    out->channels = (int)channels;
    const bool companded = tag == 6 || tag == 7;
    const bool plain = tag == 1 || tag == 3 || companded;
    const unsigned width = plain ? settle_width(w->block, channels, companded ? 8 : w->bits) : 1;
    const bool little = !w->family.big_endian;
    w->has_format = true;
    if (width == 0 && w->block > 0) {
        return contradiction(w, w->block, error);
    }
    switch (tag) {
    case 1: tmb_layout_set_samples(w, pcm_of_width(width, false), little); break;
    case 3: tmb_layout_set_samples(w, width == 4 ? SF_FORMAT_FLOAT : width == 8 ? SF_FORMAT_DOUBLE : 0, little); break;
    case 6: tmb_layout_set_samples(w, SF_FORMAT_ALAW, little); break;
    case 7: tmb_layout_set_samples(w, SF_FORMAT_ULAW, little); break;
    case 0x55: out->codec = TMB_CODEC_MP3; break;
    default:
        tmb_layout_name_codec(out, "WAV with format number", tag);
        if (wave_codec(tag) != NULL) {
            (void)snprintf(out->codec_name, sizeof out->codec_name, "%s with %s", out->container, wave_codec(tag));
        }
        break;
    }
    w->block = plain ? width * channels : 1;
    return TMB_OK;
}

/* A number of 80 bits as AIFF writes rates; what is no sensible rate becomes 0. */
static int extended_rate(const uint8_t *bytes) {
    const int exponent = (int)(tmb_big(bytes, 2) & 0x7fff) - 16383;
    const uint64_t mantissa = tmb_big(bytes + 2, 8);
    return (bytes[0] & 0x80) == 0 && exponent >= 0 && exponent < 31 ? (int)(mantissa >> (63 - exponent)) : 0;
}

static tmb_status read_aiff_format(tmb_layout_walk *w, const uint8_t *data, size_t size, tmb_error *error) {
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
            tmb_layout_set_samples(w, types[i].subtype != 0 ? types[i].subtype : pcm_of_width(width, true),
                                   types[i].little);
            w->block = bytes * (unsigned)out->channels;
            return TMB_OK;
        }
    }
    out->codec = TMB_CODEC_OTHER;
    w->block = 1;
    (void)snprintf(out->codec_name, sizeof out->codec_name, "AIFF with %.4s",
                   tmb_layout_is_printable(type) ? (const char *)type : "an unknown codec");
    return TMB_OK;
}

static double big_double(const uint8_t *bytes) {
    const uint64_t bits = tmb_big(bytes, 8);
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static tmb_status read_caf_format(tmb_layout_walk *w, const uint8_t *data, size_t size, tmb_error *error) {
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
    const bool companded = memcmp(data + 8, "alaw", 4) == 0 || memcmp(data + 8, "ulaw", 4) == 0;
    const bool plain = companded || memcmp(data + 8, "lpcm", 4) == 0;
    const unsigned width = plain ? settle_width(packet, channels, companded ? 8 : w->bits) : 1;
    w->block = packet <= 4096 ? (unsigned)packet : 0;
    if (width == 0 && packet > 0) {
        return contradiction(w, packet, error);
    }
    if (memcmp(data + 8, "lpcm", 4) == 0 && (flags & 1) != 0) {
        tmb_layout_set_samples(w, width == 4 ? SF_FORMAT_FLOAT : width == 8 ? SF_FORMAT_DOUBLE : 0, (flags & 2) != 0);
    } else if (memcmp(data + 8, "lpcm", 4) == 0) {
        tmb_layout_set_samples(w, pcm_of_width(width, true), (flags & 2) != 0);
    } else if (memcmp(data + 8, "alaw", 4) == 0) {
        tmb_layout_set_samples(w, SF_FORMAT_ALAW, false);
    } else if (memcmp(data + 8, "ulaw", 4) == 0) {
        tmb_layout_set_samples(w, SF_FORMAT_ULAW, false);
    } else {
        out->codec = TMB_CODEC_OTHER;
        (void)snprintf(out->codec_name, sizeof out->codec_name, "CAF with %.4s",
                       tmb_layout_is_printable(data + 8) ? (const char *)data + 8 : "an unknown codec");
    }
    return TMB_OK;
}

/* Sub-chunks of a LIST: texts of the recording, or labels of cue points. */
static void read_list(tmb_layout_walk *w, const uint8_t *data, size_t size) {
    const bool info = size >= 4 && memcmp(data, "INFO", 4) == 0;
    const bool labels = size >= 4 && memcmp(data, "adtl", 4) == 0;
    for (size_t at = 4; (info || labels) && at + 8 <= size;) {
        const uint8_t *head = data + at;
        const uint64_t said = tmb_layout_number(w, head + 4, 4);
        const size_t there = size - at - 8;
        const size_t bytes = said < there ? (size_t)said : there;
        if (info) {
            tmb_tags_set(&w->out->tags, tmb_tag_of_info(head), head + 8, bytes);
        } else if (memcmp(head, "labl", 4) == 0 && bytes > 4) {
            tmb_tags_label_cue(&w->out->tags, (uint32_t)tmb_layout_number(w, head + 8, 4), head + 12, bytes - 4);
        }
        at += 8 + bytes + (bytes & 1);
    }
}

static void read_cues(tmb_layout_walk *w, const uint8_t *data, size_t size) {
    const uint64_t count = size >= 4 ? tmb_layout_number(w, data, 4) : 0;
    for (uint64_t i = 0; i < count && 4 + (i + 1) * 24 <= size; i++) {
        const uint8_t *cue = data + 4 + i * 24;
        tmb_tags_add_cue(&w->out->tags, (uint32_t)tmb_layout_number(w, cue, 4), tmb_layout_number(w, cue + 20, 4));
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

tmb_status tmb_layout_read_contents(tmb_layout_walk *w, const tmb_layout_chunk *c, tmb_error *error) {
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
    const size_t got = tmb_source_read_at(w->source, c->contents, data,
                                          size < TMB_LAYOUT_CONTENTS ? (size_t)size : TMB_LAYOUT_CONTENTS);
    if (aiff) {
        for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
            if (tmb_layout_chunk_is(c, texts[i].name)) {
                tmb_tags_set(tags, texts[i].tag, data, got);
            }
        }
        return tmb_layout_chunk_is(c, "COMM") && !w->has_format ? read_aiff_format(w, data, got, error) : TMB_OK;
    }
    if (caf) {
        if (tmb_layout_chunk_is(c, "info")) {
            read_caf_info(tags, data, got);
        }
        if (tmb_layout_chunk_is(c, "chan") && got >= 8 &&
            tmb_big(data, 4) == 0x10000) { /* a bitmap, as in WAVE_FORMAT_EXTENSIBLE */
            w->out->channel_mask = (uint32_t)tmb_big(data + 4, 4);
        }
        return tmb_layout_chunk_is(c, "desc") && !w->has_format ? read_caf_format(w, data, got, error) : TMB_OK;
    }
    if (tmb_layout_chunk_is(c, "ds64") && got >= 16 && !w->has_samples) {
        w->long_size = tmb_little(data + 8, 8);
        const uint64_t whole = tmb_little(data, 8);
        w->form_end = whole <= UINT64_MAX - 8 - w->start ? w->start + 8 + whole : TMB_LAYOUT_NOT_SAID;
        w->narrow = false;
    } else if (tmb_layout_chunk_is(c, "LIST")) {
        read_list(w, data, got);
    } else if (tmb_layout_chunk_is(c, "cue ")) {
        read_cues(w, data, got);
    } else if (tmb_layout_chunk_is(c, "bext")) {
        tmb_tags_set_bext(tags, data, got);
    } else if (tmb_layout_chunk_is(c, "fmt ") && !w->has_format) {
        return read_wave_format(w, data, got, error);
    }
    return TMB_OK;
}
