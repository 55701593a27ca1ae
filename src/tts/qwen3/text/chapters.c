#include "tts/qwen3/text/chapters.h"

#include "base/utf8.h"
#include "tts/qwen3/text/sentence_end.h"

#include <string.h>
#include <utf8proc.h>

/* Bytes of a plain line that can be a heading. */
#define PLAIN_HEADING_MAX 120

static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

static size_t line_end(const char *text, size_t bytes, size_t from) {
    const char *end = memchr(text + from, '\n', bytes - from);
    return end != NULL ? (size_t)(end - text) : bytes;
}

static bool is_empty_line(const char *text, size_t begin, size_t end) {
    while (begin < end && is_blank(text[begin])) {
        begin++;
    }
    return begin == end;
}

/* "## Title": where the title begins, or 0. */
static size_t markdown_title(const char *text, size_t begin, size_t end) {
    size_t signs = 0;
    while (begin + signs < end && text[begin + signs] == '#') {
        signs++;
    }
    size_t at = begin + signs;
    if (signs < 1 || signs > 6 || at == end || !is_blank(text[at]) || is_empty_line(text, at, end)) {
        return 0;
    }
    while (is_blank(text[at])) {
        at++;
    }
    return at;
}

/* Does the line begin with this word, in any case, with white space, a mark or the end behind it? `word` is small. */
static bool begins_with(const char *text, size_t begin, size_t end, const char *word) {
    size_t at = begin;
    for (size_t i = 0, length = strlen(word); i < length;) {
        uint32_t wanted = 0, code = 0;
        i += tmb_utf8_decode(word + i, length - i, &wanted);
        size_t step = tmb_utf8_decode(text + at, end - at, &code);
        if (step == 0 || (uint32_t)utf8proc_tolower((utf8proc_int32_t)code) != wanted) {
            return false;
        }
        at += step;
    }
    uint32_t next = 0;
    return tmb_utf8_decode(text + at, end - at, &next) == 0 || !tmb_is_spoken(next) || (next >= '0' && next <= '9');
}

/* "第三章", "第12回", "제1장": a sign for the number, a few characters, a sign for the chapter. */
static bool is_counted_chapter(const char *text, size_t begin, size_t end) {
    static const uint32_t chapters[] = {0x7ae0, 0x56de, 0x8bdd, 0x8a71, 0x5377, 0x90e8, 0xc7a5, 0xbd80, 0xd654};
    uint32_t code = 0;
    size_t at = begin + tmb_utf8_decode(text + begin, end - begin, &code);
    if (code != 0x7b2c && code != 0xc81c) {
        return false;
    }
    for (int i = 0; i < 8 && at < end; i++) {
        at += tmb_utf8_decode(text + at, end - at, &code);
        for (size_t k = 0; k < sizeof chapters / sizeof chapters[0]; k++) {
            if (i > 0 && code == chapters[k]) {
                return true;
            }
        }
    }
    return false;
}

static bool is_chapter(const char *text, size_t begin, size_t end) {
    static const char *const words[] = {"chapter",
                                        "part",
                                        "prologue",
                                        "epilogue",
                                        "kapitel",
                                        "teil",
                                        "chapitre",
                                        "partie",
                                        "cap\u00edtulo",
                                        "capitolo",
                                        "parte",
                                        "\u0433\u043b\u0430\u0432\u0430",
                                        "\u0447\u0430\u0441\u0442\u044c"};
    while (begin < end && is_blank(text[begin])) {
        begin++;
    }
    if (end - begin > PLAIN_HEADING_MAX) {
        return false;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (begins_with(text, begin, end, words[i])) {
            return true;
        }
    }
    return is_counted_chapter(text, begin, end);
}

bool tmb_heading_find(const char *text, size_t bytes, size_t from, tmb_heading *out) {
    size_t begin = from;
    if (from > 0 && text[from - 1] != '\n') {
        begin = line_end(text, bytes, from);
        begin += begin < bytes;
    }
    bool empty_before = true; /* the line before this one; what is before `from` is another piece */
    while (begin < bytes) {
        size_t end = line_end(text, bytes, begin);
        size_t next = end + (end < bytes);
        bool empty_after = next >= bytes || is_empty_line(text, next, line_end(text, bytes, next));
        size_t title = markdown_title(text, begin, end);
        bool plain = title == 0 && empty_before && empty_after && is_chapter(text, begin, end);
        if (title != 0 || plain) {
            while (next < bytes && (is_blank(text[next]) || text[next] == '\n')) {
                next++;
            }
            *out = (tmb_heading){begin, next, plain ? begin : title};
            return true;
        }
        empty_before = is_empty_line(text, begin, end);
        begin = next;
    }
    return false;
}
