#include "server/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void print_options(FILE *out, bool worker);

static void print_worker_help(FILE *out) {
    (void)fprintf(
        out, "usage: timbre worker --queue URL [OPTION]...\n\n"
             "Runs items of jobs, and requests of servers, that come through a shared queue.\n\n"
             "      --config FILE                     read options from FILE (default:\n"
             "                                        $XDG_CONFIG_HOME/timbre/worker.conf, /etc/timbre/worker.conf)\n"
             "      --print-config                    print every option with its value and where it comes from\n"
             "      --help                            print this\n");
    print_options(out, true);
    (void)fprintf(out,
                  "\nEvery option can also come from the environment (--queue as TIMBRE_QUEUE) or from the config\n"
                  "file (queue = URL). A flag goes before the environment, that before the file. With --port the\n"
                  "worker answers /health/live, /health/ready and /metrics. SIGTERM finishes what runs, gives back\n"
                  "what does not end in time, and ends; a second one ends at once.\n");
}

static void print_help(FILE *out) {
    (void)fprintf(
        out, "Usage: timbre serve [OPTION...]\n\n"
             "Serves voice cloning over HTTP, with a page at / and the API's description at /docs.\n\n"
             "      --config FILE                     read options from FILE (default:\n"
             "                                        $XDG_CONFIG_HOME/timbre/serve.conf, /etc/timbre/serve.conf)\n"
             "      --print-config                    print every option with its value and where it comes from\n"
             "      --version                         print the version\n"
             "      --help                            print this\n");
    print_options(out, false);
    (void)fprintf(out,
                  "\nEvery option can also come from the environment (--state-dir as TIMBRE_STATE_DIR) or from the\n"
                  "config file (state-dir = DIR). A flag goes before the environment, that before the file.\n"
                  "SIGTERM finishes what runs and ends; a second one ends at once. SIGHUP reads the keys again.\n");
}

static void print_options(FILE *out, bool worker) {
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        const tmb_server_option *option = &tmb_server_option_table[i];
        char flag[80];
        if (!tmb_server_option_is_of(option, worker)) {
            continue;
        }
        if (worker && strcmp(option->name, "port") == 0) {
            (void)fprintf(
                out, "      --port N                            TCP port for /health and /metrics; 0 = none (0)\n");
            continue;
        }
        (void)snprintf(flag, sizeof flag, "--%s%s%s", option->name, option->argument != NULL ? " " : "",
                       option->argument != NULL ? option->argument : "");
        (void)fprintf(out, "      %-33s %s", flag, option->help);
        if (option->choices != NULL) {
            (void)fprintf(out, ": %s", option->choices);
        }
        if (option->argument != NULL && option->fallback[0]) {
            (void)fprintf(out, " (%s)", option->fallback);
        }
        (void)fputc('\n', out);
    }
}

int tmb_command_printed(const char *name, int code) {
    errno = 0;
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return code;
    }
    /* `| head` has what it wants: that is worth a status, but no line. */
    if (errno != EPIPE) {
        (void)fprintf(stderr, "timbre %s: error: standard output could not be written: %s\n", name,
                      strerror(errno != 0 ? errno : EIO));
    }
    return code != 0 ? code : 1;
}

static int command(bool worker, int count, char *const *arguments) {
    const char *name = worker ? "worker" : "serve";
    tmb_server_config config;
    tmb_config_sources sources;
    tmb_config_action action = TMB_CONFIG_RUN;
    tmb_error error = {.status = TMB_OK};
    tmb_status status = tmb_server_config_load(&config, &sources, worker, count, arguments, stderr, &action, &error);
    int code = 0;
    if (status != TMB_OK) {
        (void)fprintf(stderr, "timbre %s: error: %s\n", name, error.message);
        code = 2;
    } else if (action == TMB_CONFIG_HELP) {
        (worker ? print_worker_help : print_help)(stdout);
    } else if (action == TMB_CONFIG_VERSION) {
        (void)fprintf(stdout, "timbre %s\n", tmb_version());
    } else if (action == TMB_CONFIG_PRINT) {
        tmb_server_config_print(&config, &sources, stdout);
    } else if (tmb_server_run(&config, stdout, &error) != TMB_OK) {
        (void)fprintf(stderr, "timbre %s: error: %s\n", name, error.message);
        code = error.status == TMB_ERROR_ARGUMENT ? 2 : error.status == TMB_ERROR_MODEL ? 4 : 1;
    }
    if (action != TMB_CONFIG_RUN) { /* a server goes on without its standard output */
        code = tmb_command_printed(name, code);
    }
    tmb_server_config_free(&config, &sources);
    return code;
}

int tmb_server_command(int count, char *const *arguments) { return command(false, count, arguments); }

int tmb_worker_command(int count, char *const *arguments) { return command(true, count, arguments); }
