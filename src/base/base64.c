#include "base/base64.h"

#include <string.h>
#include <strings.h>

/* The shortest base64 that is audio (a WAV file of one sample), and longer than any id. */
enum { likely_length = 60 };

static int digit_value(unsigned char digit) {
    if (digit >= 'A' && digit <= 'Z') {
        return digit - 'A';
    }
    if (digit >= 'a' && digit <= 'z') {
        return digit - 'a' + 26;
    }
    if (digit >= '0' && digit <= '9') {
        return digit - '0' + 52;
    }
    return digit == '+' || digit == '-' ? 62 : digit == '/' || digit == '_' ? 63 : -1;
}

static int hex_value(unsigned char digit) {
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
                                          : -1;
}

static bool is_space(unsigned char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* One character, escapes undone; *to moves behind what came out. */
static void take(tmb_base64_reader *reader, unsigned char c, unsigned char **to) {
    if (is_space(c)) {
        return;
    }
    if (c == '=') {
        reader->padding++;
        /* "Zg==" and "Zm8=": more than two stand nowhere, and none behind a whole group. */
        reader->failed = reader->failed || reader->digits < 2 || reader->padding + reader->digits > 4;
        return;
    }
    int value = digit_value(c);
    if (value < 0 || reader->padding) {
        reader->failed = true;
        return;
    }
    reader->bits = reader->bits << 6 | (uint32_t)value;
    reader->digits = (reader->digits + 1) % 4;
    if (reader->digits != 1) {
        unsigned shift = reader->digits == 2 ? 4 : reader->digits == 3 ? 2 : 0;
        *(*to)++ = (unsigned char)(reader->bits >> shift);
    }
}

size_t tmb_base64_read(tmb_base64_reader *reader, const char *text, size_t size, void *out) {
    /* `escape`: 0x100 behind '%', 0x200 and the value behind its first digit. */
    unsigned char *to = out;
    for (size_t i = 0; i < size && !reader->failed; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!reader->escape && c == '%' && reader->in_uri) {
            reader->escape = 0x100;
        } else if (!reader->escape) {
            take(reader, c, &to);
        } else {
            int value = hex_value(c);
            bool first = reader->escape == 0x100;
            unsigned whole = (reader->escape & 15) << 4 | (unsigned)(value < 0 ? 0 : value);
            reader->failed = value < 0;
            reader->escape = first ? 0x200 | (unsigned)(value < 0 ? 0 : value) : 0;
            if (!first && !reader->failed) {
                take(reader, (unsigned char)whole, &to);
            }
        }
    }
    return reader->failed ? SIZE_MAX : (size_t)(to - (unsigned char *)out);
}

bool tmb_base64_end(const tmb_base64_reader *reader) {
    bool padded = !reader->padding || reader->padding + reader->digits == 4;
    return !reader->failed && !reader->escape && reader->digits != 1 && padded;
}

bool tmb_base64_is_likely(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (digit_value(c) < 0 && c != '=' && !is_space(c)) {
            return false;
        }
    }
    return size >= likely_length;
}

const char *tmb_data_uri_content(const char *text) {
    static const char scheme[] = "data:";
    static const char mark[] = "base64";
    size_t length = sizeof mark - 1;
    if (strncasecmp(text, scheme, sizeof scheme - 1) != 0) {
        return NULL;
    }
    /* A parameter's value may stand in quotes, with a comma in it. */
    const char *comma = text;
    for (bool quoted = false; *comma && (quoted || *comma != ','); comma++) {
        if (quoted && *comma == '\\' && comma[1]) {
            comma++;
        } else if (*comma == '"') {
            quoted = !quoted;
        }
    }
    if (!*comma) {
        return NULL;
    }
    /* The last parameter, with blanks around it. */
    const char *first = text + sizeof scheme - 1;
    const char *end = comma;
    while (end > first && is_space((unsigned char)end[-1])) {
        end--;
    }
    if ((size_t)(end - first) <= length || strncasecmp(end - length, mark, length) != 0) {
        return NULL;
    }
    end -= length;
    while (end > first && is_space((unsigned char)end[-1])) {
        end--;
    }
    return end > first && end[-1] == ';' ? comma + 1 : NULL;
}
