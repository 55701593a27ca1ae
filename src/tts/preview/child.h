/* A child process that reads its standard input from memory and whose standard output is read here. */
#ifndef TMB_TTS_PREVIEW_CHILD_H
#define TMB_TTS_PREVIEW_CHILD_H

#include "timbre/timbre.h"

#include <sys/types.h>

typedef struct tmb_child {
    pid_t process;  /* 0 = none, or reaped */
    int output;     /* the reading end, never blocking; -1 = closed */
    int complaints; /* what it wrote to standard error; -1 = none */
} tmb_child;

/* Starts `program` (a path) with `arguments` (NULL-terminated, the program's name first) and `input` [bytes] as
 * its standard input. No shell, no descriptor of ours, a process group of its own, signals at their
 * defaults. TMB_ERROR_IO, TMB_ERROR_MEMORY. */
tmb_status tmb_child_start(const char *program, const char *const *arguments, const void *input, size_t bytes,
                           tmb_child *child, tmb_error *error);

/* True once it has ended: *exit_code is its code, or 128 + the signal that ended it. Does not wait. */
bool tmb_child_ended(tmb_child *child, int *exit_code);

/* The first line of its complaints, "" where there are none. */
void tmb_child_complaint(const tmb_child *child, char line[160]);

/* Kills it if it runs, reaps it, closes everything. */
void tmb_child_end(tmb_child *child);

/* `name` as it is where it has a slash, else found on PATH; *out is allocated, NULL where there is none. */
tmb_status tmb_child_find(const char *name, char **out, tmb_error *error);

#endif
