#include "io/sniff.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/bytes.h"
#include "io/containers.h"
#include "io/marks.h"
#include "io/mp3_frames.h"

#include <stdlib.h>
#include <string.h>

#define READS "timbre reads WAV, RF64, Wave64, FLAC, Ogg Vorbis, Opus, MP3, AIFF, CAF and AU, and more with ffmpeg"
/* Bytes before a file that are searched for its beginning. */
#define MAX_JUNK ((size_t)64 << 10)
#define FRONT 2048 /* the largest frame of layers I and II, and the next one's head */

static bool has(const uint8_t *data, size_t size, size_t place, const char *text) {
    const size_t length = strlen(text);
    return size >= place && size - place >= length && memcmp(data + place, text, length) == 0;
}

/* Printable ASCII and UTF-8 continuation bytes only. */
static bool is_text(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if ((data[i] < 0x20 && data[i] != '\t' && data[i] != '\n' && data[i] != '\r' && data[i] != '\f') ||
            data[i] == 0x7f) {
            return false;
        }
    }
    return size > 0;
}

bool tmb_sniff_is(const uint8_t *data, size_t size, tmb_file_kind *kind) {
    tmb_mp3_head head;
    if ((has(data, size, 0, "RIFF") || has(data, size, 0, "RIFX") || has(data, size, 0, "RF64") ||
         has(data, size, 0, "BW64")) &&
        has(data, size, 8, "WAVE")) {
        *kind = TMB_FILE_WAV;
    } else if (has(data, size, 0, "FORM") && (has(data, size, 8, "AIFF") || has(data, size, 8, "AIFC"))) {
        *kind = TMB_FILE_AIFF;
    } else if (has(data, size, 0, "riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb")) {
        *kind = TMB_FILE_W64;
    } else if (has(data, size, 0, "caff") && size >= 6 && data[4] == 0 && data[5] == 1) {
        *kind = TMB_FILE_CAF;
    } else if (has(data, size, 0, ".snd")) {
        *kind = TMB_FILE_AU;
    } else if (has(data, size, 0, "fLaC")) {
        *kind = TMB_FILE_FLAC;
    } else if (has(data, size, 0, "OggS")) {
        *kind = TMB_FILE_OGG;
    } else if (size >= 4 && tmb_mp3_parse(data, &head)) {
        *kind = TMB_FILE_MP3;
    } else {
        return false;
    }
    return true;
}

/* ADTS: twelve ones and layer 0; the length of a frame in 13 bits. */
static bool is_adts(const uint8_t *data, size_t size) {
    for (size_t at = 0, frames = 0;; frames++) {
        if (size < at + 7) {
            return frames > 0;
        }
        const size_t length = (size_t)(data[at + 3] & 3) << 11 | (size_t)data[at + 4] << 3 | data[at + 5] >> 5;
        if (data[at] != 0xff || (data[at + 1] & 0xf6) != 0xf0 || length < 7) {
            return false;
        }
        if (frames == 2) {
            return true;
        }
        at += length;
    }
}

/* Layers I and II: a frame, and another one of its kind or the end behind it. Text in UTF-16 begins like one. */
static bool is_mpeg_audio(const uint8_t *data, size_t size) {
    const uint64_t first = size >= 4 ? tmb_mpeg_frame(data) : 0;
    if (first == 0 || first > size) {
        return false;
    }
    const size_t left = size - (size_t)first;
    const uint8_t *next = data + first;
    return left < 4 || memcmp(next, "TAG", 3) == 0 ||
           (tmb_mpeg_frame(next) > 0 && next[1] == data[1] && ((next[2] ^ data[2]) & 0x0c) == 0);
}

/* What stands before a QuickTime or MP4 file's first box: short, and its name may begin a word of a text. */
static bool is_padding_box(const uint8_t *data, size_t size) {
    return size >= 8 && data[0] == 0 && tmb_big(data, 4) >= 8 &&
           (has(data, size, 4, "free") || has(data, size, 4, "skip") || has(data, size, 4, "wide") ||
            has(data, size, 4, "pnot"));
}

static bool is_transport_stream(const uint8_t *data, size_t size) {
    return size >= 377 && data[0] == 0x47 && data[188] == 0x47 && data[376] == 0x47;
}

static const struct {
    size_t place;
    const char *magic;
    bool (*test)(const uint8_t *data, size_t size); /* instead */
    const char *demuxer, *name;
} foreign[] = {
    {4, "ftyp", NULL, "mov", "M4A or MP4 (AAC)"},
    {4, "moov", NULL, "mov", "QuickTime"},
    {4, "mdat", NULL, "mov", "QuickTime"},
    {0, "\x1a\x45\xdf\xa3", NULL, "matroska", "WebM or Matroska"},
    {0, "\x30\x26\xb2\x75", NULL, "asf", "WMA or ASF"},
    {0, "#!AMR", NULL, "amr", "AMR"},
    {0, "wvpk", NULL, "wv", "WavPack"},
    {0, "MAC ", NULL, "ape", "Monkey's Audio"},
    {0, "TTA1", NULL, "tta", "True Audio"},
    {0, "FLV\x01", NULL, "flv", "Flash video"},
    {8, "AVI ", NULL, "avi", "AVI"},
    {0, NULL, is_padding_box, "mov", "QuickTime or MP4"},
    {0, NULL, is_adts, "aac", "AAC (ADTS)"},
    {0, NULL, is_transport_stream, "mpegts", "an MPEG transport stream"},
    {0, NULL, is_mpeg_audio, "mp3", "MPEG audio of layer I or II"},
};

static bool is_foreign(const uint8_t *data, size_t size, tmb_sniffed *out) {
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        if (foreign[i].test != NULL ? foreign[i].test(data, size)
                                    : has(data, size, foreign[i].place, foreign[i].magic)) {
            out->kind = TMB_FILE_FOREIGN;
            out->name = foreign[i].name;
            out->demuxer = foreign[i].demuxer;
            return true;
        }
    }
    return false;
}

/* Whether a file begins here beyond doubt: its magic number and something that fits behind it. */
static bool begins_certainly(const uint8_t *data, size_t size, tmb_file_kind *kind) {
    if (size < 16 || !tmb_sniff_is(data, size, kind)) {
        return false;
    }
    switch (*kind) {
    case TMB_FILE_FLAC: return tmb_big(data + 4, 4) == 34 || tmb_big(data + 4, 4) == 0x80000022u;
    case TMB_FILE_OGG: return data[4] == 0 && (data[5] & 2) != 0;
    case TMB_FILE_MP3:
        for (size_t at = 0, frames = 0; frames < 4; frames++) {
            tmb_mp3_head first;
            tmb_mp3_head head;
            if (size < at + 4 || !tmb_mp3_parse(data, &first) || !tmb_mp3_parse(data + at, &head) || head.size == 0 ||
                head.kind != first.kind || head.channels != first.channels) {
                return false;
            }
            at += head.size;
        }
        return true;
    case TMB_FILE_AU: return tmb_big(data + 4, 4) >= 24 && tmb_big(data + 4, 4) < 4096;
    default: return true;
    }
}

/* Looks for a file behind what is none of ours. */
static bool search(tmb_source *source, uint64_t start, tmb_notes *notes, tmb_sniffed *out) {
    const size_t capacity = MAX_JUNK + 8192;
    uint8_t *data = tmb_calloc(capacity, 1);
    bool found = false;
    if (data != NULL) {
        const size_t size = tmb_source_read_at(source, start, data, capacity);
        for (size_t i = 1; i < size && i <= MAX_JUNK && !found; i++) {
            if (begins_certainly(data + i, size - i, &out->kind)) {
                out->start = start + i;
                found = true;
                tmb_note(notes, "has %llu bytes before its audio, which are left out", (unsigned long long)out->start);
            }
        }
    }
    free(data);
    return found;
}

/* An MP4 file begins with a length, whose first bytes are zeros that were passed over. */
static bool find_box(tmb_source *source, tmb_sniffed *out) {
    uint8_t data[FRONT];
    for (uint64_t back = 1; back < 4 && back < out->start; back++) {
        const size_t size = tmb_source_read_at(source, out->start - back, data, sizeof data);
        if (data[0] == 0 && (has(data, size, 4, "ftyp") || is_padding_box(data, size)) && is_foreign(data, size, out)) {
            out->start -= back;
            return true;
        }
    }
    return false;
}

tmb_status tmb_sniff(tmb_source *source, bool partial, tmb_notes *notes, tmb_sniffed *out, tmb_error *error) {
    *out = (tmb_sniffed){0};
    uint8_t data[FRONT];
    size_t size = tmb_source_read_at(source, 0, data, sizeof data);
    if (source->error_number != 0) {
        return tmb_fail_errno(error, TMB_ERROR_IO, source->error_number, "cannot be read");
    }
    if (size == 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is empty");
    }
    /* AMR and MP4 may begin with what looks like zeros; tags are none of theirs. */
    if (tmb_sniff_is(data, size, &out->kind) || is_foreign(data, size, out)) {
        return TMB_OK;
    }
    const bool tagged = has(data, size, 0, "ID3");
    out->start = tmb_marks_skip(source, 0, source->size);
    size = tmb_source_read_at(source, out->start, data, sizeof data);
    if (out->start > 0 && (tmb_sniff_is(data, size, &out->kind) || is_foreign(data, size, out))) {
        return TMB_OK;
    }
    if (find_box(source, out)) {
        return TMB_OK;
    }
    if (search(source, out->start, notes, out)) {
        return TMB_OK;
    }
    if (tagged || (partial && out->start >= source->size)) {
        out->kind = TMB_FILE_MP3; /* the tag is its most frequent companion */
        return TMB_OK;
    }
    size = tmb_source_read_at(source, 0, data, sizeof data);
    return tmb_fail(error, TMB_ERROR_FORMAT,
                    is_text(data, size) ? "is text, not audio: %s" : "is not an audio file: %s", READS);
}
