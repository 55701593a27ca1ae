/* The server is a program of its own, started by `timbre serve`: its libraries would cost every other
 * command six megabytes. With __worker and __queue it is `timbre worker` and `timbre queue`. With
 * __options it prints its table for the man page and the completions. */
#include "server/server.h"
#include "standard.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    cli_hold_standard_descriptors();
    if (argc > 1 && strcmp(argv[1], "__worker") == 0) {
        return tmb_worker_command(argc - 2, argv + 2);
    }
    if (argc > 1 && strcmp(argv[1], "__queue") == 0) {
        return tmb_queue_command(argc - 2, argv + 2);
    }
    if (argc != 2 || strcmp(argv[1], "__options") != 0) {
        return tmb_server_command(argc - 1, argv + 1);
    }
    for (size_t i = 0; i < tmb_server_option_count; i++) {
        const tmb_server_option *option = &tmb_server_option_table[i];
        const char *of = !tmb_server_option_is_of(option, true) ? "serve" : "both";
        (void)printf("%s\t%s\t%s\t%s\t%s\t%s\n", option->name, option->argument != NULL ? option->argument : "",
                     option->fallback != NULL ? option->fallback : "", option->choices != NULL ? option->choices : "",
                     option->help, of);
    }
    return fflush(stdout) == 0 ? 0 : 1;
}
