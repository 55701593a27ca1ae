#include "base/utf8.h"

#include <string.h>

size_t tmb_utf8_decode(const char *text, size_t bytes, uint32_t *code) {
    const unsigned char *u = (const unsigned char *)text;
    if (bytes == 0) {
        return 0;
    }
    if (u[0] < 0x80) {
        *code = u[0];
        return 1;
    }
    size_t length = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || length > bytes) {
        return 0;
    }
    uint32_t value = u[0] & (0x7fu >> length);
    for (size_t i = 1; i < length; i++) {
        if ((u[i] & 0xc0) != 0x80) {
            return 0;
        }
        value = value << 6 | (u[i] & 0x3fu);
    }
    static const uint32_t minimum[] = {0, 0, 0x80, 0x800, 0x10000};
    if (value < minimum[length] || value > 0x10ffff || (value >= 0xd800 && value < 0xe000)) {
        return 0;
    }
    *code = value;
    return length;
}

size_t tmb_utf8_encode(uint32_t code, char out[4]) {
    if (code < 0x80) {
        out[0] = (char)code;
        return 1;
    }
    size_t length = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (size_t i = length - 1; i > 0; i--) {
        out[i] = (char)(0x80 | (code & 0x3f));
        code >>= 6;
    }
    out[0] = (char)(0xf00u >> length | code);
    return length;
}

size_t tmb_utf8_valid_prefix(const char *text, size_t bytes) {
    size_t position = 0;
    while (position < bytes) {
        uint64_t block;
        if (bytes - position >= sizeof block) {
            memcpy(&block, text + position, sizeof block);
            if ((block & 0x8080808080808080u) == 0) {
                position += sizeof block;
                continue;
            }
        }
        uint32_t code;
        size_t length = tmb_utf8_decode(text + position, bytes - position, &code);
        if (length == 0) {
            break;
        }
        position += length;
    }
    return position;
}

size_t tmb_utf8_clean(const char *text, size_t bytes, char *out, size_t size) {
    size_t used = 0;
    for (size_t at = 0; at < bytes;) {
        uint32_t code = 0;
        size_t length = tmb_utf8_decode(text + at, bytes - at, &code);
        at += length ? length : 1;
        if (length == 0 || code == 0) {
            code = 0xfffd;
        }
        char letter[4];
        size_t needed = tmb_utf8_encode(code, letter);
        if (needed >= size - used) {
            break;
        }
        memcpy(out + used, letter, needed);
        used += needed;
    }
    out[used] = 0;
    return used;
}

bool tmb_utf8_is_space(uint32_t code) {
    return (code >= 0x09 && code <= 0x0d) || code == 0x20 || code == 0x85 || code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 || code == 0x2029 || code == 0x202f || code == 0x205f ||
           code == 0x3000;
}

void tmb_utf8_one_line(char *text) {
    for (char *at = text; *at != '\0'; at++) {
        const unsigned char byte = (unsigned char)*at;
        if (byte == '\n' || byte == '\r') {
            *at = ' ';
        } else if (byte < ' ' || byte == 0x7f) {
            *at = '?';
        } else if (byte == 0xc2 && (unsigned char)at[1] >= 0x80 && (unsigned char)at[1] < 0xa0) {
            *at++ = '?'; /* U+0080 to U+009F */
            *at = '?';
        }
    }
}
