/* ID3v2: id3.org, "ID3 tag version 2.4.0"; ID3v1: the last 128 bytes; APEv2: a header and a footer of 32 bytes;
 * Lyrics3v2: its size in six digits before "LYRICS200". */
#include "io/marks.h"

#include "io/bytes.h"

#include <string.h>

#define ID3V2_HEAD 10
#define ID3V1_BYTES 128
#define APE_HEAD 32
#define APE_HAS_HEADER (UINT32_C(1) << 31)
#define APE_IS_HEADER (UINT32_C(1) << 29)
#define ZERO_BLOCK 4096

static uint64_t at_most(uint64_t value, uint64_t most) { return value < most ? value : most; }

/* Four groups of seven bits; UINT64_MAX: it is none. */
static uint64_t id3_size(const uint8_t *head) {
    if (((head[6] | head[7] | head[8] | head[9]) & 0x80) != 0 || head[3] == 0xff || head[4] == 0xff) {
        return UINT64_MAX;
    }
    const uint64_t size =
        (uint64_t)head[6] << 21 | (uint64_t)head[7] << 14 | (uint64_t)head[8] << 7 | (uint64_t)head[9];
    return ID3V2_HEAD + size + ((head[5] & 0x10) != 0 ? ID3V2_HEAD : 0); /* a footer */
}

uint64_t tmb_mark_at(tmb_source *source, uint64_t place, uint64_t end) {
    uint8_t head[APE_HEAD] = {0};
    const size_t got = place < end ? tmb_source_read_at(source, place, head, sizeof head) : 0;
    const uint64_t left = end - place;
    if (got >= ID3V2_HEAD && memcmp(head, "ID3", 3) == 0) {
        const uint64_t size = id3_size(head);
        return size == UINT64_MAX ? 0 : at_most(size, left);
    }
    if (got >= 3 && memcmp(head, "TAG", 3) == 0 && (left == ID3V1_BYTES || (left > ID3V1_BYTES && head[3] != '+'))) {
        return at_most(ID3V1_BYTES, left);
    }
    if (got == sizeof head && memcmp(head, "APETAGEX", 8) == 0) {
        const uint64_t flags = tmb_little(head + 20, 4);
        const uint64_t size = tmb_little(head + 12, 4); /* without the header, with the footer */
        return at_most((flags & APE_IS_HEADER) != 0 ? APE_HEAD + size : APE_HEAD, left);
    }
    if (got >= 11 && memcmp(head, "LYRICSBEGIN", 11) == 0) {
        uint8_t text[8192];
        const size_t size = tmb_source_read_at(source, place, text, at_most(sizeof text, left));
        const uint8_t *found = memmem(text, size, "LYRICS200", 9);
        found = found != NULL ? found : memmem(text, size, "LYRICSEND", 9);
        return found != NULL ? (uint64_t)(found - text) + 9 : 0;
    }
    return 0;
}

static uint64_t zeros_at(tmb_source *source, uint64_t place, uint64_t end) {
    uint8_t block[ZERO_BLOCK];
    uint64_t count = 0;
    for (;;) {
        const size_t size = (size_t)at_most(sizeof block, end - place - count);
        const size_t got = tmb_source_read_at(source, place + count, block, size);
        size_t i = 0;
        while (i < got && block[i] == 0) {
            i++;
        }
        count += i;
        if (i < sizeof block) {
            return count;
        }
    }
}

uint64_t tmb_marks_skip(tmb_source *source, uint64_t place, uint64_t end) {
    while (place < end) {
        uint64_t size = tmb_mark_at(source, place, end);
        size = size > 0 ? size : zeros_at(source, place, end);
        if (size == 0) {
            break;
        }
        place += size;
    }
    return place;
}

static bool is_at(tmb_source *source, uint64_t place, const char *text) {
    uint8_t bytes[16];
    const size_t size = strlen(text);
    return tmb_source_read_at(source, place, bytes, size) == size && memcmp(bytes, text, size) == 0;
}

/* Bytes of the tag that ends at `end`, 0: none. */
static uint64_t mark_before(tmb_source *source, uint64_t start, uint64_t end) {
    const uint64_t size = end - start;
    if (size >= ID3V1_BYTES && is_at(source, end - ID3V1_BYTES, "TAG")) {
        return ID3V1_BYTES;
    }
    if (size >= APE_HEAD && is_at(source, end - APE_HEAD, "APETAGEX")) {
        uint8_t foot[APE_HEAD];
        (void)tmb_source_read_at(source, end - APE_HEAD, foot, sizeof foot);
        const uint64_t flags = tmb_little(foot + 20, 4);
        const uint64_t whole = tmb_little(foot + 12, 4) + ((flags & APE_HAS_HEADER) != 0 ? APE_HEAD : 0);
        return whole >= APE_HEAD && whole <= size ? whole : APE_HEAD;
    }
    if (size >= 15 && is_at(source, end - 9, "LYRICS200")) {
        uint8_t digits[6];
        (void)tmb_source_read_at(source, end - 15, digits, sizeof digits);
        uint64_t length = 0;
        for (size_t i = 0; i < sizeof digits; i++) {
            length = digits[i] >= '0' && digits[i] <= '9' ? length * 10 + (uint64_t)(digits[i] - '0') : size;
        }
        return length + 15 <= size ? length + 15 : 0;
    }
    if (size >= ID3V2_HEAD && is_at(source, end - ID3V2_HEAD, "3DI")) { /* the footer of an ID3v2 tag */
        uint8_t foot[ID3V2_HEAD];
        (void)tmb_source_read_at(source, end - ID3V2_HEAD, foot, sizeof foot);
        const uint64_t whole = id3_size(foot);
        return whole <= size ? whole : 0;
    }
    return 0;
}

uint64_t tmb_marks_strip(tmb_source *source, uint64_t start, uint64_t end) {
    while (end > start) {
        const uint64_t size = mark_before(source, start, end);
        if (size == 0) {
            break;
        }
        end -= size;
    }
    return end;
}
