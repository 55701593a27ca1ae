/* A child process whose standard output is read here, and which reads its standard input from memory, from a file or
 * from here. */
#ifndef TMB_BASE_CHILD_H
#define TMB_BASE_CHILD_H

#include "timbre/timbre.h"

#include <sys/types.h>

typedef struct tmb_child {
    pid_t process;  /* 0 = none, or reaped */
    int output;     /* the reading end, never blocking; -1 = closed */
    int input;      /* the writing end, never blocking, if it was asked for: write with tmb_child_write; -1 = closed */
    int complaints; /* what it wrote to standard error; -1 = none */
} tmb_child;

/* Starts `program` (a path) with `arguments` (NULL-terminated, the program's name first) and `input` [bytes] as
 * its standard input. No shell, no descriptor of ours, a process group of its own, signals at their
 * defaults. TMB_ERROR_IO, TMB_ERROR_MEMORY. */
tmb_status tmb_child_start(const char *program, const char *const *arguments, const void *input, size_t bytes,
                           tmb_child *child, tmb_error *error);

typedef enum tmb_child_input { TMB_CHILD_MEMORY, TMB_CHILD_FILE, TMB_CHILD_PIPE } tmb_child_input;

/* What a child that is not trusted with everything gets. */
typedef struct tmb_child_setup {
    tmb_child_input kind;
    const void *input; /* MEMORY */
    size_t bytes;
    int file;                       /* FILE: becomes its standard input, stays the caller's */
    const char *const *environment; /* NULL-terminated; NULL: ours */
    uint64_t processor_seconds;     /* 0 = no limit, for these three */
    uint64_t address_bytes;
    uint64_t file_bytes; /* of any file that it writes; its complaints are one */
} tmb_child_setup;

tmb_status tmb_child_start_with(const char *program, const char *const *arguments, const tmb_child_setup *setup,
                                tmb_child *child, tmb_error *error);

/* Writes what its standard input takes at the moment; *written may be 0. False: it reads no more. Never raises SIGPIPE.
 */
bool tmb_child_write(const tmb_child *child, const void *data, size_t bytes, size_t *written);
/* Its standard input ends. */
void tmb_child_close_input(tmb_child *child);

/* True once it has ended: *exit_code is its code, or 128 + the signal that ended it. Does not wait. */
bool tmb_child_ended(tmb_child *child, int *exit_code);

/* The first line of its complaints, "" if there are none. */
void tmb_child_complaint(const tmb_child *child, char line[160]);

/* Kills it if it runs, reaps it, closes everything. */
void tmb_child_end(tmb_child *child);

/* `name` as it is if it has a slash, otherwise found on PATH; *out is allocated, NULL if there is none. */
tmb_status tmb_child_find(const char *name, char **out, tmb_error *error);

#endif
