#include "server/header_value.h"

#include "base/text.h"

#include <string.h>
#include <strings.h>

static const char blanks[] = " \t";

bool tmb_header_value_is(const char *value, const char *word) {
    size_t length = strlen(word);
    value += strspn(value, blanks);
    return strncasecmp(value, word, length) == 0 && strchr(" \t;", value[length]) != NULL;
}

/* Writes the value at `*at` and moves behind it; false if it is malformed or too long. */
static bool copy_value(const char **at, char *out, size_t size) {
    const char *in = *at;
    size_t used = 0;
    bool quoted = *in == '"';
    in += quoted;
    while (quoted ? *in != '"' : *in != 0 && *in != ';') {
        if (quoted && *in == '\\' && (in[1] == '"' || in[1] == '\\')) {
            in++;
        }
        if (*in == 0 || used + 1 >= size) {
            return false;
        }
        out[used++] = *in++;
    }
    in += quoted;
    while (!quoted && used && strchr(blanks, out[used - 1]) != NULL) {
        used--;
    }
    out[used] = 0;
    in += strspn(in, blanks);
    *at = in;
    return *in == 0 || *in == ';';
}

/* Moves behind the value at `*at`; false if it is malformed. */
static bool skip_value(const char **at) {
    const char *in = *at;
    if (*in != '"') {
        *at = in + strcspn(in, ";");
        return true;
    }
    for (in++; *in != '"'; in++) {
        in += *in == '\\' && (in[1] == '"' || in[1] == '\\');
        if (*in == 0) {
            return false;
        }
    }
    in++;
    in += strspn(in, blanks);
    *at = in;
    return *in == 0 || *in == ';';
}

tmb_parameter tmb_header_parameter(const char *value, const char *name, char *out, size_t size) {
    tmb_parameter result = TMB_PARAMETER_ABSENT;
    size_t length = strlen(name);
    out[0] = 0;
    for (const char *at = value + strcspn(value, ";"); *at == ';';) {
        at++;
        at += strspn(at, blanks);
        size_t word = strcspn(at, "=; \t");
        bool wanted = word == length && strncasecmp(at, name, length) == 0;
        at += word;
        at += strspn(at, blanks);
        if (*at != '=') {
            /* A word without a value, or nothing between two semicolons. */
            if (*at != ';' && *at != 0) {
                result = TMB_PARAMETER_BROKEN;
                break;
            }
            continue;
        }
        at++;
        at += strspn(at, blanks);
        bool good = wanted ? result == TMB_PARAMETER_ABSENT && copy_value(&at, out, size) : skip_value(&at);
        if (!good) {
            result = TMB_PARAMETER_BROKEN;
            break;
        }
        result = wanted ? TMB_PARAMETER_FOUND : result;
    }
    if (result != TMB_PARAMETER_FOUND) {
        out[0] = 0;
    }
    return result;
}

bool tmb_header_decode_extended(char *text) {
    char *language = strchr(text, '\'');
    char *encoded = language != NULL ? strchr(language + 1, '\'') : NULL;
    if (encoded == NULL || language - text != 5 || strncasecmp(text, "UTF-8", 5) != 0) {
        return false;
    }
    char *out = text;
    for (const char *in = encoded + 1; *in; in++) {
        char digits[3] = {in[0], 0, 0};
        unsigned char byte = (unsigned char)*in;
        if (*in == '%') {
            digits[0] = in[1];
            digits[1] = in[1] ? in[2] : 0;
            if (!tmb_hex_decode(digits, &byte, 1) || byte == 0) {
                return false;
            }
            in += 2;
        }
        *out++ = (char)byte;
    }
    *out = 0;
    return tmb_utf8_length(text, (size_t)(out - text)) != SIZE_MAX;
}
