#include "weights/json_pull.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"

#include <stdlib.h>
#include <string.h>

void tmb_json_pull_init(tmb_json_pull *json, const char *name, const char *text, size_t bytes) {
    memset(json, 0, sizeof *json);
    json->name = name;
    json->begin = text;
    json->position = text;
    json->end = text + bytes;
}

bool tmb_json_pull_fail(tmb_json_pull *json, const char *problem) {
    if (json->status == TMB_OK) {
        json->status = TMB_ERROR_FORMAT;
        json->problem = problem;
        json->problem_offset = (size_t)(json->position - json->begin);
    }
    return false;
}

tmb_status tmb_json_pull_finish(tmb_json_pull *json, tmb_error *error) {
    if (json->status == TMB_OK && (json->depth != 0 || tmb_json_pull_peek(json) != '\0')) {
        (void)tmb_json_pull_fail(json, json->depth != 0 ? "ends too early" : "text after the end");
    }
    free(json->buffer);
    json->buffer = NULL;
    if (json->status == TMB_ERROR_MEMORY) {
        return tmb_fail_memory(error, json->name, 0);
    }
    if (json->status != TMB_OK) {
        size_t line = 1;
        for (size_t i = 0; i < json->problem_offset; i++) {
            line += json->begin[i] == '\n';
        }
        return tmb_fail(error, json->status, "%s: line %zu, byte %zu: %s", json->name, line, json->problem_offset,
                        json->problem);
    }
    return TMB_OK;
}

char tmb_json_pull_peek(tmb_json_pull *json) {
    while (json->position < json->end &&
           (*json->position == ' ' || *json->position == '\n' || *json->position == '\r' || *json->position == '\t')) {
        json->position++;
    }
    return json->position < json->end && json->status == TMB_OK ? *json->position : '\0';
}

static bool take(tmb_json_pull *json, char c, const char *problem) {
    if (tmb_json_pull_peek(json) != c || c == '\0') {
        return tmb_json_pull_fail(json, problem);
    }
    json->position++;
    return true;
}

static bool enter(tmb_json_pull *json, char c, const char *problem) {
    if (json->depth == TMB_JSON_PULL_DEPTH) {
        return tmb_json_pull_fail(json, "nested too deeply");
    }
    if (!take(json, c, problem)) {
        return false;
    }
    json->fresh[json->depth++] = true;
    return true;
}

bool tmb_json_pull_object(tmb_json_pull *json) { return enter(json, '{', "an object was expected"); }

bool tmb_json_pull_array(tmb_json_pull *json) { return enter(json, '[', "a list was expected"); }

/* The comma, if one is due, or the end of the level. */
static bool next(tmb_json_pull *json, char closing) {
    if (json->status != TMB_OK || json->depth == 0) {
        return tmb_json_pull_fail(json, "outside of any object");
    }
    bool *fresh = &json->fresh[json->depth - 1];
    if (tmb_json_pull_peek(json) == closing) {
        json->position++;
        json->depth--;
        return false;
    }
    if (!*fresh && !take(json, ',', "a comma was expected")) {
        return false;
    }
    *fresh = false;
    return true;
}

bool tmb_json_pull_element(tmb_json_pull *json) { return next(json, ']'); }

bool tmb_json_pull_key(tmb_json_pull *json, const char **key, size_t *length) {
    return next(json, '}') && tmb_json_pull_string(json, key, length) && take(json, ':', "a colon was expected");
}

static bool read_hex(tmb_json_pull *json, const char **position, uint32_t *code) {
    if (json->end - *position < 4) {
        return tmb_json_pull_fail(json, "bad \\u escape");
    }
    *code = 0;
    for (int i = 0; i < 4; i++) {
        char c = *(*position)++;
        uint32_t digit;
        if (c >= '0' && c <= '9') {
            digit = (uint32_t)(c - '0');
        } else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f') {
            digit = (uint32_t)((c | 0x20) - 'a' + 10);
        } else {
            return tmb_json_pull_fail(json, "bad \\u escape");
        }
        *code = *code << 4 | digit;
    }
    return true;
}

/* What follows a backslash at *position, as UTF-8 in out; *count bytes. */
static bool read_escape(tmb_json_pull *json, const char **position, char out[4], size_t *count) {
    static const char names[] = "\"\\/bfnrt";
    static const char values[] = "\"\\/\b\f\n\r\t";
    if (*position == json->end) {
        return tmb_json_pull_fail(json, "unterminated string");
    }
    char c = *(*position)++;
    const char *simple = c == '\0' ? NULL : strchr(names, c);
    if (simple != NULL) {
        out[0] = values[simple - names];
        *count = 1;
        return true;
    }
    uint32_t code = 0;
    uint32_t low = 0;
    if (c != 'u') {
        return tmb_json_pull_fail(json, "unknown escape");
    }
    if (!read_hex(json, position, &code)) {
        return false;
    }
    if (code >= 0xd800 && code < 0xe000) {
        if (code >= 0xdc00 || json->end - *position < 2 || memcmp(*position, "\\u", 2) != 0) {
            return tmb_json_pull_fail(json, "half a surrogate pair");
        }
        *position += 2;
        if (!read_hex(json, position, &low)) {
            return false;
        }
        if (low < 0xdc00 || low > 0xdfff) {
            return tmb_json_pull_fail(json, "half a surrogate pair");
        }
        code = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    }
    *count = tmb_utf8_encode(code, out);
    return true;
}

/* A string with escapes: unescaped it is never longer than it is written. */
static bool read_escaped(tmb_json_pull *json, const char *begin, const char *close, size_t *length) {
    size_t written = (size_t)(close - begin);
    if (written + 1 > json->capacity) {
        char *buffer = tmb_realloc(json->buffer, 2 * written + 64, 1);
        if (buffer == NULL) {
            json->status = TMB_ERROR_MEMORY;
            return false;
        }
        json->buffer = buffer;
        json->capacity = 2 * written + 64;
    }
    size_t used = 0;
    const char *position = begin;
    while (position < close) {
        if (*position != '\\') {
            json->buffer[used++] = *position++;
            continue;
        }
        position++;
        char out[4];
        size_t count = 0;
        if (!read_escape(json, &position, out, &count)) {
            return false;
        }
        memcpy(json->buffer + used, out, count);
        used += count;
    }
    *length = used;
    return true;
}

bool tmb_json_pull_string(tmb_json_pull *json, const char **text, size_t *length) {
    if (!take(json, '"', "a string was expected")) {
        return false;
    }
    const char *begin = json->position;
    const char *position = begin;
    bool escapes = false;
    while (position < json->end && *position != '"') {
        if ((unsigned char)*position < 0x20) {
            return tmb_json_pull_fail(json, "control character in a string");
        }
        if (*position == '\\') {
            escapes = true;
            position++;
        }
        position++;
    }
    if (position >= json->end) {
        return tmb_json_pull_fail(json, "unterminated string");
    }
    size_t bytes = (size_t)(position - begin);
    if (tmb_utf8_valid_prefix(begin, bytes) != bytes) {
        return tmb_json_pull_fail(json, "invalid UTF-8");
    }
    *text = begin;
    *length = bytes;
    if (escapes) {
        if (!read_escaped(json, begin, position, length)) {
            return false;
        }
        *text = json->buffer;
    }
    json->position = position + 1;
    return true;
}

bool tmb_json_pull_integer(tmb_json_pull *json, int64_t *value) {
    char first = tmb_json_pull_peek(json);
    bool negative = first == '-';
    const char *position = json->position + negative;
    const char *digits = position;
    int64_t number = 0;
    while (position < json->end && *position >= '0' && *position <= '9') {
        if (__builtin_mul_overflow(number, 10, &number) || __builtin_add_overflow(number, *position - '0', &number)) {
            return tmb_json_pull_fail(json, "number too large");
        }
        position++;
    }
    size_t count = (size_t)(position - digits);
    if (first == '\0' || count == 0 || (count > 1 && digits[0] == '0') ||
        (position < json->end && (*position == '.' || (*position | 0x20) == 'e'))) {
        return tmb_json_pull_fail(json, "a whole number was expected");
    }
    json->position = position;
    *value = negative ? -number : number;
    return true;
}

/* true, false, null; returns the length of the one that is there, or 0. */
static size_t match_word(tmb_json_pull *json, const char *word) {
    size_t length = strlen(word);
    return (size_t)(json->end - json->position) >= length && memcmp(json->position, word, length) == 0 ? length : 0;
}

bool tmb_json_pull_boolean(tmb_json_pull *json, bool *value) {
    (void)tmb_json_pull_peek(json);
    size_t length = match_word(json, "true");
    *value = length != 0;
    if (length == 0) {
        length = match_word(json, "false");
    }
    if (length == 0 || json->status != TMB_OK) {
        return tmb_json_pull_fail(json, "true or false was expected");
    }
    json->position += length;
    return true;
}

/* A number of any form, a word, or a string. */
static bool skip_scalar(tmb_json_pull *json, char first) {
    const char *text;
    size_t length;
    if (first == '"') {
        return tmb_json_pull_string(json, &text, &length);
    }
    const char *position = json->position;
    while (position < json->end &&
           (strchr("+-.", *position) != NULL || (*position >= '0' && *position <= '9') ||
            ((*position | 0x20) >= 'a' && (*position | 0x20) <= 'z')) &&
           *position != '\0') {
        position++;
    }
    bool is_number = first == '-' || (first >= '0' && first <= '9');
    length = (size_t)(position - json->position);
    bool is_word = length != 0 && (length == match_word(json, "true") || length == match_word(json, "false") ||
                                   length == match_word(json, "null"));
    if (!is_number && !is_word) {
        return tmb_json_pull_fail(json, "a value was expected");
    }
    json->position = position;
    return true;
}

/* Recurses TMB_JSON_PULL_DEPTH levels at most. */
bool tmb_json_pull_skip(tmb_json_pull *json) {
    char first = tmb_json_pull_peek(json);
    const char *key;
    size_t length;
    if (first == '{') {
        if (!tmb_json_pull_object(json)) {
            return false;
        }
        while (tmb_json_pull_key(json, &key, &length) && tmb_json_pull_skip(json)) {
        }
    } else if (first == '[') {
        if (!tmb_json_pull_array(json)) {
            return false;
        }
        while (tmb_json_pull_element(json) && tmb_json_pull_skip(json)) {
        }
    } else {
        return skip_scalar(json, first);
    }
    return json->status == TMB_OK;
}
