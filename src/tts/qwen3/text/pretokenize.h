/* Splitting text into pre-tokens: words, single digits, punctuation, white space. */
#ifndef TMB_TTS_QWEN3_TEXT_PRETOKENIZE_H
#define TMB_TTS_QWEN3_TEXT_PRETOKENIZE_H

#include "timbre/timbre.h"

/* QWEN2 is the checkpoints' own pattern. MISTRAL is what some versions of the official loader put in its place
 * for a local folder: it also splits if a capital follows a small letter ("iPhone"). */
typedef enum tmb_text_pattern { TMB_TEXT_PATTERN_QWEN2 = 0, TMB_TEXT_PATTERN_MISTRAL } tmb_text_pattern;

/* The patterns' text as checkpoints write it, to recognize one. */
const char *tmb_text_pattern_source(tmb_text_pattern pattern);

/* A compiled pattern: immutable, shared between threads. */
typedef struct tmb_pretokenizer tmb_pretokenizer;

tmb_status tmb_pretokenizer_create(tmb_text_pattern pattern, tmb_pretokenizer **out, tmb_error *error);
void tmb_pretokenizer_destroy(tmb_pretokenizer **pretokenizer);

/* Working memory of one thread. */
typedef struct tmb_pretokenizer_run tmb_pretokenizer_run;
tmb_status tmb_pretokenizer_run_create(const tmb_pretokenizer *pretokenizer, tmb_pretokenizer_run **out,
                                       tmb_error *error);
void tmb_pretokenizer_run_destroy(tmb_pretokenizer_run **run);

/* The pre-token that begins at `from` < bytes ends at *end. TMB_ERROR_LIMIT if matching takes more steps than any
 * text of this length may need. */
tmb_status tmb_pretokenizer_next(tmb_pretokenizer_run *run, const char *text, size_t bytes, size_t from, size_t *end,
                                 tmb_error *error);

#endif
