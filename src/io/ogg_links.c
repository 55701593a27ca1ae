/* Pages as in RFC 3533: a header of 27 bytes, a table of segment lengths, the segments. */
#include "io/ogg_links.h"

#include "base/error.h"
#include "base/memory.h"
#include "io/bytes.h"
#include "io/marks.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 27
#define FLAGS_PLACE 5
#define CHECKSUM_PLACE 22
#define SERIAL_PLACE 14
#define SEQUENCE_PLACE 18
#define BEGIN_OF_STREAM 2
#define END_OF_STREAM 4
/* Header, table and 255 segments of 255 bytes. */
#define MAX_PAGE (HEADER_BYTES + 255 + 255 * 255)

/* Polynomial 0x04c11db7, most significant bit first, from 0. */
static void make_table(uint32_t table[256]) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t value = i << 24;
        for (int bit = 0; bit < 8; bit++) {
            value = (value << 1) ^ ((value & 0x80000000u) != 0 ? 0x04c11db7u : 0);
        }
        table[i] = value;
    }
}

static uint32_t checksum(const uint32_t table[256], const uint8_t *data, size_t size) {
    uint32_t value = 0;
    for (size_t i = 0; i < size; i++) {
        value = (value << 8) ^ table[((value >> 24) ^ data[i]) & 0xff];
    }
    return value;
}

/* The page at `place`; *size = its bytes. */
static tmb_status read_page(tmb_source *source, const uint32_t table[256], uint64_t place, uint8_t page[MAX_PAGE],
                            size_t *size, tmb_error *error) {
    size_t length = tmb_source_read_at(source, place, page, HEADER_BYTES + 255);
    if (length < 4 || memcmp(page, "OggS", 4) != 0) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: no Ogg page at byte %llu", (unsigned long long)place);
    }
    size_t expected = HEADER_BYTES;
    if (length >= HEADER_BYTES) {
        const size_t segments = page[HEADER_BYTES - 1];
        expected += segments;
        for (size_t i = 0; i < segments && HEADER_BYTES + i < length; i++) {
            expected += page[HEADER_BYTES + i];
        }
    }
    if (expected > length) {
        length += tmb_source_read_at(source, place + length, page + length, expected - length);
    }
    if (expected > length) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: it ends inside an Ogg page");
    }
    uint32_t stored = 0;
    for (size_t i = 0; i < 4; i++) {
        stored |= (uint32_t)page[CHECKSUM_PLACE + i] << (8 * i);
        page[CHECKSUM_PLACE + i] = 0;
    }
    if (checksum(table, page, expected) != stored) {
        return tmb_fail(error, TMB_ERROR_FORMAT, "is damaged: wrong checksum of the Ogg page at byte %llu",
                        (unsigned long long)place);
    }
    *size = expected;
    return TMB_OK;
}

/* The first place at or behind `place` at which a page begins, the end when there is none. */
static uint64_t next_page(tmb_source *source, uint64_t place, uint8_t page[MAX_PAGE]) {
    while (place < source->size) {
        const size_t size = tmb_source_read_at(source, place, page, MAX_PAGE);
        const uint8_t *found = size >= 4 ? memmem(page, size, "OggS", 4) : NULL;
        if (found != NULL) {
            return place + (uint64_t)(found - page);
        }
        if (size < MAX_PAGE) {
            break;
        }
        place += size - 3;
    }
    return source->size;
}

/* Between two pages: tags and zeros are passed over, and anything else at the end. */
static uint64_t skip_marks(tmb_source *source, uint64_t place, uint8_t page[MAX_PAGE], tmb_notes *notes) {
    uint8_t magic[4] = {0};
    if (tmb_source_read_at(source, place, magic, 4) == 4 && memcmp(magic, "OggS", 4) == 0) {
        return place;
    }
    place = tmb_marks_skip(source, place, source->size);
    if (place < source->size && next_page(source, place, page) == source->size) {
        uint8_t last[4];
        const size_t got = tmb_source_read_at(source, place, last, sizeof last);
        if (memcmp(last, "OggS", got) == 0) {
            return place; /* a page that is cut in its first letters */
        }
        tmb_note(notes, "has %llu bytes behind its audio, which are left out",
                 (unsigned long long)(source->size - place));
        place = source->size;
    }
    return place;
}

/* A link that is being read. */
typedef struct link {
    tmb_part part;
    size_t pages;
    uint32_t serial, sequence; /* of its first stream's last page */
    bool ended;                /* that stream has its mark of the end */
} link;

static tmb_status end_link(link *l, tmb_notes *notes, tmb_parts *parts, tmb_error *error) {
    if (l->pages == 0) {
        return TMB_OK;
    }
    if (!l->ended && l->pages > 1) {
        tmb_note(notes, "has an Ogg stream without a mark of its end: it may have been cut short");
    }
    return tmb_parts_add(parts, l->part, error);
}

/* Takes a page into the link, or begins the next link with it. */
static tmb_status take_page(link *l, uint64_t place, const uint8_t *page, size_t size, bool *began, tmb_notes *notes,
                            tmb_parts *parts, tmb_error *error) {
    const bool begins = (page[FLAGS_PLACE] & BEGIN_OF_STREAM) != 0;
    const uint32_t serial = (uint32_t)tmb_little(page + SERIAL_PLACE, 4);
    const uint32_t sequence = (uint32_t)tmb_little(page + SEQUENCE_PLACE, 4);
    tmb_status status = TMB_OK;
    if (l->pages == 0 || (begins && !*began)) {
        status = end_link(l, notes, parts, error);
        *l = (link){.part.start = place, .serial = serial, .sequence = sequence};
    } else if (serial == l->serial && sequence != l->sequence + 1 && l->pages < 4) {
        tmb_note(notes, "begins in the middle of an Ogg stream"); /* what a radio's listener gets behind the heads */
    } else if (serial == l->serial && sequence != l->sequence + 1) {
        status = tmb_lost(notes, error, "is damaged: Ogg pages %lu to %lu are missing at byte %llu",
                          (unsigned long)l->sequence + 1, (unsigned long)sequence - 1, (unsigned long long)place);
    }
    if (serial == l->serial) {
        l->sequence = sequence;
        l->ended = (page[FLAGS_PLACE] & END_OF_STREAM) != 0;
    }
    l->pages++;
    l->part.end = place + size;
    *began = begins;
    return status;
}

const char *tmb_ogg_foreign(tmb_source *source, uint64_t place) {
    static const char flac[] = "Ogg with FLAC", video[] = "Ogg with video"; /* equal literals need not be one text */
    static const struct {
        const char *magic, *name;
    } codecs[] = {
        {"\x01vorbis", NULL},
        {"OpusHead", NULL},
        {"\x7f"
         "FLAC",
         flac},
        {"fLaC", flac},
        {"Speex   ", "Ogg with Speex"},
        {"CELT    ", "Ogg with CELT"},
        {"PCM     ", "Ogg with PCM"},
        {"\x80theora", video},
        {"OVP80", video},
        {"BBCD", video},
        {"fishead", "Ogg with several streams"},
    };
    uint8_t head[HEADER_BYTES + 255 + 8] = {0};
    const size_t got = tmb_source_read_at(source, place, head, sizeof head);
    const size_t packet = HEADER_BYTES + (size_t)head[HEADER_BYTES - 1];
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        const size_t length = strlen(codecs[i].magic);
        if (packet + length <= got && memcmp(head + packet, codecs[i].magic, length) == 0) {
            return codecs[i].name;
        }
    }
    return "Ogg with an unknown codec";
}

bool tmb_ogg_opus_has_speakers(tmb_source *source, uint64_t place) {
    enum { FAMILY = 18 };
    uint8_t head[HEADER_BYTES + 255 + FAMILY + 1] = {0};
    const size_t got = tmb_source_read_at(source, place, head, sizeof head);
    const size_t packet = HEADER_BYTES + (size_t)head[HEADER_BYTES - 1];
    return packet + FAMILY < got && memcmp(head + packet, "OpusHead", 8) == 0 && head[packet + FAMILY] == 1;
}

tmb_status tmb_ogg_scan(tmb_source *source, uint64_t start, tmb_notes *notes, tmb_parts *parts, tmb_error *error) {
    uint32_t table[256];
    make_table(table);
    uint8_t *page = tmb_calloc(1, MAX_PAGE);
    if (page == NULL) {
        return tmb_fail_memory(error, "an audio reader", MAX_PAGE);
    }
    tmb_status status = TMB_OK;
    link l = {0};
    bool began = false; /* the last page began a stream: several may at the start of a link */
    bool good = true;
    for (uint64_t place = start;
         status == TMB_OK && good && (place = skip_marks(source, place, page, notes)) < source->size;) {
        size_t size = 0;
        tmb_error reason = {0};
        if (read_page(source, table, place, page, &size, &reason) != TMB_OK) {
            /* What is behind a damaged page is not looked for. */
            good = false;
            status = tmb_lost(notes, error, "%s", reason.message);
        } else {
            status = take_page(&l, place, page, size, &began, notes, parts, error);
            place += size;
        }
    }
    if (status == TMB_OK && began) {
        status = tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: its last Ogg stream ends with its first page");
    }
    if (status == TMB_OK) {
        status = end_link(&l, notes, parts, error);
    }
    free(page);
    if (status == TMB_OK && parts->count == 0) {
        status = tmb_fail(error, TMB_ERROR_FORMAT, "has no whole Ogg page");
    }
    return status;
}
