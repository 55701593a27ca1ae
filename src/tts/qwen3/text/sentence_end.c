#include "tts/qwen3/text/sentence_end.h"

#include "base/utf8.h"

#include <string.h>
#include <utf8proc.h>

/* How far back a boundary looks for quotes and white space behind the full stop, and for the word before it. */
#define LOOK_BACK_CHARACTERS 24

/* Marks in a row that may follow a piece beyond its length. */
#define MARKS_MAX 64

/* Words that a full stop shortens and that something always follows. Words that may end a sentence as well ("etc.")
 * need no list: a full stop before a small letter never ends one. */
static const char *const titles[] = {
    "mr",   "mrs",  "ms",  "dr",  "prof", "st",   "rev", "gen", "col", "sgt",  "capt", "lt",   "hon", "messrs",
    "mme",  "mlle", "sr",  "sra", "srta", "dott", "sig", "hr",  "fr",  "nr",   "no",   "nos",  "vs",  "fig",
    "figs", "vol",  "pp",  "cf",  "eg",   "ie",   "bzw", "ca",  "vgl", "evtl", "ggf",  "inkl", "abs", "bd",
    "p",    "pág",  "núm", "av",  "art",  "стр",  "см",  "ул",  "им",  "рис",  "проф", "напр",
};

/* Words that may end a sentence with the same full stop: they do if a capital follows. Anything else does too, so
 * these need no list: a full stop before a small letter never ends a sentence. */

/* The code point that ends at `position`; 0 bytes at `from`. */
static size_t decode_before(const char *text, size_t from, size_t position, uint32_t *code) {
    size_t begin = position;
    while (begin > from && position - begin < 4) {
        begin--;
        if (((unsigned char)text[begin] & 0xc0) != 0x80) {
            break;
        }
    }
    return begin == position ? 0 : tmb_utf8_decode(text + begin, position - begin, code);
}

static bool is_one_of(uint32_t code, const uint32_t *list, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (list[i] == code) {
            return true;
        }
    }
    return false;
}

#define IS_ONE_OF(code, list) is_one_of(code, list, sizeof(list) / sizeof(list)[0])

/* Full stops that need nothing behind them. */
static bool is_full_width_stop(uint32_t code) {
    static const uint32_t stops[] = {0x3002, 0xff01, 0xff1f, 0xff0e, 0xff61, 0xfe12, 0xfe15, 0xfe16};
    return IS_ONE_OF(code, stops);
}

static bool is_stop(uint32_t code) {
    static const uint32_t stops[] = {'!',   '?',    0x2026, 0x61f,  0x6d4,  0x964,
                                     0x965, 0x203c, 0x203d, 0x2047, 0x2048, 0x2049};
    return code == '.' || IS_ONE_OF(code, stops);
}

static bool is_clause_mark(uint32_t code) {
    static const uint32_t marks[] = {',', ';', ':', 0x2013, 0x2014, 0x60c, 0x61b, '\n'};
    return IS_ONE_OF(code, marks);
}

static bool is_full_width_clause_mark(uint32_t code) {
    static const uint32_t marks[] = {0x3001, 0xff0c, 0xff1b, 0xff1a, 0xff64, 0x2014};
    return IS_ONE_OF(code, marks);
}

/* Quotes that open as often as they close, depending on what is beside them: ASCII's, and the opening quotes of one
 * language that close in another („so“, »so«). */
static bool is_either_quote(uint32_t code) {
    return code == '"' || code == '\'' || utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_PI;
}

/* Quotes and brackets that only close, of any script. */
static bool is_closing(uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_PE || category == UTF8PROC_CATEGORY_PF;
}

bool tmb_is_spoken(uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_NO && category != UTF8PROC_CATEGORY_MN &&
           category != UTF8PROC_CATEGORY_MC && category != UTF8PROC_CATEGORY_ME;
}

/* What ends a sentence or clause, or closes behind its end. */
static bool is_end_mark(uint32_t code) {
    return is_full_width_stop(code) || is_stop(code) || is_closing(code) || is_full_width_clause_mark(code) ||
           (is_clause_mark(code) && code != '\n') || tmb_continues_character(code);
}

bool tmb_continues_character(uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category == UTF8PROC_CATEGORY_MN || category == UTF8PROC_CATEGORY_MC || category == UTF8PROC_CATEGORY_ME ||
           code == 0x200d || code == 0x200c || (code >= 0x1f3fb && code <= 0x1f3ff);
}

bool tmb_is_wide(uint32_t code) {
    return (code >= 0x1100 && code < 0x1200) || (code >= 0x2e80 && code < 0xa4d0) ||
           (code >= 0xac00 && code < 0xd7b0) || (code >= 0xf900 && code < 0xfb00) ||
           (code >= 0xff01 && code < 0xff61) || (code >= 0x20000 && code < 0x40000);
}

static bool is_letter(uint32_t code) {
    utf8proc_category_t category = utf8proc_category((utf8proc_int32_t)code);
    return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

static bool is_small(uint32_t code) { return utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_LL; }

/* Whether the full stop at `stop` shortens the word before it: an initial, a title, or the number of a list's item. */
static bool shortens(const char *text, size_t from, size_t stop) {
    char word[32];
    size_t begin = stop;
    size_t letters = 0;
    bool digits = true;
    uint32_t code;
    size_t length;
    while (letters < LOOK_BACK_CHARACTERS && (length = decode_before(text, from, begin, &code)) != 0 &&
           (is_letter(code) || (code >= '0' && code <= '9') || tmb_continues_character(code))) {
        digits = digits && code >= '0' && code <= '9';
        begin -= length;
        letters++;
    }
    if (letters == 0) {
        return false;
    }
    bool first = begin == from;
    if (digits) {
        /* "1. First", but not "in 1999." */
        return letters <= 3 && first;
    }
    if (letters == 1) {
        return !tmb_is_wide(code);
    }
    size_t used = 0;
    for (size_t i = begin; i < stop; i += length) {
        length = tmb_utf8_decode(text + i, stop - i, &code);
        if (length == 0 || used + 4 >= sizeof word) {
            return false;
        }
        used += tmb_utf8_encode((uint32_t)utf8proc_tolower((utf8proc_int32_t)code), word + used);
    }
    word[used] = '\0';
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        if (strcmp(word, titles[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* `mark_end` is behind the last character that is neither white space nor closing; `spaces`: white space follows it,
 * `next` is what comes at the boundary (0 at the end). */
static tmb_text_boundary judge_mark(const char *text, size_t from, size_t mark_end, bool spaces, uint32_t next) {
    uint32_t mark = 0;
    size_t length = decode_before(text, from, mark_end, &mark);
    if (length == 0) {
        return spaces ? TMB_BOUNDARY_SPACE : TMB_BOUNDARY_CHARACTER;
    }
    if (is_full_width_stop(mark)) {
        return TMB_BOUNDARY_SENTENCE;
    }
    if (!spaces && (mark == '!' || mark == '?') && tmb_is_wide(next)) {
        return TMB_BOUNDARY_SENTENCE;
    }
    if (spaces && is_stop(mark)) {
        bool soft = mark == '.' || mark == 0x2026;
        if (!(soft && is_small(next)) && !(mark == '.' && shortens(text, from, mark_end - length))) {
            return TMB_BOUNDARY_SENTENCE;
        }
        return TMB_BOUNDARY_SPACE;
    }
    if (is_full_width_clause_mark(mark) || (spaces && is_clause_mark(mark))) {
        return TMB_BOUNDARY_CLAUSE;
    }
    return spaces ? TMB_BOUNDARY_SPACE : TMB_BOUNDARY_CHARACTER;
}

/* A quote at `position` closes unless a word follows it at once. */
static bool quote_closes(const char *text, size_t bytes, size_t behind) {
    uint32_t next = 0;
    return tmb_utf8_decode(text + behind, bytes - behind, &next) == 0 || !tmb_is_spoken(next);
}

size_t tmb_marks_after(const char *text, size_t bytes, size_t from, size_t position) {
    uint32_t code = 0;
    bool spaced = decode_before(text, from, position, &code) == 0 || tmb_utf8_is_space(code);
    size_t end = position;
    size_t length;
    for (int i = 0; i < MARKS_MAX && (length = tmb_utf8_decode(text + end, bytes - end, &code)) != 0; i++) {
        bool inside = i == 0 && tmb_continues_character(code); /* a letter that would be cut from its mark */
        if (inside ||
            (!is_end_mark(code) && !(is_either_quote(code) && !spaced && quote_closes(text, bytes, end + length)))) {
            break;
        }
        end += length;
    }
    /* Marks behind white space (French has it before them) belong to what is before only if no word follows at once. */
    if (end == position || (spaced && !quote_closes(text, bytes, end))) {
        return position;
    }
    while ((length = tmb_utf8_decode(text + end, bytes - end, &code)) != 0 && tmb_utf8_is_space(code)) {
        end += length;
    }
    return end;
}

/* Whether `code`, which ends at `behind`, closes something; `spaces`: white space is before it. */
static bool closes_here(const char *text, size_t bytes, size_t behind, uint32_t code, bool spaces) {
    if (is_closing(code)) {
        /* Some languages open with the quotes that close elsewhere: ”so”. */
        return !spaces || utf8proc_category((utf8proc_int32_t)code) == UTF8PROC_CATEGORY_PE ||
               quote_closes(text, bytes, behind);
    }
    return !spaces && is_either_quote(code) && (code < 0x80 || quote_closes(text, bytes, behind));
}

/* French has white space between a full stop and the quote that closes behind it. */
static bool stop_ends_at(const char *text, size_t from, size_t position) {
    uint32_t code = 0;
    return decode_before(text, from, position, &code) != 0 && (is_stop(code) || is_full_width_stop(code));
}

tmb_text_boundary tmb_boundary_at(const char *text, size_t bytes, size_t from, size_t position) {
    uint32_t next = 0;
    size_t next_length = tmb_utf8_decode(text + position, bytes - position, &next);
    if (next_length != 0 && tmb_continues_character(next)) {
        return TMB_BOUNDARY_NONE;
    }
    /* A stop's company stays together: white space, more stops, closing quotes. */
    if (next_length != 0 && (tmb_utf8_is_space(next) || is_full_width_stop(next) || is_stop(next))) {
        return TMB_BOUNDARY_CHARACTER;
    }
    size_t end = position;
    int lines = 0;
    bool spaces = next_length == 0;
    bool closed = false;
    uint32_t code = 0;
    size_t length;
    for (int i = 0; i < LOOK_BACK_CHARACTERS && (length = decode_before(text, from, end, &code)) != 0; i++) {
        if (tmb_utf8_is_space(code) && (!closed || stop_ends_at(text, from, end - length))) {
            spaces = true;
            lines += code == '\n' || code == 0x2029;
        } else if (is_closing(code) || (is_either_quote(code) && (spaces || code < 0x80))) {
            closed = true;
        } else {
            break;
        }
        end -= length;
    }
    if (lines >= 2) {
        return TMB_BOUNDARY_SENTENCE;
    }
    if (next_length != 0 && closes_here(text, bytes, position + next_length, next, spaces)) {
        return TMB_BOUNDARY_CHARACTER;
    }
    tmb_text_boundary boundary = judge_mark(text, from, end, spaces, next);
    return boundary == TMB_BOUNDARY_SPACE && lines == 1 ? TMB_BOUNDARY_CLAUSE : boundary;
}
