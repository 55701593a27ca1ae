#include "ui.h"

#include "visible.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static bool quiet, output_failed;
static int output_problem; /* errno of the first line that could not be written */
static int verbosity;
static bool bar_shown;
static double bar_drawn_at;
static double bar_begun_at, bar_fraction; /* since when the fraction grows, for the time that is left */

int cli_exit_of(tmb_status status) {
    switch (status) {
    case TMB_OK: return CLI_EXIT_OK;
    case TMB_ERROR_ARGUMENT: return CLI_EXIT_USAGE;
    case TMB_ERROR_IO:
    case TMB_ERROR_FORMAT: return CLI_EXIT_INPUT;
    case TMB_ERROR_MODEL: return CLI_EXIT_MODEL;
    case TMB_ERROR_CANCELLED: return cli_interrupted() ? CLI_EXIT_INTERRUPTED : CLI_EXIT_FAILED;
    case TMB_ERROR_MEMORY:
    case TMB_ERROR_UNSUPPORTED:
    case TMB_ERROR_LIMIT:
    case TMB_ERROR_TIMEOUT:
    case TMB_ERROR_INTERNAL: return CLI_EXIT_FAILED;
    }
    return CLI_EXIT_FAILED;
}

int cli_exit_of_model(tmb_status status) {
    return status == TMB_ERROR_IO || status == TMB_ERROR_FORMAT || status == TMB_ERROR_UNSUPPORTED
               ? CLI_EXIT_MODEL
               : cli_exit_of(status);
}

int cli_exit_of_input(tmb_status status) {
    return status == TMB_OK ? CLI_EXIT_OK : status == TMB_ERROR_MEMORY ? CLI_EXIT_FAILED : CLI_EXIT_INPUT;
}

int cli_fail(const tmb_error *error) {
    cli_error("%s", error->message);
    return cli_exit_of(error->status);
}

void cli_set_error(tmb_error *error, tmb_status status, const char *message) {
    if (error == NULL) {
        return;
    }
    *error = (tmb_error){.status = status};
    (void)snprintf(error->message, sizeof error->message, "%s", message);
}

double cli_now(void) {
    struct timespec now;
    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

void cli_set_verbosity(bool is_quiet, int verbose) {
    quiet = is_quiet;
    verbosity = verbose;
}

bool cli_is_quiet(void) { return quiet; }

tmb_log_level cli_log_level(void) {
    if (quiet) {
        return TMB_LOG_ERROR;
    }
    return verbosity >= 2 ? TMB_LOG_DEBUG : verbosity == 1 ? TMB_LOG_INFO : TMB_LOG_WARNING;
}

const char *cli_style(FILE *stream, cli_style_kind kind) {
    static const char *const sequences[] = {"\033[0m", "\033[1m", "\033[2m", "\033[31m", "\033[33m"};
    const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
    bool plain = (no_color != NULL && *no_color != '\0') || (terminal != NULL && strcmp(terminal, "dumb") == 0);
    return plain || !isatty(fileno(stream)) ? "" : sequences[kind];
}

static void clear_bar(void) {
    if (bar_shown) {
        (void)fputs("\r\033[K", stderr);
    }
    bar_shown = false;
}

static void say(cli_style_kind style, const char *label, const char *format, va_list arguments) TMB_PRINTF(3, 0);
static void say(cli_style_kind style, const char *label, const char *format, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    const int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    char *text = length >= 0 ? malloc((size_t)length + 1) : NULL;
    if (text != NULL) {
        (void)vsnprintf(text, (size_t)length + 1, format, arguments);
    }
    (void)pthread_mutex_lock(&lock);
    clear_bar();
    (void)fprintf(stderr, "timbre: %s%s%s", cli_style(stderr, style), label, cli_style(stderr, CLI_PLAIN));
    (void)cli_put_visible(text != NULL ? text : format, stderr);
    (void)fputc('\n', stderr);
    (void)pthread_mutex_unlock(&lock);
    free(text);
}

#define SAY(style, label)                                                                                              \
    do {                                                                                                               \
        va_list arguments;                                                                                             \
        va_start(arguments, format);                                                                                   \
        say(style, label, format, arguments);                                                                          \
        va_end(arguments);                                                                                             \
    } while (0)

void cli_error(const char *format, ...) { SAY(CLI_RED, "error: "); }

void cli_warning(const char *format, ...) {
    if (!quiet) {
        SAY(CLI_YELLOW, "warning: ");
    }
}

void cli_important(const char *format, ...) { SAY(CLI_YELLOW, "warning: "); }

void cli_note(const char *format, ...) {
    if (!quiet) {
        SAY(CLI_PLAIN, "");
    }
}

void cli_detail(const char *format, ...) {
    if (!quiet && verbosity > 0) {
        SAY(CLI_DIM, "");
    }
}

void cli_log(void *user, tmb_log_level level, const char *line) {
    (void)user;
    switch (level) {
    case TMB_LOG_ERROR: cli_error("%s", line); break;
    case TMB_LOG_WARNING: cli_warning("%s", line); break;
    case TMB_LOG_INFO:
    case TMB_LOG_DEBUG: cli_detail("%s", line); break;
    }
}

static int terminal_width(void) {
    struct winsize window;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 0) {
        return window.ws_col;
    }
    return 80;
}

/* "1:23 left" once there is something to go by; the columns that it took. */
static int print_time_left(double fraction, double now) {
    char time[32];
    if (!bar_shown || fraction < bar_fraction) {
        bar_begun_at = now;
    }
    bar_fraction = fraction;
    double elapsed = now - bar_begun_at;
    if (elapsed < 2 || fraction < 0.02 || fraction >= 1) {
        return 0;
    }
    return fprintf(stderr, "%s left  ", cli_format_time(elapsed * (1 - fraction) / fraction + 0.5, time, sizeof time));
}

void cli_progress(double fraction, const char *format, ...) {
    enum { BAR = 24 };
    if (quiet || !isatty(STDERR_FILENO)) {
        return;
    }
    (void)pthread_mutex_lock(&lock);
    double now = cli_now();
    if (now - bar_drawn_at >= 0.1 || fraction >= 1) {
        char text[200];
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(text, sizeof text, format, arguments);
        va_end(arguments);
        (void)fputs("\r", stderr);
        int width = terminal_width() - 1;
        if (fraction >= 0) {
            int filled = (int)(BAR * (fraction < 1 ? fraction : 1));
            (void)fputc('[', stderr);
            for (int i = 0; i < BAR; i++) {
                (void)fputc(i < filled ? '=' : i == filled ? '>' : ' ', stderr);
            }
            (void)fprintf(stderr, "] %3d%% ", (int)(100 * (fraction < 1 ? fraction : 1)));
            width -= BAR + 8 + print_time_left(fraction, now);
        }
        text[width > 0 && (size_t)width < sizeof text ? (size_t)width : width > 0 ? sizeof text - 1 : 0] = '\0';
        (void)cli_put_visible(text, stderr);
        (void)fputs("\033[K", stderr);
        (void)fflush(stderr);
        bar_shown = true;
        bar_drawn_at = now;
    }
    (void)pthread_mutex_unlock(&lock);
}

void cli_progress_clear(void) {
    (void)pthread_mutex_lock(&lock);
    clear_bar();
    (void)fflush(stderr);
    (void)pthread_mutex_unlock(&lock);
}

void cli_print_line(const char *line) {
    (void)pthread_mutex_lock(&lock);
    if (isatty(STDOUT_FILENO)) {
        clear_bar();
    }
    errno = 0;
    /* A reader of a pipe wants each line at once. */
    if ((cli_put_visible(line, stdout) == EOF || putchar('\n') == EOF || fflush(stdout) != 0) && output_problem == 0) {
        output_problem = errno != 0 ? errno : EIO;
    }
    (void)pthread_mutex_unlock(&lock);
}

void cli_output_failed(void) {
    (void)pthread_mutex_lock(&lock);
    output_failed = true;
    (void)pthread_mutex_unlock(&lock);
}

bool cli_flush_output(void) {
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && output_problem == 0) {
        output_problem = errno != 0 ? errno : EIO;
    }
    /* `| head` has what it wants: that is worth a status, but no line. */
    if (output_problem != 0 && output_problem != EPIPE) {
        cli_error("standard output could not be written: %s", strerror(output_problem));
    }
    return output_problem == 0 && !output_failed;
}

const char *cli_format_bytes(uint64_t bytes, char *out, size_t size) {
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 999.5 && unit + 1 < sizeof units / sizeof *units) {
        value /= 1000;
        unit++;
    }
    (void)snprintf(out, size, unit >= 2 && value < 99.5 ? "%.1f %s" : "%.0f %s", value, units[unit]);
    return out;
}

const char *cli_format_time(double seconds, char *out, size_t size) {
    unsigned long long whole = seconds > 0 ? (unsigned long long)seconds : 0;
    if (whole >= 3600) {
        (void)snprintf(out, size, "%llu:%02llu:%02llu", whole / 3600, whole / 60 % 60, whole % 60);
    } else {
        (void)snprintf(out, size, "%llu:%02llu", whole / 60, whole % 60);
    }
    return out;
}
