/* id3.org: ID3v2.2, 2.3 and 2.4, and the 128 bytes of ID3v1. */
#include "io/id3.h"

#include "base/memory.h"
#include "base/utf8.h"
#include "io/bytes.h"

#include <stdlib.h>
#include <string.h>

#define MAX_TAG ((size_t)1 << 20)
#define UNSYNCHRONIZED 0x80
#define EXTENDED 0x40

/* A frame's text as UTF-8, by the byte before it: Latin-1, UTF-16 with a mark, UTF-16, UTF-8. */
static void set_text(tmb_tags *tags, tmb_tag tag, unsigned encoding, const uint8_t *text, size_t size) {
    if (encoding == 0 || encoding == 3) {
        tmb_tags_set(tags, tag, text, size);
        return;
    }
    bool big = encoding == 2;
    if (size >= 2 && ((text[0] == 0xff && text[1] == 0xfe) || (text[0] == 0xfe && text[1] == 0xff))) {
        big = text[0] == 0xfe;
        text += 2;
        size -= 2;
    }
    size = size < TMB_TAG_BYTES ? size : TMB_TAG_BYTES;
    char out[TMB_TAG_BYTES * 2];
    size_t length = 0;
    for (size_t i = 0; i + 2 <= size; i += 2) {
        uint32_t code = (uint32_t)(big ? tmb_big(text + i, 2) : tmb_little(text + i, 2));
        if (code == 0) {
            break;
        }
        if (code >= 0xd800 && code < 0xdc00 && i + 4 <= size) {
            const uint32_t low = (uint32_t)(big ? tmb_big(text + i + 2, 2) : tmb_little(text + i + 2, 2));
            code = low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00) : 0xfffd;
            i += 2;
        } else if (code >= 0xd800 && code < 0xe000) {
            code = 0xfffd;
        }
        length += tmb_utf8_encode(code, out + length);
    }
    tmb_tags_set(tags, tag, out, length);
}

static const struct {
    const char *name, *short_name; /* the latter of version 2.2 */
    tmb_tag tag;
} names[] = {
    {"TIT2", "TT2", TMB_TAG_TITLE}, {"TPE1", "TP1", TMB_TAG_ARTIST},    {"TALB", "TAL", TMB_TAG_ALBUM},
    {"TDRC", "TYE", TMB_TAG_DATE},  {"TYER", "TYE", TMB_TAG_DATE},      {"TCON", "TCO", TMB_TAG_GENRE},
    {"TRCK", "TRK", TMB_TAG_TRACK}, {"TCOP", "TCR", TMB_TAG_COPYRIGHT}, {"COMM", "COM", TMB_TAG_COMMENT},
};

static void read_frame(tmb_tags *tags, bool is_short, const uint8_t *name, const uint8_t *data, size_t size) {
    for (size_t i = 0; i < sizeof names / sizeof names[0] && size > 1; i++) {
        if (memcmp(name, is_short ? names[i].short_name : names[i].name, is_short ? 3 : 4) != 0) {
            continue;
        }
        const unsigned encoding = data[0];
        size_t at = 1;
        if (names[i].tag == TMB_TAG_COMMENT) { /* a language, a description up to its 0, and the text */
            const size_t unit = encoding == 1 || encoding == 2 ? 2 : 1;
            at = 4;
            while (at + unit <= size && (data[at] != 0 || (unit == 2 && data[at + 1] != 0))) {
                at += unit;
            }
            at += unit;
        }
        if (at < size) {
            set_text(tags, names[i].tag, encoding, data + at, size - at);
        }
        return;
    }
}

static uint64_t seven_bits(const uint8_t *bytes) {
    return (uint64_t)(bytes[0] & 0x7f) << 21 | (uint64_t)(bytes[1] & 0x7f) << 14 | (uint64_t)(bytes[2] & 0x7f) << 7 |
           (bytes[3] & 0x7f);
}

/* Takes the zeros out that were put behind each 0xff. */
static size_t resynchronize(uint8_t *data, size_t size) {
    size_t length = 0;
    for (size_t i = 0; i < size; i++) {
        data[length++] = data[i];
        i += data[i] == 0xff && i + 1 < size && data[i + 1] == 0 ? 1 : 0;
    }
    return length;
}

static void read_frames(tmb_tags *tags, const uint8_t *head, uint8_t *data, size_t size) {
    const unsigned version = head[3];
    if ((head[5] & UNSYNCHRONIZED) != 0 && version < 4) {
        size = resynchronize(data, size);
    }
    size_t at = 0;
    if ((head[5] & EXTENDED) != 0 && size >= 4) {
        at = version >= 4 ? (size_t)seven_bits(data) : (size_t)tmb_big(data, 4) + 4;
    }
    const bool is_short = version == 2;
    const size_t frame_head = is_short ? 6 : 10;
    while (at < size && size - at > frame_head && data[at] != 0) {
        const uint8_t *frame = data + at;
        const uint64_t length = is_short       ? tmb_big(frame + 3, 3)
                                : version >= 4 ? seven_bits(frame + 4)
                                               : tmb_big(frame + 4, 4);
        if (length > size - at - frame_head) {
            return;
        }
        read_frame(tags, is_short, frame, frame + frame_head, (size_t)length);
        at += frame_head + (size_t)length;
    }
}

static void read_first_version(tmb_source *source, tmb_tags *tags) {
    uint8_t tag[128];
    if (source->size < sizeof tag || tmb_source_read_at(source, source->size - sizeof tag, tag, sizeof tag) < 128 ||
        memcmp(tag, "TAG", 3) != 0) {
        return;
    }
    tmb_tags_set(tags, TMB_TAG_TITLE, tag + 3, 30);
    tmb_tags_set(tags, TMB_TAG_ARTIST, tag + 33, 30);
    tmb_tags_set(tags, TMB_TAG_ALBUM, tag + 63, 30);
    tmb_tags_set(tags, TMB_TAG_DATE, tag + 93, 4);
    tmb_tags_set(tags, TMB_TAG_COMMENT, tag + 97, 28);
}

void tmb_id3_read(tmb_source *source, tmb_tags *tags) {
    uint8_t head[10];
    if (tmb_source_read_at(source, 0, head, sizeof head) == sizeof head && memcmp(head, "ID3", 3) == 0) {
        const uint64_t said = seven_bits(head + 6);
        const size_t size = said < MAX_TAG ? (size_t)said : MAX_TAG;
        uint8_t *data = tmb_calloc(size + 1, 1);
        if (data != NULL) {
            read_frames(tags, head, data, tmb_source_read_at(source, sizeof head, data, size));
        }
        free(data);
    }
    read_first_version(source, tags);
}
