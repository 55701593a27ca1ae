#include "server/logging.h"
#include "server/json_text.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const level_names[] = {"error", "warning", "info", "debug"};

static void timestamp(char out[32]) {
    struct timespec now;
    struct tm parts;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &parts);
    size_t length = strftime(out, 32, "%Y-%m-%dT%H:%M:%S", &parts);
    (void)snprintf(out + length, 32 - length, ".%03ldZ", now.tv_nsec / 1000000);
}

static void log_text(void *user, tmb_log_level level, const char *line) {
    (void)user;
    char now[32];
    timestamp(now);
    (void)fprintf(stderr, "%s %s %s\n", now, level_names[level], line);
}

/* journald adds the time and reads the priority from "<N>". */
static void log_journal(void *user, tmb_log_level level, const char *line) {
    (void)user;
    static const int priorities[] = {3, 4, 6, 7};
    (void)fprintf(stderr, "<%d>%s\n", priorities[level], line);
}

static void log_json(void *user, tmb_log_level level, const char *line) {
    (void)user;
    char now[32];
    timestamp(now);
    json_t *entry =
        json_pack("{s:s, s:s, s:o}", "time", now, "level", level_names[level], "message", tmb_json_text(line));
    char *text = entry != NULL ? json_dumps(entry, JSON_COMPACT) : NULL;
    (void)fprintf(stderr, "%s\n",
                  text != NULL ? text : "{\"level\":\"error\",\"message\":\"a line could not be written\"}");
    free(text);
    json_decref(entry);
}

void tmb_server_log_init(tmb_logger *logger, const char *level, const char *format) {
    tmb_log_level chosen = TMB_LOG_INFO;
    for (int i = 0; i < 4; i++) {
        chosen = strcmp(level, level_names[i]) == 0 ? (tmb_log_level)i : chosen;
    }
    bool is_journal = getenv("JOURNAL_STREAM") != NULL && !isatty(STDERR_FILENO);
    tmb_logger_init(logger, strcmp(format, "json") == 0 ? log_json : is_journal ? log_journal : log_text, NULL, chosen);
}
