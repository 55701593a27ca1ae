/* Comparing a model's results with those of the official Python package. */
#ifndef TIMBRE_CLI_OFFICIAL_H
#define TIMBRE_CLI_OFFICIAL_H

#include <jansson.h>
#include <stdbool.h>

typedef struct cli_official {
    const char *python; /* the interpreter that has qwen-tts */
    const char *script; /* verify_real.py; NULL: where it was installed */
    const char *model;  /* a checkpoint's folder */
    const char *reference, *reference_text;
    int frames; /* that each comparison speaks */
} cli_official;

/* Runs the comparison and calls back for each line that it prints: {"name", "verdict": "ok" | "note" | "fault",
 * "detail"}. False, and said why, when it could not run to its end. */
bool cli_run_official(const cli_official *official, void (*each)(void *user, const json_t *check), void *user);

#endif
