/* What the command says: messages and progress on standard error, results on standard output. */
#ifndef TIMBRE_CLI_UI_H
#define TIMBRE_CLI_UI_H

#include "timbre/timbre.h"

#include <stdbool.h>
#include <stdio.h>

/* Exit statuses. With several inputs the highest counts. */
enum {
    CLI_EXIT_OK = 0,
    CLI_EXIT_FAILED = 1,       /* processing or writing failed */
    CLI_EXIT_USAGE = 2,        /* the command line is wrong */
    CLI_EXIT_INPUT = 3,        /* an input cannot be read or is not what it should be */
    CLI_EXIT_MODEL = 4,        /* a model is missing or does not fit */
    CLI_EXIT_INTERRUPTED = 130 /* SIGINT or SIGTERM */
};

/* The exit status for what the library reported. */
int cli_exit_of(tmb_status status);
/* The same if only a model can be what was not found or not readable. */
int cli_exit_of_model(tmb_status status);
/* The same if only the input can be. */
int cli_exit_of_input(tmb_status status);
/* Says what the library reported; the exit status for it. */
int cli_fail(const tmb_error *error);

/* An error of the command's own, as the library would report it. */
void cli_set_error(tmb_error *error, tmb_status status, const char *message);

/* Messages on standard error, one line each, from any thread. `cli_error` is never silenced; a note is
 * by --quiet; a detail needs --verbose. */
void cli_error(const char *format, ...) TMB_PRINTF(1, 2);
void cli_warning(const char *format, ...) TMB_PRINTF(1, 2);
/* A warning that --quiet does not silence: the result is not what was asked for. */
void cli_important(const char *format, ...) TMB_PRINTF(1, 2);
void cli_note(const char *format, ...) TMB_PRINTF(1, 2);
void cli_detail(const char *format, ...) TMB_PRINTF(1, 2);

/* How much is said: --quiet, and how many times --verbose. */
void cli_set_verbosity(bool quiet, int verbose);
bool cli_is_quiet(void);
tmb_log_level cli_log_level(void);
/* A tmb_log_callback for the library. */
void cli_log(void *user, tmb_log_level level, const char *line);

/* Escape sequences for a terminal, "" elsewhere and with NO_COLOR. */
typedef enum cli_style_kind { CLI_PLAIN, CLI_BOLD, CLI_DIM, CLI_RED, CLI_YELLOW } cli_style_kind;
const char *cli_style(FILE *stream, cli_style_kind kind);

/* One progress bar on standard error, if that is a terminal. `fraction` < 0: not known, a text only.
 * Calls come from any thread; drawing is limited to ten times a second. */
void cli_progress(double fraction, const char *format, ...) TMB_PRINTF(2, 3);
void cli_progress_clear(void);

/* One line of results on standard output, whole even when threads print at once. */
void cli_print_line(const char *line);
/* A result could not be printed: the command does not end with success. */
void cli_output_failed(void);
/* Flushes standard output; false if a result could not be written, and said so, unless the reader of a pipe left. */
bool cli_flush_output(void);

/* Seconds on a clock that only goes forward. */
double cli_now(void);
/* "1.9 GB", "12 kB" in decimal units; "3:07" or "1:02:03"; both into `out`. */
const char *cli_format_bytes(uint64_t bytes, char *out, size_t size);
const char *cli_format_time(double seconds, char *out, size_t size);

/* SIGINT, SIGTERM and the limit of CPU time. After the first signal cli_interrupted() is true, `cancel` (may be NULL)
 * was called once from another thread, and the command has seconds to end; then, or at a second signal,
 * temporary files are removed and the process exits with 130. */
bool cli_catch_signals(void);
bool cli_interrupted(void);
/* Says what interrupted if that was not the user, once. */
void cli_say_interruption(void);
void cli_on_interrupt(void (*cancel)(void *user), void *user);

/* Files that a signal must not leave behind, in addition to those of the library. The path is copied. */
void cli_temporary_add(const char *path);
void cli_temporary_drop(const char *path);

#endif
