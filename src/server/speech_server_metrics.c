/* The speech servers of --remote-url in GET /metrics. */
#include "server/metrics.h"

#include <string.h>

/* One family of metrics is written after the other, each with a line for every server. */
typedef struct family {
    const char *name, *type, *help;
    double (*value)(const tmb_server_statistics *statistics);
} family;

static double is_up(const tmb_server_statistics *statistics) {
    return strcmp(statistics->state, "down") != 0 && strcmp(statistics->state, "half-open") != 0;
}
static double outstanding(const tmb_server_statistics *statistics) { return (double)statistics->outstanding; }
static double requests(const tmb_server_statistics *statistics) { return (double)statistics->requests; }
static double failed(const tmb_server_statistics *statistics) { return (double)statistics->failed; }
static double busy(const tmb_server_statistics *statistics) { return (double)statistics->busy; }
static double opened(const tmb_server_statistics *statistics) { return (double)statistics->opened; }

static const family families[] = {
    {"up", "gauge", "0 while a speech server is left alone after failures in a row.", is_up},
    {"requests_in_flight", "gauge", "Requests to a speech server now.", outstanding},
    {"requests_total", "counter", "Requests to a speech server.", requests},
    {"failures_total", "counter", "Requests that a speech server failed.", failed},
    {"busy_total", "counter", "Requests that a busy speech server refused.", busy},
    {"down_total", "counter", "How often a speech server was found to be down.", opened},
};

typedef struct writing {
    tmb_buffer *out;
    const family *family;
    bool begun;
} writing;

/* As a label's value. */
static void write_escaped(tmb_buffer *out, const char *text) {
    for (; *text != '\0'; text++) {
        (void)tmb_buffer_printf(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
    }
}

static void write_server(void *user, const tmb_server_statistics *statistics) {
    writing *to = user;
    const char *name = to->family->name;
    if (!to->begun) {
        (void)tmb_buffer_printf(to->out, "# HELP timbre_speech_server_%s %s\n# TYPE timbre_speech_server_%s %s\n", name,
                                to->family->help, name, to->family->type);
        to->begun = true;
    }
    (void)tmb_buffer_printf(to->out, "timbre_speech_server_%s{url=\"", name);
    write_escaped(to->out, statistics->url);
    (void)tmb_buffer_printf(to->out, "\"} %.15g\n", to->family->value(statistics));
}

void tmb_speech_server_metrics(tmb_context *context, tmb_buffer *out) {
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        writing to = {.out = out, .family = &families[i]};
        tmb_each_server_statistics(context, write_server, &to);
    }
}
