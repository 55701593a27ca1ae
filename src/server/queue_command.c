/* `timbre queue`: the dead letters of a shared queue. */
#include "base/error.h"
#include "base/memory.h"
#include "queue/jobs.h"
#include "server/logging.h"
#include "server/server.h"

#include <curl/curl.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void print_queue_help(FILE *out) {
    (void)fprintf(
        out, "usage: timbre queue dead|retry|drop [ID...|--all] [--json] --queue URL [--queue-password-file FILE]\n\n"
             "Dead letters are items that took down every worker that ran them: see --max-deliveries of\n"
             "`timbre worker`. Their jobs have them as failed.\n\n"
             "      dead         list them, oldest first: ID, job, item, workers lost, when, why\n"
             "      retry        put their items back into the queue\n"
             "      drop         forget them; their items stay failed\n\n"
             "      --all                             every one of them\n"
             "      --json                            one JSON object a line\n"
             "      --queue URL                       the queue (TIMBRE_QUEUE)\n"
             "      --queue-password-file FILE        file with its password (TIMBRE_QUEUE_PASSWORD_FILE)\n");
}

typedef struct queue_arguments {
    const char *action;
    const char *queue, *password_file;
    bool all, json, help;
    const char **ids; /* [count] */
    size_t count;
} queue_arguments;

static bool read_arguments(queue_arguments *out, int count, char *const *arguments, char problem[200]) {
    for (int i = 0; i < count; i++) {
        const char *word = arguments[i];
        const char **value = strcmp(word, "--queue") == 0                 ? &out->queue
                             : strcmp(word, "--queue-password-file") == 0 ? &out->password_file
                                                                          : NULL;
        if (value != NULL && i + 1 == count) {
            (void)snprintf(problem, 200, "option %s needs a value", word);
            return false;
        }
        if (value != NULL) {
            *value = arguments[++i];
        } else if (strncmp(word, "--queue=", 8) == 0) {
            out->queue = word + 8;
        } else if (strcmp(word, "--all") == 0) {
            out->all = true;
        } else if (strcmp(word, "--json") == 0) {
            out->json = true;
        } else if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) {
            out->help = true;
        } else if (word[0] == '-') {
            (void)snprintf(problem, 200, "unknown option \"%.100s\": see timbre queue --help", word);
            return false;
        } else if (out->action == NULL) {
            out->action = word;
        } else {
            out->ids[out->count++] = word;
        }
    }
    static const char *const actions[] = {"dead", "retry", "drop"};
    bool known = false;
    for (size_t i = 0; i < 3 && out->action != NULL; i++) {
        known = known || strcmp(actions[i], out->action) == 0;
    }
    bool lists = out->action != NULL && strcmp(out->action, "dead") == 0;
    if (out->help) {
        return true;
    }
    const char *wrong = !known                                 ? "say dead, retry or drop: see timbre queue --help"
                        : out->queue == NULL || !out->queue[0] ? "say which queue: --queue URL"
                        : lists && (out->count || out->all)    ? "dead lists all of them"
                        : !lists && !out->count == !out->all   ? "name the dead letters' IDs, or --all"
                                                               : NULL;
    (void)snprintf(problem, 200, "%s", wrong != NULL ? wrong : "");
    return wrong == NULL;
}

static void print_letter(const tmb_dead_letter *letter, bool as_json) {
    char when[32] = "";
    time_t seconds = (time_t)letter->time;
    struct tm parts;
    if (gmtime_r(&seconds, &parts) != NULL) {
        (void)strftime(when, sizeof when, "%Y-%m-%dT%H:%M:%SZ", &parts);
    }
    if (!as_json) {
        (void)printf("%s  job %s item %zu  %u workers  %s  %s\n", letter->id, letter->job, letter->position,
                     letter->attempts, when, letter->reason);
        return;
    }
    json_t *object = json_pack("{s:s, s:s, s:I, s:I, s:s, s:s}", "id", letter->id, "job", letter->job, "item",
                               (json_int_t)letter->position, "deliveries", (json_int_t)letter->attempts, "time", when,
                               "reason", letter->reason);
    char *text = object != NULL ? json_dumps(object, JSON_COMPACT) : NULL;
    (void)printf("%s\n", text != NULL ? text : "{}");
    free(text);
    json_decref(object);
}

static int end_letter(tmb_store *store, const char *id, bool retry) {
    tmb_store_status status = tmb_store_dead_end(store, id, retry);
    if (status == TMB_STORE_OK) {
        return 0;
    }
    (void)fprintf(stderr, "timbre queue: %s: %s\n", id,
                  status == TMB_STORE_NOT_FOUND ? "there is no such dead letter, or its job is gone"
                                                : "the queue cannot be reached");
    return 1;
}

static int act(tmb_store *store, const queue_arguments *arguments) {
    tmb_dead_letter *letters = NULL;
    size_t count = 0;
    int code = 0;
    bool lists = strcmp(arguments->action, "dead") == 0;
    bool retry = strcmp(arguments->action, "retry") == 0;
    if ((lists || arguments->all) && tmb_store_dead_list(store, 100000, &letters, &count) != TMB_STORE_OK) {
        (void)fprintf(stderr, "timbre queue: the queue cannot be reached\n");
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        if (lists) {
            print_letter(&letters[i], arguments->json);
        } else {
            code |= end_letter(store, letters[i].id, retry);
        }
    }
    for (size_t i = 0; i < arguments->count; i++) {
        code |= end_letter(store, arguments->ids[i], retry);
    }
    free(letters);
    return code;
}

static int run(const queue_arguments *arguments) {
    char folder[] = "/tmp/timbre-queue-XXXXXX";
    tmb_logger logger;
    tmb_store *store = NULL;
    tmb_error error = {.status = TMB_OK};
    tmb_store_options options = {.queue = arguments->queue,
                                 .queue_password_file = arguments->password_file,
                                 .without_files = true,
                                 .file_seconds = 1,
                                 .job_seconds = 1,
                                 .lease_seconds = 60};
    if (mkdtemp(folder) == NULL) {
        (void)fprintf(stderr, "timbre queue: cannot make a folder in /tmp\n");
        return 1;
    }
    tmb_server_log_init(&logger, "error", "text");
    int code = 1;
    if (tmb_store_open(folder, &options, &logger, &store, &error) != TMB_OK) {
        (void)fprintf(stderr, "timbre queue: %s\n", error.message);
        code = error.status == TMB_ERROR_ARGUMENT ? 2 : 1;
    } else {
        code = act(store, arguments);
        tmb_store_close(&store);
    }
    tmb_logger_deinit(&logger);
    char spool[64];
    (void)snprintf(spool, sizeof spool, "%s/spool", folder);
    (void)rmdir(spool);
    (void)rmdir(folder);
    return code;
}

int tmb_queue_command(int count, char *const *arguments) {
    char problem[200] = "";
    queue_arguments read = {.queue = getenv("TIMBRE_QUEUE"), .password_file = getenv("TIMBRE_QUEUE_PASSWORD_FILE")};
    read.ids = tmb_calloc((size_t)count + 1, sizeof *read.ids);
    int code = 2;
    if (read.ids == NULL || !read_arguments(&read, count, arguments, problem)) {
        (void)fprintf(stderr, "timbre queue: error: %s\n", problem);
    } else if (read.help) {
        print_queue_help(stdout);
        code = 0;
    } else {
        (void)curl_global_init(CURL_GLOBAL_DEFAULT);
        code = run(&read);
        curl_global_cleanup();
    }
    free(read.ids);
    return tmb_command_printed("queue", code);
}
