#include "io/sniff.h"

#include "base/error.h"

#include <string.h>

#define READS "timbre reads WAV, FLAC, Ogg Vorbis, Opus, MP3 and AIFF"
/* Chunks that are walked through in search of the audio. */
#define MAX_CHUNKS 4096

static bool has(const uint8_t *data, size_t size, size_t place, const char *text) {
    const size_t length = strlen(text);
    return size >= place && size - place >= length && memcmp(data + place, text, length) == 0;
}

/* An MPEG audio frame header, of layer III. */
static bool is_mp3_frame(const uint8_t *data, size_t size) {
    return size >= 4 && data[0] == 0xff && (data[1] & 0xe0) == 0xe0 && (data[1] & 0x18) != 0x08 /* version */ &&
           (data[1] & 0x06) == 0x02 /* layer III */ && (data[2] & 0xf0) != 0xf0 /* bit rate */ &&
           (data[2] & 0x0c) != 0x0c /* sample rate */;
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

static const struct {
    size_t place;
    const char *magic, *name;
} others[] = {
    {4, "ftyp", "M4A or MP4 (AAC)"},
    {0, "\x1a\x45\xdf\xa3", "WebM or Matroska"},
    {0, "\x30\x26\xb2\x75", "WMA or ASF"},
    {0, "caff", "CAF"},
    {0, "riff", "Wave64"},
    {0, ".snd", "AU"},
    {0, "#!AMR", "AMR"},
    {0, "wvpk", "WavPack"},
    {0, "MAC ", "Monkey's Audio"},
};

tmb_status tmb_sniff(const uint8_t *data, size_t size, tmb_file_kind *kind, tmb_error *error) {
    if (size == 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is empty");
    }
    if ((has(data, size, 0, "RIFF") || has(data, size, 0, "RIFX") || has(data, size, 0, "RF64")) &&
        has(data, size, 8, "WAVE")) {
        *kind = TMB_FILE_WAV;
    } else if (has(data, size, 0, "FORM") && (has(data, size, 8, "AIFF") || has(data, size, 8, "AIFC"))) {
        *kind = TMB_FILE_AIFF;
    } else if (has(data, size, 0, "fLaC")) {
        *kind = TMB_FILE_FLAC;
    } else if (has(data, size, 0, "OggS")) {
        *kind = TMB_FILE_OGG;
    } else if (has(data, size, 0, "ID3") || is_mp3_frame(data, size)) {
        *kind = TMB_FILE_MP3;
    } else {
        for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
            if (has(data, size, others[i].place, others[i].magic)) {
                return tmb_fail(error, TMB_ERROR_FORMAT,
                                "is %s, which is not supported: " READS
                                "; convert it, e.g. with ffmpeg -i FILE out.wav",
                                others[i].name);
            }
        }
        return tmb_fail(error, TMB_ERROR_FORMAT,
                        is_text(data, size) ? "is text, not audio: %s" : "is not an audio file: %s", READS);
    }
    return TMB_OK;
}

tmb_status tmb_sniff_check(const uint8_t *data, size_t size, tmb_error *error) {
    tmb_file_kind kind = TMB_FILE_WAV;
    return tmb_sniff(data, size, &kind, error);
}

static uint64_t number(const uint8_t *bytes, size_t count, bool big_endian) {
    uint64_t value = 0;
    for (size_t i = 0; i < count; i++) {
        value |= (uint64_t)bytes[i] << (8 * (big_endian ? count - 1 - i : i));
    }
    return value;
}

/* Sizes of a data chunk that say "until the end": what ffmpeg, SoX and GStreamer write to a pipe, and
 * the 0 of a recorder that was never stopped. */
static bool is_streaming_size(uint64_t size) {
    return size == 0 || size >= 0xffffff00u || (size >= 0x7fff0000u && size <= 0x7fffffffu);
}

static tmb_status check_chunks(tmb_source *source, bool aiff, tmb_error *error) {
    uint8_t header[12];
    if (tmb_source_read_at(source, 0, header, sizeof header) < sizeof header) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside its header");
    }
    const bool big_endian = aiff || memcmp(header, "RIFX", 4) == 0;
    const bool rf64 = memcmp(header, "RF64", 4) == 0;
    const char *wanted = aiff ? "SSND" : "data";
    const uint64_t whole = number(header + 4, 4, big_endian);
    uint64_t long_size = 0; /* of the data chunk, from RF64's ds64 */
    uint64_t place = sizeof header;
    for (int i = 0; i < MAX_CHUNKS && tmb_source_read_at(source, place, header, 8) == 8; i++) {
        const uint64_t size = number(header + 4, 4, big_endian);
        place += 8;
        if (rf64 && memcmp(header, "ds64", 4) == 0) {
            uint8_t sizes[16];
            if (tmb_source_read_at(source, place, sizes, sizeof sizes) == sizeof sizes) {
                long_size = number(sizes + 8, 8, false);
            }
        }
        if (memcmp(header, wanted, 4) == 0) {
            const uint64_t promised = size == 0xffffffffu && rf64 ? long_size : size;
            const uint64_t there = source->size - place;
            if (promised > there && !(is_streaming_size(promised) && promised <= 0xffffffffu)) {
                return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it promises %llu bytes of audio and has %llu",
                                (unsigned long long)promised, (unsigned long long)there);
            }
            if (size == 0 && there > 0 && !aiff && (whole == 0xffffffffu || whole + 8 <= place)) {
                source->patched = true; /* nothing but the audio can be behind */
                source->patch_place = place - 4;
            }
            return TMB_OK;
        }
        place += size + (size & 1);
    }
    return tmb_fail(error, TMB_ERROR_FORMAT, "has no audio: no %s chunk (cut short?)", wanted);
}

/* A first MP3 frame that says how many frames and bytes follow. */
static tmb_status check_xing(tmb_source *source, uint64_t place, tmb_error *error) {
    uint8_t frame[256];
    const size_t size = tmb_source_read_at(source, place, frame, sizeof frame);
    if (!is_mp3_frame(frame, size)) {
        return TMB_OK; /* junk that the decoder may skip */
    }
    const uint8_t *tag = memmem(frame, size, "Xing", 4);
    if (tag == NULL) {
        tag = memmem(frame, size, "Info", 4);
    }
    if (tag == NULL || tag + 16 > frame + size || (tag[7] & 2) == 0) {
        return TMB_OK;
    }
    const uint8_t *bytes = tag + 8 + ((tag[7] & 1) != 0 ? 4 : 0);
    const uint64_t promised = number(bytes, 4, true);
    if (promised > source->size - place) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it promises %llu bytes of audio and has %llu",
                        (unsigned long long)promised, (unsigned long long)(source->size - place));
    }
    return TMB_OK;
}

static tmb_status check_mp3(tmb_source *source, tmb_error *error) {
    uint8_t header[10];
    uint64_t place = 0;
    if (tmb_source_read_at(source, 0, header, sizeof header) == sizeof header && memcmp(header, "ID3", 3) == 0) {
        /* Four groups of seven bits, and ten bytes of header (and of footer). */
        const uint64_t size = ((uint64_t)(header[6] & 0x7f) << 21) | ((uint64_t)(header[7] & 0x7f) << 14) |
                              ((uint64_t)(header[8] & 0x7f) << 7) | (uint64_t)(header[9] & 0x7f);
        place = 10 + size + ((header[5] & 0x10) != 0 ? 10 : 0);
    }
    if (source->size < place + 4) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "has no audio: it ends inside its ID3 tag or with it");
    }
    return check_xing(source, place, error);
}

tmb_status tmb_sniff_complete(tmb_source *source, tmb_file_kind kind, tmb_error *error) {
    switch (kind) {
    case TMB_FILE_WAV: return check_chunks(source, false, error);
    case TMB_FILE_AIFF: return check_chunks(source, true, error);
    case TMB_FILE_MP3: return check_mp3(source, error);
    case TMB_FILE_FLAC:
    case TMB_FILE_OGG: break;
    }
    return TMB_OK;
}
