/* Pages as in RFC 3533: a header of 27 bytes, a table of segment lengths, the segments. */
#include "io/ogg_links.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 27
#define FLAGS_PLACE 5
#define CHECKSUM_PLACE 22
#define BEGIN_OF_STREAM 2
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

static tmb_status add_link(tmb_ogg_links *links, uint64_t start, tmb_error *error) {
    if (links->count == TMB_OGG_MAX_LINKS) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "is a chain of more than %d Ogg files", TMB_OGG_MAX_LINKS);
    }
    uint64_t *starts = tmb_realloc(links->starts, links->count + 1, sizeof(uint64_t));
    if (starts == NULL) {
        return tmb_fail_memory(error, "an audio reader", (links->count + 1) * sizeof(uint64_t));
    }
    starts[links->count++] = start;
    links->starts = starts;
    return TMB_OK;
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

/* Whether what is left is short and has no page: a tag that some program put there. */
static bool is_tail(tmb_source *source, uint64_t place, uint8_t page[MAX_PAGE]) {
    if (place == 0 || source->size - place > MAX_PAGE) {
        return false;
    }
    const size_t size = tmb_source_read_at(source, place, page, MAX_PAGE);
    return memmem(page, size, "OggS", 4) == NULL;
}

tmb_status tmb_ogg_scan(tmb_source *source, tmb_ogg_links *links, tmb_error *error) {
    *links = (tmb_ogg_links){0};
    uint32_t table[256];
    make_table(table);
    uint8_t *page = tmb_calloc(1, MAX_PAGE);
    if (page == NULL) {
        return tmb_fail_memory(error, "an audio reader", MAX_PAGE);
    }
    tmb_status status = TMB_OK;
    uint64_t place = 0;
    bool began = false; /* the last page began a stream: several may at the start of a link */
    while (status == TMB_OK && place < source->size && !is_tail(source, place, page)) {
        size_t size = 0;
        status = read_page(source, table, place, page, &size, error);
        if (status == TMB_OK) {
            const bool begins = (page[FLAGS_PLACE] & BEGIN_OF_STREAM) != 0;
            if (links->count == 0 || (begins && !began)) {
                status = add_link(links, place, error);
            }
            began = begins;
            place += size;
        }
    }
    if (status == TMB_OK && began) {
        status = tmb_fail(error, TMB_ERROR_FORMAT, "is cut short: its last Ogg stream ends with its first page");
    }
    links->end = place;
    free(page);
    if (status != TMB_OK) {
        tmb_ogg_links_free(links);
    }
    return status;
}

void tmb_ogg_links_free(tmb_ogg_links *links) {
    free(links->starts);
    *links = (tmb_ogg_links){0};
}
