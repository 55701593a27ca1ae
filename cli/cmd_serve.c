/* `timbre serve` becomes the program timbre-serve beside it, which has its own way with options. Here its
 * table of options becomes one of ours, for the man page and the completions. */
#include "commands.h"
#include "ui.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAXIMUM_OPTIONS = 120, MAXIMUM_TABLE = 32 * 1024 };

static char text[MAXIMUM_TABLE]; /* the table's file; the options' strings lie in it */
static cli_option options[MAXIMUM_OPTIONS];
static const char *choice_lists[200];
static size_t choice_count;
static cli_option worker_options[MAXIMUM_OPTIONS];
static cli_group group = {"Server", options, 0, 0};
static cli_group worker_group = {"Worker", worker_options, 0, 0};

static const cli_option own_options[] = {
    {.name = "config", .kind = CLI_FILE, .argument = "FILE", .help = "read options from FILE"},
    {.name = "print-config", .kind = CLI_FLAG, .help = "print every option with its value and where it comes from"},
    {.name = "version", .kind = CLI_FLAG, .help = "print the version"},
    {.name = "help", .kind = CLI_FLAG, .help = "list the options with their defaults"},
};

/* Every thread's own cache of freed blocks holds pages of the heap that could go back to the system: the
 * server's memory would creep up with the requests. The C library reads this when a program starts, nothing
 * sets it later, and who sets it knows better. */
static void limit_thread_caches(void) { (void)setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_max=64", 0); }

/* Becomes the program; `arguments` begin with a place for its name. */
static int exec_server(char **arguments) {
    static const char name[] = "timbre-serve";
    limit_thread_caches();
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - sizeof name - 1);
    if (length > 0) {
        path[length] = '\0';
        char *slash = strrchr(path, '/');
        (void)strcpy(slash != NULL ? slash + 1 : path, name);
        arguments[0] = path;
        (void)execv(path, arguments);
    }
    (void)execvp(name, arguments);
    cli_error("cannot start the server, %s: %s", length > 0 ? path : name, strerror(errno));
    return CLI_EXIT_FAILED;
}

int cli_exec_serve(const char *command, char **arguments) {
    size_t count = 0;
    while (arguments[count] != NULL) {
        count++;
    }
    char **all = calloc(count + 3, sizeof *all);
    if (all == NULL) {
        cli_error("not enough memory");
        return CLI_EXIT_FAILED;
    }
    char word[16];
    (void)snprintf(word, sizeof word, "__%s", command);
    size_t first = strcmp(command, "serve") == 0 ? 1 : 2;
    all[1] = word;
    memcpy(all + first, arguments, count * sizeof *all);
    all[first + count] = NULL;
    int status = exec_server(all);
    free(all);
    return status;
}

static int run_serve(void *unused, int count, char **arguments) {
    (void)unused;
    (void)count;
    return cli_exec_serve("serve", arguments);
}

static int run_worker(void *unused, int count, char **arguments) {
    (void)unused;
    (void)count;
    return cli_exec_serve("worker", arguments);
}

static int run_queue(void *unused, int count, char **arguments) {
    (void)unused;
    (void)count;
    return cli_exec_serve("queue", arguments);
}

const cli_command cli_command_serve = {
    .name = "serve",
    .summary = "serve over HTTP, with a page in the browser",
    .usage = "[OPTION...]",
    .description =
        "Serves voice cloning over HTTP: the API of OpenAI's speech endpoint, timbre's own, saved voices, jobs, and "
        "a page. Every option can also come from the environment (--state-dir as TIMBRE_STATE_DIR) or from the "
        "config file. SIGTERM finishes what runs and ends; a second one ends at once.",
    .examples = "timbre serve\n"
                "timbre serve --model 0.6b --preload --state-dir /srv/timbre\n"
                "timbre serve --host 0.0.0.0 --keys-file keys",
    .groups = &group,
    .group_count = 1,
    .maximum_arguments = -1,
    .run = run_serve,
};

const cli_command cli_command_worker = {
    .name = "worker",
    .summary = "run items of a queue that several machines share",
    .usage = "--queue URL [OPTION...]",
    .description =
        "Takes items of jobs and requests of servers from a shared queue and runs them. With --port it answers "
        "/health/live, /health/ready and /metrics. SIGTERM finishes what runs, gives back what does not end in time, "
        "and ends.",
    .examples = "timbre worker --queue redis://queue.example:6379 --blobs /mnt/timbre\n"
                "timbre worker --queue rediss://queue.example --queue-password-file password --port 9090",
    .groups = &worker_group,
    .group_count = 1,
    .maximum_arguments = -1,
    .run = run_worker,
};

static const cli_option queue_options[] = {
    {.name = "all", .kind = CLI_FLAG, .help = "every dead letter"},
    {.name = "json", .kind = CLI_FLAG, .help = "one JSON object a line"},
    {.name = "queue",
     .kind = CLI_TEXT,
     .argument = "URL",
     .help = "the queue, as for `timbre worker`",
     .environment = "TIMBRE_QUEUE"},
    {.name = "queue-password-file",
     .kind = CLI_FILE,
     .argument = "FILE",
     .help = "file with its password",
     .environment = "TIMBRE_QUEUE_PASSWORD_FILE"},
};
static const cli_group queue_group = {"Queue", queue_options, CLI_LENGTH(queue_options), 0};

const cli_command cli_command_queue = {
    .name = "queue",
    .summary = "dead letters of a shared queue: dead, retry, drop",
    .usage = "dead|retry|drop [ID...|--all] --queue URL",
    .description = "Dead letters are items that took down every worker that ran them; their jobs have them as failed. "
                   "`dead` lists them, `retry` puts their items back into the queue, `drop` forgets them.",
    .examples = "timbre queue dead --queue redis://queue.example:6379\n"
                "timbre queue retry --all --queue redis://queue.example:6379",
    .groups = &queue_group,
    .group_count = 1,
    .maximum_arguments = -1,
    .run = run_queue,
};

/* The next field of a line, which becomes a text of its own; "" at the end. */
static char *take_field(char **rest) {
    char *field = *rest;
    char *tab = strchr(field, '\t');
    *rest = tab != NULL ? tab + 1 : field + strlen(field);
    if (tab != NULL) {
        *tab = '\0';
    }
    return field;
}

/* "text|json" as a list that ends with NULL; NULL if there is no room or no choice. */
static const char *const *take_choices(char *field) {
    const char **first = choice_lists + choice_count;
    char *rest = NULL;
    if (*field == '\0') {
        return NULL;
    }
    for (char *word = strtok_r(field, "|", &rest); word != NULL; word = strtok_r(NULL, "|", &rest)) {
        if (choice_count + 1 >= CLI_LENGTH(choice_lists)) {
            return NULL;
        }
        choice_lists[choice_count++] = word;
    }
    choice_lists[choice_count++] = NULL;
    return first;
}

static cli_kind kind_of(const char *argument, bool choices) {
    if (*argument == '\0') {
        return CLI_FLAG;
    }
    if (choices) {
        return CLI_TEXT;
    }
    return strcmp(argument, "FILE") == 0 ? CLI_FILE : strcmp(argument, "DIR") == 0 ? CLI_FOLDER : CLI_TEXT;
}

/* What the help says, with the default behind it, and the variable that stands in for the option. */
static void describe(cli_option *option, const char *help, const char *fallback) {
    char line[600], name[100];
    (void)snprintf(line, sizeof line, "%s%s%s", help, *fallback != '\0' ? "; default " : "", fallback);
    size_t used = (size_t)snprintf(name, sizeof name, "TIMBRE_");
    for (const char *c = option->name; *c != '\0' && used + 1 < sizeof name; c++) {
        name[used++] = (char)(*c == '-' ? '_' : *c >= 'a' && *c <= 'z' ? *c - 32 : *c);
    }
    name[used] = '\0';
    option->help = strdup(line); /* for the rest of a process that prints one document */
    option->environment = strdup(name);
}

bool cli_load_serve_options(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    char *rest = NULL;
    if (file != NULL) {
        (void)fclose(file);
    }
    text[size] = '\0';
    memcpy(options, own_options, sizeof own_options);
    memcpy(worker_options, own_options, sizeof own_options);
    group.count = worker_group.count = CLI_LENGTH(own_options);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        if (group.count == MAXIMUM_OPTIONS) {
            return false;
        }
        cli_option *option = &options[group.count];
        char *next = line;
        char *name = take_field(&next), *argument = take_field(&next), *fallback = take_field(&next);
        const char *const *choices = take_choices(take_field(&next));
        if (*next == '\0') {
            return false;
        }
        *option = (cli_option){
            .name = name, .kind = kind_of(argument, choices != NULL), .argument = argument, .choices = choices};
        if (strcmp(name, "model") == 0) {
            static const char *const models[] = {
                "0.6b", "1.7b", "0.6b-customvoice", "1.7b-customvoice", "1.7b-voicedesign", NULL};
            option->choices = models;
            option->kind = CLI_FOLDER;
        }
        char *help = take_field(&next);
        describe(option, help, fallback);
        if (option->help == NULL || option->environment == NULL) {
            return false;
        }
        group.count++;
        if (strcmp(next, "both") == 0) {
            worker_options[worker_group.count] = *option;
            if (strcmp(name, "port") == 0) {
                worker_options[worker_group.count].help = "TCP port for /health and /metrics; default none";
            }
            worker_group.count++;
        }
    }
    return group.count > CLI_LENGTH(own_options);
}
