#include "tts/qwen3/text/sentences.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/utf8.h"
#include "tts/qwen3/text/chapters.h"
#include "tts/qwen3/text/sentence_end.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

void tmb_split_options_default(tmb_split_options *options) {
    memset(options, 0, sizeof *options);
    options->max_length = 400;
}

static size_t skip_blanks(const char *text, size_t bytes, size_t position) {
    while (position < bytes && (text[position] == ' ' || text[position] == '\t')) {
        position++;
    }
    return position;
}

static bool is_letter(const char *text, size_t bytes, size_t position, char letter) {
    return position < bytes && (text[position] | 0x20) == letter;
}

/* The length of a pause tag at text[0 .. bytes) and its seconds, or 0: "[pause:" digits ["." digits] ["s" | "ms"] "]",
 * in any case, with blanks around the number, and with a comma for the point. */
static size_t parse_pause(const char *text, size_t bytes, double *seconds) {
    static const char head[] = "[pause:";
    size_t position = sizeof head - 1;
    if (bytes <= position || strncasecmp(text, head, position) != 0) {
        return 0;
    }
    double value = 0;
    double unit = 1;
    size_t digits = 0;
    bool fraction = false;
    for (position = skip_blanks(text, bytes, position); position < bytes; position++) {
        char c = text[position];
        if (c >= '0' && c <= '9') {
            unit = fraction ? unit / 10 : unit;
            value = fraction ? value + (c - '0') * unit : fmin(value * 10 + (c - '0'), 1e9);
            digits++;
        } else if ((c == '.' || c == ',') && !fraction && digits != 0) {
            fraction = true;
        } else {
            break;
        }
    }
    position = skip_blanks(text, bytes, position);
    if (is_letter(text, bytes, position, 'm')) {
        value /= 1000;
        position++;
        if (!is_letter(text, bytes, position, 's')) {
            return 0;
        }
    }
    position += is_letter(text, bytes, position, 's') ? 1 : 0;
    position = skip_blanks(text, bytes, position);
    if (digits == 0 || position >= bytes || text[position] != ']') {
        return 0;
    }
    *seconds = value;
    return position + 1;
}

typedef struct piece_list {
    tmb_text_piece *pieces;
    size_t count, capacity;
} piece_list;

/* [begin, end) with what to speak in [begin, content_end) less white space around it. */
static bool add_piece(piece_list *list, const char *text, size_t begin, size_t content_end, size_t end, double pause) {
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 16 : 2 * list->capacity;
        tmb_text_piece *pieces = tmb_realloc(list->pieces, capacity, sizeof *pieces);
        if (pieces == NULL) {
            return false;
        }
        list->pieces = pieces;
        list->capacity = capacity;
    }
    size_t first = begin;
    uint32_t code;
    size_t length;
    while (first < content_end && (length = tmb_utf8_decode(text + first, content_end - first, &code)) != 0 &&
           tmb_utf8_is_space(code)) {
        first += length;
    }
    size_t last = first;
    for (size_t i = first; i < content_end; i += length) {
        length = tmb_utf8_decode(text + i, content_end - i, &code);
        last = tmb_utf8_is_space(code) ? last : i + length;
    }
    list->pieces[list->count++] = (tmb_text_piece){begin, end, first, last, pause};
    return true;
}

/* Where the piece that begins at `from` ends: at `limit`, or at the best boundary before it is too long. */
static size_t find_end(const char *text, size_t bytes, size_t from, size_t limit, size_t max_length) {
    size_t best[TMB_BOUNDARY_SENTENCE + 1] = {0};
    size_t length = 0;
    size_t position = from;
    while (position < limit) {
        uint32_t code = 0;
        size_t step = tmb_utf8_decode(text + position, limit - position, &code);
        length += tmb_is_wide(code) ? 3 : 1;
        if (length > max_length && !tmb_utf8_is_space(code)) {
            break;
        }
        position += step;
        best[tmb_boundary_at(text, bytes, from, position)] = position;
    }
    if (position == limit) {
        return limit;
    }
    /* A sentence that fits keeps the marks that end it, even if they do not fit any more. */
    size_t behind_marks = tmb_marks_after(text, limit, from, position);
    if (behind_marks == limit) {
        return limit;
    }
    if (behind_marks > position) {
        position = behind_marks;
        best[tmb_boundary_at(text, bytes, from, position)] = position;
    }
    for (int kind = TMB_BOUNDARY_SENTENCE; kind > TMB_BOUNDARY_NONE; kind--) {
        /* Do not cut after a very short clause; cut at a space instead. */
        bool too_short = kind == TMB_BOUNDARY_CLAUSE && best[kind] - from < (position - from) / 4;
        if (best[kind] > from && !too_short) {
            return best[kind];
        }
    }
    return position;
}

/* The next tag at or after `from`: its begin, and behind it and all tags that follow with only white space between,
 * *end; their seconds in all. `bytes` if there is none. */
static size_t find_pause(const char *text, size_t bytes, size_t from, size_t *end, double *seconds) {
    *end = bytes;
    *seconds = 0;
    for (size_t i = from; i < bytes; i++) {
        double more = 0;
        size_t length = text[i] == '[' ? parse_pause(text + i, bytes - i, &more) : 0;
        if (length == 0) {
            continue;
        }
        size_t next = i;
        while (length != 0) {
            *seconds += more;
            next += length;
            *end = next;
            uint32_t code = 0;
            size_t space;
            while ((space = tmb_utf8_decode(text + next, bytes - next, &code)) != 0 && tmb_utf8_is_space(code)) {
                next += space;
            }
            length = parse_pause(text + next, bytes - next, &more);
        }
        return i;
    }
    return bytes;
}

/* Is there a letter or digit of any script in what this piece would speak? */
static bool has_words(const char *text, const tmb_text_piece *piece) {
    uint32_t code = 0;
    size_t length;
    for (size_t i = piece->content_begin; i < piece->content_end; i += length) {
        length = tmb_utf8_decode(text + i, piece->content_end - i, &code);
        if (tmb_is_spoken(code)) {
            return true;
        }
    }
    return false;
}

/* Neither words nor silence: of tags alone, whose pauses have no length. */
static bool says_nothing(const piece_list *list) {
    for (size_t i = 0; i < list->count; i++) {
        if (list->pieces[i].content_begin < list->pieces[i].content_end || list->pieces[i].pause_after > 0) {
            return false;
        }
    }
    return list->count > 0;
}

/* A piece without a letter or digit ("---", a quote that was left over) is not spoken: it joins the piece before it, or
 * the first one the piece behind it; one that a pause follows is that pause alone. A text without any word and any
 * pause stays as it is: there is nothing else to say. */
static void join_wordless(piece_list *list, const char *text) {
    bool any = false;
    for (size_t i = 0; i < list->count; i++) {
        any = any || list->pieces[i].pause_after > 0 || has_words(text, &list->pieces[i]);
    }
    size_t kept = 0;
    size_t begin = 0; /* of wordless text before the first piece */
    for (size_t i = 0; any && i < list->count; i++) {
        tmb_text_piece piece = list->pieces[i];
        bool words = has_words(text, &piece);
        if (!words) {
            piece.content_begin = piece.content_end = piece.begin;
        }
        if (!words && piece.pause_after <= 0) {
            if (kept > 0) {
                list->pieces[kept - 1].end = piece.end;
            }
            continue;
        }
        piece.begin = kept == 0 ? begin : piece.begin;
        list->pieces[kept++] = piece;
    }
    list->count = any ? kept : list->count;
}

static bool split_stretch(piece_list *list, const char *text, size_t begin, size_t limit, size_t end, double pause,
                          size_t max_length) {
    size_t from = begin;
    for (;;) {
        size_t cut = find_end(text, limit, from, limit, max_length);
        bool last = cut == limit;
        if (!add_piece(list, text, from, cut, last ? end : cut, last ? pause : 0)) {
            return false;
        }
        if (last) {
            return true;
        }
        from = cut;
    }
}

/* A stretch whose headings are pieces of their own: chapters begin with a sentence of their own. */
static bool split_chapters(piece_list *list, const char *text, size_t begin, size_t limit, size_t end, double pause,
                           size_t max_length) {
    size_t from = begin;
    tmb_heading heading;
    while (tmb_heading_find(text, limit, from, &heading)) {
        bool last = heading.end == limit;
        if (heading.begin > from && !split_stretch(list, text, from, heading.begin, heading.begin, 0, max_length)) {
            return false;
        }
        size_t first = list->count;
        if (!split_stretch(list, text, heading.begin, heading.end, last ? end : heading.end, last ? pause : 0,
                           max_length)) {
            return false;
        }
        /* "## " is not spoken. */
        tmb_text_piece *piece = &list->pieces[first];
        if (piece->content_begin < heading.content && heading.content <= piece->content_end) {
            piece->content_begin = heading.content;
        }
        from = heading.end;
        if (last) {
            return true;
        }
    }
    return split_stretch(list, text, from, limit, end, pause, max_length);
}

/* Whether a text has more letters than a piece may have. */
static bool is_long(const char *text, size_t bytes, size_t max_length) {
    size_t length = 0;
    for (size_t i = 0, step; i < bytes && length <= max_length; i += step) {
        uint32_t code = 0;
        step = tmb_utf8_decode(text + i, bytes - i, &code);
        length += tmb_is_wide(code) ? 3 : 1;
    }
    return length > max_length;
}

tmb_status tmb_text_split(const char *text, size_t bytes, const tmb_split_options *options, tmb_text_piece **pieces,
                          size_t *count, tmb_error *error) {
    *pieces = NULL;
    *count = 0;
    size_t valid = tmb_utf8_valid_prefix(text, bytes);
    if (valid != bytes) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "the text is not valid UTF-8: byte 0x%02x at place %zu",
                        (unsigned char)text[valid], valid);
    }
    if (options->max_length < TMB_SPLIT_LENGTH_MIN) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "pieces of at most %zu letters; %d is the least",
                        options->max_length, TMB_SPLIT_LENGTH_MIN);
    }
    piece_list list = {0};
    size_t from = 0;
    bool chapters = is_long(text, bytes, options->max_length);
    bool tagged = false; /* there are pauses, of whatever length */
    while (from < bytes) {
        size_t end = bytes;
        double pause = 0;
        size_t limit = options->pauses ? find_pause(text, bytes, from, &end, &pause) : bytes;
        if (pause > TMB_PAUSE_SECONDS_MAX) {
            free(list.pieces);
            return tmb_fail(error, TMB_ERROR_ARGUMENT,
                            "a pause of %g s: %g s is the most, tags in a row taken together", pause,
                            TMB_PAUSE_SECONDS_MAX);
        }
        if (!(chapters ? split_chapters : split_stretch)(&list, text, from, limit, end, pause, options->max_length)) {
            free(list.pieces);
            return tmb_fail_memory(error, "the pieces of a text", 0);
        }
        tagged = tagged || end > limit;
        from = end;
    }
    join_wordless(&list, text);
    if (tagged && says_nothing(&list)) {
        free(list.pieces);
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "text is empty: there is nothing but pauses of 0 s");
    }
    *pieces = list.pieces;
    *count = list.count;
    return TMB_OK;
}
