#include "server/server.h"

#include <stdlib.h>
#include <string.h>

static void print_help(FILE *out) {
    size_t count = 0;
    const tmb_server_option *options = tmb_server_options(&count);
    (void)fprintf(
        out, "usage: timbre serve [OPTION]...\n\n"
             "Serves voice cloning over HTTP, with a page at / and the API's description at /docs.\n\n"
             "      --config FILE                     read options from FILE (default:\n"
             "                                        $XDG_CONFIG_HOME/timbre/serve.conf, /etc/timbre/serve.conf)\n"
             "      --print-config                    print every option with its value and where it comes from\n"
             "      --help                            print this\n");
    for (size_t i = 0; i < count; i++) {
        char flag[80];
        (void)snprintf(flag, sizeof(flag), "--%s%s%s", options[i].name, options[i].argument ? " " : "",
                       options[i].argument ? options[i].argument : "");
        (void)fprintf(out, "      %-33s %s", flag, options[i].help);
        if (options[i].choices) {
            (void)fprintf(out, ": %s", options[i].choices);
        }
        if (options[i].argument && options[i].fallback[0]) {
            (void)fprintf(out, " (%s)", options[i].fallback);
        }
        (void)fputc('\n', out);
    }
    (void)fprintf(out,
                  "\nEvery option can also come from the environment (--state-dir as TIMBRE_STATE_DIR) or from the\n"
                  "config file (state-dir = DIR). A flag goes before the environment, that before the file.\n"
                  "SIGTERM finishes what runs and ends; a second one ends at once. SIGHUP reads the keys again.\n");
}

int tmb_server_command(int count, char *const *arguments) {
    tmb_server_config config;
    tmb_config_sources sources;
    tmb_config_action action = TMB_CONFIG_RUN;
    tmb_error error = {.status = TMB_OK};
    tmb_status status = tmb_server_config_load(&config, &sources, count, arguments, stderr, &action, &error);
    int code = 0;
    if (status != TMB_OK) {
        (void)fprintf(stderr, "timbre serve: %s\n", error.message);
        code = 2;
    } else if (action == TMB_CONFIG_HELP) {
        print_help(stdout);
    } else if (action == TMB_CONFIG_PRINT) {
        tmb_server_config_print(&config, &sources, stdout);
    } else if (tmb_server_run(&config, stdout, &error) != TMB_OK) {
        (void)fprintf(stderr, "timbre serve: %s\n", error.message);
        code = error.status == TMB_ERROR_ARGUMENT ? 2 : error.status == TMB_ERROR_MODEL ? 4 : 1;
    }
    tmb_server_config_free(&config, &sources);
    return code;
}
