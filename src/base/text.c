#include "base/text.h"

#include "base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

size_t tmb_utf8_length(const char *text, size_t size) {
    size_t count = 0;
    for (size_t at = 0; at < size; count++) {
        uint32_t code = 0;
        size_t bytes = tmb_utf8_decode(text + at, size - at, &code);
        if (bytes == 0 || code == 0) {
            return SIZE_MAX;
        }
        at += bytes;
    }
    return count;
}

size_t tmb_base64_encoded_size(size_t size) { return (size + 2) / 3 * 4; }

void tmb_base64_encode(const void *data, size_t size, char *out) {
    static const char digits[65] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = data;
    for (; size >= 3; size -= 3, in += 3, out += 4) {
        uint32_t bits = (uint32_t)in[0] << 16 | (uint32_t)in[1] << 8 | in[2];
        out[0] = digits[bits >> 18];
        out[1] = digits[bits >> 12 & 63];
        out[2] = digits[bits >> 6 & 63];
        out[3] = digits[bits & 63];
    }
    if (size) {
        uint32_t bits = (uint32_t)in[0] << 16 | (size == 2 ? (uint32_t)in[1] << 8 : 0);
        out[0] = digits[bits >> 18];
        out[1] = digits[bits >> 12 & 63];
        out[2] = size == 2 ? digits[bits >> 6 & 63] : '=';
        out[3] = '=';
    }
}

void tmb_hex_encode(const void *data, size_t size, char *out) {
    static const char digits[17] = "0123456789abcdef";
    const unsigned char *in = data;
    for (size_t i = 0; i < size; i++) {
        out[2 * i] = digits[in[i] >> 4];
        out[2 * i + 1] = digits[in[i] & 15];
    }
    out[2 * size] = 0;
}

bool tmb_hex_decode(const char *text, void *out, size_t size) {
    unsigned char *to = out;
    if (strlen(text) != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < 2 * size; i++) {
        int digit = tolower((unsigned char)text[i]);
        int value = digit >= '0' && digit <= '9' ? digit - '0' : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
        if (value < 0) {
            return false;
        }
        to[i / 2] = (unsigned char)(i % 2 ? to[i / 2] | value : value << 4);
    }
    return true;
}

bool tmb_is_name(const char *text) {
    size_t length = strlen(text);
    if (length == 0 || length > 64 || !isalnum((unsigned char)text[0])) {
        return false;
    }
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c > 127 || (!isalnum(c) && c != '_' && c != '-' && c != '.')) {
            return false;
        }
    }
    return true;
}

enum { nearest_longest = 48 };

/* Letters to add, drop, change or exchange with their neighbour to get from one text to the other. */
static size_t distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t rows[3][nearest_longest + 1];
    for (size_t k = 0; k <= b_length; k++) {
        rows[0][k] = k;
    }
    for (size_t i = 1; i <= a_length; i++) {
        size_t *now = rows[i % 3];
        const size_t *last = rows[(i + 2) % 3];
        const size_t *before = rows[(i + 1) % 3];
        now[0] = i;
        for (size_t k = 1; k <= b_length; k++) {
            size_t least = last[k - 1] + (a[i - 1] != b[k - 1]);
            least = last[k] + 1 < least ? last[k] + 1 : least;
            least = now[k - 1] + 1 < least ? now[k - 1] + 1 : least;
            if (i > 1 && k > 1 && a[i - 1] == b[k - 2] && a[i - 2] == b[k - 1] && before[k - 2] + 1 < least) {
                least = before[k - 2] + 1;
            }
            now[k] = least;
        }
    }
    return rows[a_length % 3][b_length];
}

const char *tmb_text_nearest(const char *text, const char *const *names, size_t count) {
    size_t length = strlen(text);
    const char *nearest = NULL;
    size_t least = length / 3 + 1; /* more changes than that make another word */
    for (size_t i = 0; i < count && length && length <= nearest_longest; i++) {
        size_t name_length = strlen(names[i]);
        size_t changes = name_length <= nearest_longest ? distance(text, length, names[i], name_length) : least + 1;
        if (changes <= least && (nearest == NULL || changes < least)) {
            nearest = names[i];
            least = changes;
        }
    }
    return nearest;
}

bool tmb_random_bytes(void *out, size_t size) {
    unsigned char *to = out;
    while (size) {
        ssize_t got = getrandom(to, size, 0);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        to += got;
        size -= (size_t)got;
    }
    return true;
}

bool tmb_random_id(char out[TMB_ID_LENGTH + 1]) {
    unsigned char bytes[TMB_ID_LENGTH / 2];
    if (!tmb_random_bytes(bytes, sizeof bytes)) {
        return false;
    }
    tmb_hex_encode(bytes, sizeof bytes, out);
    return true;
}

bool tmb_is_id(const char *text) {
    size_t length = strspn(text, "0123456789abcdef");
    return length == TMB_ID_LENGTH && text[length] == 0;
}

/* A non-negative decimal number and its unit; NULL if there is no number. */
static const char *parse_number(const char *text, double *value) {
    if (!isdigit((unsigned char)text[0])) {
        return NULL;
    }
    char *end = NULL;
    errno = 0;
    *value = strtod(text, &end);
    return errno || !isfinite(*value) || strpbrk(text, "xXpP") != NULL ? NULL : end;
}

bool tmb_parse_bytes(const char *text, uint64_t *out) {
    double value = 0;
    const char *unit = parse_number(text, &value);
    if (unit == NULL) {
        return false;
    }
    static const char units[] = "KMGT";
    if (*unit && *unit != 'B') {
        const char *found = strchr(units, toupper((unsigned char)*unit));
        if (found == NULL) {
            return false;
        }
        value = ldexp(value, 10 * (int)(found - units + 1));
        unit++;
        unit += *unit == 'i';
    }
    unit += *unit == 'B';
    if (*unit || value >= ldexp(1.0, 63)) {
        return false;
    }
    *out = (uint64_t)value;
    return true;
}

bool tmb_parse_seconds(const char *text, double *out) {
    double value = 0;
    const char *unit = parse_number(text, &value);
    if (unit == NULL) {
        return false;
    }
    static const struct {
        const char *name;
        double seconds;
    } units[] = {{"", 1}, {"s", 1}, {"ms", 0.001}, {"m", 60}, {"min", 60}, {"h", 3600}, {"d", 86400}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(unit, units[i].name) == 0) {
            *out = value * units[i].seconds;
            return true;
        }
    }
    return false;
}
