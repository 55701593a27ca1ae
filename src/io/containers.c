/* Containers that say their own length, of recordings that ffmpeg decodes: it reads one that is cut short, and the
 * first of several, without a word. */
#include "io/containers.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/bytes.h"
#include "io/marks.h"

#include <stdlib.h>
#include <string.h>

/* Boxes, objects or tags that are looked at. A recording of a day has fewer; files of empty ones are no recordings. */
#define MOST_STEPS 4000000

/* ffmpeg reads the first of several recordings that were appended to one another. */
static void note_appended(const tmb_source *source, uint64_t place, tmb_notes *notes) {
    tmb_note(notes, "has another recording behind its first one, which is left out: %llu bytes",
             (unsigned long long)(source->size - place));
}

static tmb_status cut_short(tmb_notes *notes, tmb_error *error, const char *what, uint64_t place, uint64_t promised,
                            uint64_t there) {
    return tmb_lost(notes, error, "is cut short: its %s at byte %llu promises %llu bytes and has %llu", what,
                    (unsigned long long)place, (unsigned long long)promised, (unsigned long long)there);
}

/* Boxes tile an MP4 file; before its first one padding may stand. */
static tmb_status check_boxes(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    uint64_t place = 0;
    bool begun = false;
    for (int step = 0; place + 8 <= source->size && step < MOST_STEPS; step++) {
        uint8_t head[16] = {0};
        const size_t got = tmb_source_read_at(source, place, head, sizeof head);
        const bool begins = memcmp(head + 4, "ftyp", 4) == 0;
        if (begun && begins) {
            note_appended(source, place, notes);
            break;
        }
        begun = begun || begins || memcmp(head + 4, "moov", 4) == 0 || memcmp(head + 4, "mdat", 4) == 0;
        uint64_t size = tmb_big(head, 4);
        size = size == 1 && got == 16 ? tmb_big(head + 8, 8) : size == 0 ? source->size - place : size;
        if (size < 8) {
            break; /* ffmpeg knows better what to say */
        }
        if (size > source->size - place) {
            return cut_short(notes, error, "box", place, size, source->size - place);
        }
        place += size;
    }
    return TMB_OK;
}

/* Objects tile an ASF file, and the one with the packets is the last if nobody could go back to write its size. */
static tmb_status check_objects(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    static const uint8_t data[16] = {0x36, 0x26, 0xb2, 0x75, 0x8e, 0x66, 0xcf, 0x11,
                                     0xa6, 0xd9, 0x00, 0xaa, 0x00, 0x62, 0xce, 0x6c};
    enum { DATA_HEAD = 50 };
    uint8_t first[16];
    if (tmb_source_read_at(source, 0, first, sizeof first) < sizeof first) {
        return TMB_OK;
    }
    uint64_t place = 0;
    for (int step = 0; place + 24 <= source->size && step < MOST_STEPS; step++) {
        uint8_t head[24];
        (void)tmb_source_read_at(source, place, head, sizeof head);
        const uint64_t size = tmb_little(head + 16, 8);
        if (place > 0 && memcmp(head, first, sizeof first) == 0) {
            note_appended(source, place, notes);
            break;
        }
        if (size < 24 || (size <= DATA_HEAD && memcmp(head, data, sizeof data) == 0)) {
            break; /* of a stream whose length was not known */
        }
        if (size > source->size - place) {
            return cut_short(notes, error, "object", place, size, source->size - place);
        }
        place += size;
    }
    return TMB_OK;
}

/* A head, a table of the frames' sizes, the frames. */
static tmb_status check_true_audio(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    uint8_t head[22];
    (void)error; /* ffmpeg sees what is missing */
    if (tmb_source_read_at(source, 0, head, sizeof head) < sizeof head) {
        return TMB_OK;
    }
    const uint64_t frame = tmb_little(head + 10, 4) * 256 / 245; /* samples; the head has rate and length */
    const uint64_t length = tmb_little(head + 14, 4);
    uint64_t count = frame > 0 ? (length + frame - 1) / frame : 0;
    if (count > MOST_STEPS) {
        return TMB_OK;
    }
    uint64_t place = sizeof head;
    uint64_t end = place + 4 * count + 4;
    for (uint8_t size[4]; count > 0 && tmb_source_read_at(source, place, size, sizeof size) == sizeof size; count--) {
        end += tmb_little(size, 4);
        place += sizeof size;
    }
    end = end < source->size ? tmb_marks_skip(source, end, source->size) : end; /* tags stand behind it */
    if (count == 0 && tmb_source_read_at(source, end, head, 4) == 4 && memcmp(head, "TTA1", 4) == 0) {
        note_appended(source, end, notes);
    }
    return TMB_OK;
}

/* The size of the whole that a Flash video's first tag may name; 0: it does not. */
static uint64_t flash_size(tmb_source *source, uint64_t place, uint64_t bytes) {
    uint8_t data[2048];
    const size_t got = tmb_source_read_at(source, place, data, bytes < sizeof data ? (size_t)bytes : sizeof data);
    const uint8_t *name = memmem(data, got, "\0\10filesize\0", 11);
    if (name == NULL || (size_t)(data + got - name) < 11 + 8) {
        return 0;
    }
    const uint64_t bits = tmb_big(name + 11, 8);
    double value = 0;
    memcpy(&value, &bits, sizeof value);
    return value > 0 && value < 1e15 ? (uint64_t)value : 0;
}

/* Tags tile a Flash video, each with its size before and behind. */
static tmb_status check_flash_tags(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    enum { SOUND = 8, PICTURE = 9, SCRIPT = 18, HEAD = 11, SIZE_BEHIND = 4 };
    uint8_t head[HEAD];
    if (tmb_source_read_at(source, 0, head, 9) < 9) {
        return TMB_OK;
    }
    uint64_t place = tmb_big(head + 5, 4) + SIZE_BEHIND;
    for (int step = 0; step < MOST_STEPS && place < source->size; step++) {
        const size_t got = tmb_source_read_at(source, place, head, sizeof head);
        const uint8_t kind = head[0] & 0x1f;
        if (got >= 3 && memcmp(head, "FLV", 3) == 0) {
            note_appended(source, place, notes);
            break;
        }
        if (kind != SOUND && kind != PICTURE && kind != SCRIPT) {
            break; /* no tag: ffmpeg knows better what to say */
        }
        const uint64_t there = source->size - place;
        const uint64_t size = got == HEAD ? HEAD + tmb_big(head + 1, 3) : HEAD;
        if (size > there) {
            return cut_short(notes, error, "tag", place, size, there);
        }
        const uint64_t whole = step == 0 && kind == SCRIPT ? flash_size(source, place + HEAD, size - HEAD) : 0;
        if (whole > source->size) {
            return cut_short(notes, error, "head", 0, whole, source->size);
        }
        place += size + SIZE_BEHIND;
    }
    return TMB_OK;
}

/* Chunks tile an AVI file; lists have chunks in them. The whole ends where its size says, and may go on with "AVIX". */
static tmb_status check_riff(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    enum { HEAD = 12 };
    uint8_t head[HEAD];
    uint64_t place = 0;
    uint64_t end = 0; /* of the RIFF that `place` is in; 0: it says none */
    for (int step = 0; place < source->size && step < MOST_STEPS; step++) {
        const size_t got = tmb_source_read_at(source, place, head, sizeof head);
        const uint64_t there = source->size - place;
        const bool riff = got == HEAD && memcmp(head, "RIFF", 4) == 0;
        const bool list = got == HEAD && memcmp(head, "LIST", 4) == 0;
        if (riff && place > 0 && memcmp(head + 8, "AVI ", 4) == 0) {
            note_appended(source, place, notes);
            break;
        }
        if (place > 0 && place >= end && !riff) {
            break; /* what stands behind */
        }
        const uint64_t size = got >= 8 ? 8 + tmb_little(head + 4, 4) : 8;
        /* What could not go back leaves 0, or all ones. */
        const bool unknown = (riff || list) && (size == 8 || size == 8 + UINT64_C(0xffffffff));
        if (size > there && !unknown) {
            return cut_short(notes, error, "chunk", place, size, there);
        }
        end = !riff ? end : unknown ? source->size : place + size;
        for (size_t i = 0; i < 4; i++) {
            if (head[i] < 0x20 || head[i] > 0x7e) {
                return tmb_lost(notes, error, "is damaged: no chunk begins at byte %llu", (unsigned long long)place);
            }
        }
        place += riff || list ? HEAD : size + (size & 1);
    }
    return TMB_OK;
}

/* Packets of 188 bytes; those of a stream carry its frames in larger packets that say their length. */
static tmb_status check_transport(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    enum { PACKET = 188, STREAMS = 8192, HEAD = 6 };
    uint8_t packet[PACKET];
    uint64_t place = 0;
    uint32_t *left = tmb_calloc(STREAMS, sizeof *left); /* of the larger packet that a stream is in */
    if (left == NULL) {
        return tmb_fail_memory(error, "an audio reader", STREAMS * sizeof *left);
    }
    size_t got = 0;
    for (; (got = tmb_source_read_at(source, place, packet, PACKET)) == PACKET && packet[0] == 0x47; place += PACKET) {
        const size_t stream = (size_t)(packet[1] & 0x1f) << 8 | packet[2];
        const size_t at = (packet[3] & 0x20) != 0 ? 5 + (size_t)packet[4] : 4;
        if ((packet[3] & 0x10) == 0 || at >= PACKET) {
            continue; /* it carries nothing */
        }
        const size_t bytes = PACKET - at;
        const uint8_t *data = packet + at;
        if ((packet[1] & 0x40) != 0) {
            const bool begins = bytes >= HEAD && tmb_big(data, 3) == 1;
            left[stream] = begins && tmb_big(data + 4, 2) > 0 ? HEAD + (uint32_t)tmb_big(data + 4, 2) : 0;
        }
        left[stream] -= bytes < left[stream] ? (uint32_t)bytes : left[stream];
    }
    tmb_status status = TMB_OK;
    if (got > 0 && got < PACKET && packet[0] == 0x47) {
        status = cut_short(notes, error, "packet", place, PACKET, got);
    }
    for (size_t i = 0; i < STREAMS && status == TMB_OK && got == 0; i++) {
        if (left[i] > 0) {
            status = tmb_lost(notes, error, "is cut short: the last packet of stream %zu lacks %lu bytes", i,
                              (unsigned long)left[i]);
            break;
        }
    }
    free(left);
    return status;
}

uint64_t tmb_mpeg_frame(const uint8_t bytes[4]) {
    static const uint16_t kilobits[2][2][16] = {
        /* MPEG-1: layer I, II; MPEG-2 and 2.5 */
        {{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448, 0},
         {0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0}},
        {{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256, 0},
         {0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0}},
    };
    static const uint32_t rates[3] = {44100, 48000, 32000};
    const unsigned version = (bytes[1] >> 3) & 3; /* 3: MPEG-1, 2: MPEG-2, 0: MPEG-2.5 */
    const unsigned layer = (bytes[1] >> 1) & 3;   /* 3: I, 2: II */
    const unsigned rate_index = (bytes[2] >> 2) & 3;
    if (bytes[0] != 0xff || bytes[1] >> 5 != 7 || version == 1 || layer < 2 || rate_index == 3) {
        return 0;
    }
    const uint32_t rate = rates[rate_index] >> (version == 3 ? 0 : version == 2 ? 1 : 2);
    const uint32_t bits = 1000u * kilobits[version == 3 ? 0 : 1][layer == 3 ? 0 : 1][bytes[2] >> 4];
    const uint32_t padding = (bytes[2] >> 1) & 1;
    if (bits == 0) {
        return 0;
    }
    return layer == 3 ? UINT64_C(4) * (12 * bits / rate + padding) : 144 * bits / rate + padding;
}

/* Frames tile a stream of layers I and II. */
static tmb_status check_mpeg_frames(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    uint8_t head[4];
    uint64_t place = 0;
    while (tmb_source_read_at(source, place, head, sizeof head) == sizeof head) {
        const uint64_t size = tmb_mpeg_frame(head);
        if (size == 0) {
            break; /* a tag, or what ffmpeg will complain of */
        }
        if (size > source->size - place) {
            return cut_short(notes, error, "frame", place, size, source->size - place);
        }
        place += size;
    }
    return TMB_OK;
}

/* Samples of a whole recording by a WavPack block's head; 0: not said. */
static uint64_t wavpack_total(const uint8_t *head) {
    const uint64_t low = tmb_little(head + 12, 4);
    return low == 0 || low == 0xffffffffu ? 0 : low + ((uint64_t)head[11] << 32) - head[11];
}

/* Blocks tile a WavPack file, several for each frame of many channels. The first ones say how many samples there are;
 * ffmpeg reads on through all recordings that were appended to one another. */
static tmb_status check_wavpack(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    enum { HEAD = 32, BEGINS_FRAME = 0x800, ENDS_FRAME = 0x1000 };
    uint8_t head[HEAD];
    uint64_t place = 0;
    uint64_t promised = 0;
    uint64_t there = 0;
    bool known = true; /* what all of them promise */
    for (size_t got = 0; (got = tmb_source_read_at(source, place, head, sizeof head)) > 0;) {
        if (memcmp(head, "wvpk", got < 4 ? got : 4) != 0) {
            break; /* what stands behind, or ffmpeg will complain of */
        }
        const uint64_t left = source->size - place;
        const uint64_t size = got == HEAD ? 8 + tmb_little(head + 4, 4) : HEAD;
        if (size > left) {
            return cut_short(notes, error, "block", place, size, left);
        }
        const uint64_t samples = size >= HEAD ? tmb_little(head + 20, 4) : 0;
        const uint64_t flags = size >= HEAD ? tmb_little(head + 24, 4) : 0;
        if (samples > 0 && (flags & BEGINS_FRAME) != 0 && tmb_little(head + 16, 4) == 0 && head[10] == 0) {
            promised += wavpack_total(head);
            known = known && wavpack_total(head) != 0;
        }
        there += (flags & ENDS_FRAME) != 0 ? samples : 0;
        place += size;
    }
    if (known && there < promised) {
        return tmb_lost(notes, error, "is cut short: it promises %llu samples and has %llu",
                        (unsigned long long)promised, (unsigned long long)there);
    }
    return TMB_OK;
}

/* A number whose first byte says how many there are; *size 0: none. All ones: not known, UINT64_MAX. */
static uint64_t ebml_number(const uint8_t *bytes, size_t there, size_t *size) {
    *size = 1;
    while (there > 0 && *size <= 8 && (bytes[0] & (0x100 >> *size)) == 0) {
        ++*size;
    }
    if (*size > 8 || *size > there) {
        *size = 0;
        return 0;
    }
    const uint64_t ones = (UINT64_C(1) << (7 * *size)) - 1;
    const uint64_t value = tmb_big(bytes, *size) & ones;
    return value == ones ? UINT64_MAX : value;
}

static tmb_status check_segment(tmb_source *source, tmb_notes *notes, tmb_error *error) {
    uint8_t data[16] = {0};
    size_t length = 0;
    (void)tmb_source_read_at(source, 4, data, 8);
    const uint64_t header = ebml_number(data, 8, &length);
    const uint64_t place = 4 + length + header;
    if (length == 0 || header > 4096 || tmb_source_read_at(source, place, data, 12) < 12 ||
        tmb_big(data, 4) != 0x18538067) {
        return TMB_OK;
    }
    const uint64_t size = ebml_number(data + 4, 8, &length);
    const uint64_t there = source->size - place - 4 - length;
    if (length > 0 && size != UINT64_MAX && size > there) {
        return tmb_lost(notes, error, "is cut short: its segment promises %llu bytes and has %llu",
                        (unsigned long long)size, (unsigned long long)there);
    }
    return TMB_OK;
}

static const struct {
    const char *demuxer;
    tmb_status (*check)(tmb_source *source, tmb_notes *notes, tmb_error *error);
} checks[] = {
    {"mov", check_boxes},        {"matroska", check_segment}, {"asf", check_objects},
    {"tta", check_true_audio},   {"flv", check_flash_tags},   {"avi", check_riff},
    {"mpegts", check_transport}, {"mp3", check_mpeg_frames},  {"wv", check_wavpack},
};

tmb_status tmb_container_check(tmb_source *source, const char *demuxer, tmb_notes *notes, tmb_error *error) {
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        if (strcmp(demuxer, checks[i].demuxer) == 0) {
            tmb_source file = tmb_source_part(source, 0, tmb_marks_strip(source, 0, source->size));
            const tmb_status status = checks[i].check(&file, notes, error);
            source->error_number = file.error_number;
            return status;
        }
    }
    return TMB_OK;
}
