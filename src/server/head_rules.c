#include "server/head_rules.h"

#include <string.h>
#include <strings.h>

void tmb_head_problem(tmb_head_rules *rules, unsigned status, const char *problem) {
    if (!rules->status) {
        rules->status = status;
        rules->problem = problem;
    }
}

static bool is_token(const char *text, size_t size) {
    static const char others[] = "!#$%&'*+-.^_`|~";
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && (!c || strchr(others, c) == NULL)) {
            return false;
        }
    }
    return size > 0;
}

/* Control characters other than a tab. */
static bool has_control(const char *text, size_t size) {
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)text[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f) {
            return true;
        }
    }
    return false;
}

static bool is_word(const char *text, size_t size, const char *word) {
    return size == strlen(word) && strncasecmp(text, word, size) == 0;
}

void tmb_head_line(tmb_head_rules *rules, const char *target, size_t target_size, const char *version,
                   size_t version_size) {
    if (target_size > TMB_TARGET_LIMIT) {
        tmb_head_problem(rules, 414, "The URL is longer than 2048 bytes");
    } else if (!target_size || has_control(target, target_size) || memchr(target, ' ', target_size) != NULL ||
               memchr(target, '\t', target_size) != NULL) {
        tmb_head_problem(rules, 400, "the first line is not METHOD URL HTTP/1.1 with one blank between its parts");
    }
    rules->is_old = is_word(version, version_size, "HTTP/1.0");
    bool major = version_size == 8 && memcmp(version, "HTTP/", 5) == 0 && version[6] == '.' && version[5] >= '0' &&
                 version[5] <= '9' && version[7] >= '0' && version[7] <= '9';
    if (!major) {
        tmb_head_problem(rules, 400, "the first line is not METHOD URL HTTP/1.1 with one blank between its parts");
    } else if (version[5] != '1') {
        tmb_head_problem(rules, 505, "The versions that are possible are HTTP/1.1 and HTTP/1.0");
    }
}

static void read_length(tmb_head_rules *rules, const char *value, size_t size) {
    if (rules->lengths++) {
        tmb_head_problem(rules, 400, "Content-Length comes twice");
    }
    uint64_t length = 0;
    for (size_t i = 0; i < size || !size; i++) {
        if (!size || value[i] < '0' || value[i] > '9' || length > (INT64_MAX - 9) / 10) {
            tmb_head_problem(rules, 400, "Content-Length is not the length of a body");
            return;
        }
        length = length * 10 + (uint64_t)(value[i] - '0');
    }
    rules->length = rules->encodings ? rules->length : length;
}

static void read_encoding(tmb_head_rules *rules, const char *value, size_t size) {
    if (rules->encodings++) {
        tmb_head_problem(rules, 400, "Transfer-Encoding comes twice");
    }
    if (!is_word(value, size, "chunked")) {
        tmb_head_problem(rules, 501, "The only transfer encoding that is possible is chunked");
    }
    rules->length = UINT64_MAX;
}

static void read_host(tmb_head_rules *rules, const char *value, size_t size) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~%!$&'()*+;=:[]";
    if (rules->hosts++) {
        tmb_head_problem(rules, 400, "Host comes twice");
    }
    for (size_t i = 0; i < size; i++) {
        if (!value[i] || strchr(allowed, value[i]) == NULL) {
            tmb_head_problem(rules, 400, "Host is no name of a machine");
            return;
        }
    }
}

/* Whether one of the words of a list with commas is `word`. */
static bool has_word(const char *list, size_t size, const char *word) {
    for (size_t at = 0; at < size;) {
        const char *comma = memchr(list + at, ',', size - at);
        size_t end = comma != NULL ? (size_t)(comma - list) : size;
        size_t last = end;
        while (at < last && (list[at] == ' ' || list[at] == '\t')) {
            at++;
        }
        while (at < last && (list[last - 1] == ' ' || list[last - 1] == '\t')) {
            last--;
        }
        if (is_word(list + at, last - at, word)) {
            return true;
        }
        at = end + 1;
    }
    return false;
}

static void count_field(tmb_head_rules *rules, const char *cookies, size_t size) {
    rules->fields++;
    for (size_t i = 0; i < size; i++) {
        rules->fields += cookies[i] == ';' || cookies[i] == ',';
    }
    if (rules->fields > TMB_FIELDS_LIMIT) {
        tmb_head_problem(rules, 431, "The head has more than 256 headers and cookies");
    }
}

void tmb_head_header(tmb_head_rules *rules, const char *name, size_t name_size, const char *value, size_t value_size) {
    if (!is_token(name, name_size)) {
        tmb_head_problem(rules, 400, "a header's name has other characters than HTTP allows");
    }
    if (has_control(value, value_size)) {
        tmb_head_problem(rules, 400, "a header's value has control characters");
    }
    const size_t untrimmed = value_size;
    while (value_size && (value[value_size - 1] == ' ' || value[value_size - 1] == '\t')) {
        value_size--;
    }
    count_field(rules, value, is_word(name, name_size, "Cookie") ? value_size : 0);
    if (is_word(name, name_size, "Content-Length")) {
        read_length(rules, value, untrimmed); /* libmicrohttpd cannot read either with blanks behind it */
    } else if (is_word(name, name_size, "Transfer-Encoding")) {
        read_encoding(rules, value, untrimmed);
    } else if (is_word(name, name_size, "Host")) {
        read_host(rules, value, value_size);
    } else if (is_word(name, name_size, "Connection")) {
        rules->closes = rules->closes || has_word(value, value_size, "close");
    }
}

void tmb_head_end(tmb_head_rules *rules) {
    rules->closes = rules->closes || rules->is_old;
    if (rules->encodings && rules->lengths) {
        tmb_head_problem(rules, 400, "it has both Content-Length and Transfer-Encoding");
    } else if (rules->encodings && rules->is_old) {
        tmb_head_problem(rules, 400, "HTTP/1.0 has no Transfer-Encoding");
    }
    if (!rules->hosts && !rules->is_old) {
        tmb_head_problem(rules, 400, "it has no Host");
    }
}

/* ---- The bytes themselves ------------------------------------------------------------------- */

/* The line at text [size] without its end; SIZE_MAX if it has none yet. */
static size_t find_line(tmb_head_rules *rules, const char *text, size_t size) {
    const char *end = memchr(text, '\n', size);
    if (end == NULL) {
        return SIZE_MAX;
    }
    if (end == text || end[-1] != '\r') {
        tmb_head_problem(rules, 400, "a line of the head does not end with CR and LF");
        return (size_t)(end - text);
    }
    return (size_t)(end - text) - 1;
}

static void look_at_first_line(tmb_head_rules *rules, const char *line, size_t size) {
    const char *blank = memchr(line, ' ', size);
    size_t method = blank != NULL ? (size_t)(blank - line) : 0;
    const char *last = memrchr(line, ' ', size);
    if (blank == NULL || last == blank || !is_token(line, method)) {
        tmb_head_problem(rules, 400, "the first line is not METHOD URL HTTP/1.1 with one blank between its parts");
        return;
    }
    tmb_head_line(rules, blank + 1, (size_t)(last - blank) - 1, last + 1, size - (size_t)(last + 1 - line));
}

static void look_at_header(tmb_head_rules *rules, const char *line, size_t size) {
    const char *colon = memchr(line, ':', size);
    if (line[0] == ' ' || line[0] == '\t') {
        tmb_head_problem(rules, 400, "a line of the head is folded");
    } else if (colon == NULL) {
        tmb_head_problem(rules, 400, "a line of the head is no header");
    } else {
        size_t name = (size_t)(colon - line);
        size_t value = name + 1;
        while (value < size && (line[value] == ' ' || line[value] == '\t')) {
            value++;
        }
        tmb_head_header(rules, line, name, line + value, size - value);
    }
}

bool tmb_head_look(tmb_head_rules *rules, const char *bytes, size_t size) {
    size_t at = 0;
    /* Empty lines before a request are nothing (RFC 9112, 2.2). */
    while (size - at >= 2 && memcmp(bytes + at, "\r\n", 2) == 0) {
        at += 2;
    }
    for (bool first = true; !rules->status && size - at <= size; first = false) {
        size_t line = find_line(rules, bytes + at, size - at);
        if (line == SIZE_MAX || rules->status) {
            break;
        }
        if (line == 0) {
            tmb_head_end(rules);
            rules->head_bytes = at + 2;
            return true;
        }
        if (first) {
            look_at_first_line(rules, bytes + at, line);
        } else {
            look_at_header(rules, bytes + at, line);
        }
        at += line + 2;
    }
    const char *end = memchr(bytes, '\n', size);
    bool first_is_whole = end != NULL && (size_t)(end - bytes) < at;
    if (!first_is_whole && size - at > TMB_TARGET_LIMIT + 64) {
        tmb_head_problem(rules, 414, "The URL is longer than 2048 bytes");
    } else if (size > TMB_HEAD_LIMIT) {
        tmb_head_problem(rules, 431, "The head is larger than 16384 bytes");
    }
    return rules->status != 0;
}
