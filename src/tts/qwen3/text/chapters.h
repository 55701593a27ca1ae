/* Headings in a long text: Markdown's, and chapters of plain text. */
#ifndef TMB_TTS_QWEN3_TEXT_CHAPTERS_H
#define TMB_TTS_QWEN3_TEXT_CHAPTERS_H

#include <stdbool.h>
#include <stddef.h>

typedef struct tmb_heading {
    size_t begin, end; /* bytes of its line, with the white space behind it */
    size_t content;    /* behind Markdown's "## " */
} tmb_heading;

/* The next heading that begins at or after `from` in text[0 .. bytes), valid UTF-8: a line "# Title" (one to six
 * signs), or a short line between empty lines that begins with a word for chapter ("Chapter 3", "Kapitel IV",
 * "第一章"). False if there is none. */
bool tmb_heading_find(const char *text, size_t bytes, size_t from, tmb_heading *out);

#endif
