/* Where sentences and clauses end. */
#ifndef TMB_TTS_QWEN3_TEXT_SENTENCE_END_H
#define TMB_TTS_QWEN3_TEXT_SENTENCE_END_H

#include "timbre/timbre.h"

typedef enum tmb_text_boundary {
    TMB_BOUNDARY_NONE = 0, /* inside a character: a mark or joiner follows */
    TMB_BOUNDARY_CHARACTER,
    TMB_BOUNDARY_SPACE,
    TMB_BOUNDARY_CLAUSE,
    TMB_BOUNDARY_SENTENCE
} tmb_text_boundary;

/* What ends at `position` (> 0, a code point's begin or the end) of text[0 .. bytes), valid UTF-8. `from` is where the
 * piece begins: nothing before it is looked at. White space behind a sentence belongs to it, so the boundary is after
 * it. */
tmb_text_boundary tmb_boundary_at(const char *text, size_t bytes, size_t from, size_t position);

/* The end of the marks that end a sentence or close a quote at `position`, and of the white space behind them: they
 * belong to what is before. `position` if there are none. */
size_t tmb_marks_after(const char *text, size_t bytes, size_t from, size_t position);

/* A letter or a digit of any script. */
bool tmb_is_spoken(uint32_t code);

/* Marks, joiners and variation selectors: never begin a piece. */
bool tmb_continues_character(uint32_t code);

/* Han, kana, Hangul and their full-width company. */
bool tmb_is_wide(uint32_t code);

#endif
