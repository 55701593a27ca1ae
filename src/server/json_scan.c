#include "server/json_scan.h"

#include <string.h>

/* Behind the string that begins at text[at] with its quote. */
static size_t skip_string(const char *text, size_t at, size_t size) {
    for (at++; at < size && text[at] != '"'; at++) {
        at += text[at] == '\\';
    }
    return at + 1;
}

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* Whether the string that ends before text[at] is a member's name. */
static bool is_name(const char *text, size_t at, size_t size) {
    while (at < size && is_blank(text[at])) {
        at++;
    }
    return at < size && text[at] == ':';
}

tmb_json_scan_result tmb_json_scan(const char *text, size_t size, const tmb_json_limits *limits) {
    size_t values = 0;
    size_t depth = 0;
    for (size_t at = 0; at < size;) {
        char c = text[at];
        if (is_blank(c) || c == ',' || c == ':') {
            at++;
            continue;
        }
        if (c == ']' || c == '}') {
            depth -= depth > 0;
            at++;
            continue;
        }
        if (c == '"') {
            at = skip_string(text, at, size);
            values += !is_name(text, at, size);
        } else if (c == '[' || c == '{') {
            values++;
            at++;
            if (++depth > limits->depth) {
                return TMB_JSON_TOO_DEEP;
            }
        } else {
            /* A number, a literal, or what is no JSON. */
            values++;
            while (at < size && !is_blank(text[at]) && strchr(",:[]{}\"", text[at]) == NULL) {
                at++;
            }
            at += at < size && text[at] == 0;
        }
        if (values > limits->values) {
            return TMB_JSON_TOO_MANY;
        }
    }
    return TMB_JSON_WITHIN;
}
