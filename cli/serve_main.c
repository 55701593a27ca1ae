/* The server is a program of its own, started by `timbre serve`: its libraries would cost every other
 * command six megabytes. With __options it prints its table for the man page and the completions. */
#include "server/server.h"

#include <stdio.h>
#include <string.h>

int main(int argc, char **argv) {
    size_t count = 0;
    const tmb_server_option *options = tmb_server_options(&count);
    if (argc != 2 || strcmp(argv[1], "__options") != 0)
        return tmb_server_command(argc - 1, argv + 1);
    for (size_t i = 0; i < count; i++)
        (void)printf("%s\t%s\t%s\t%s\t%s\n", options[i].name, options[i].argument != NULL ? options[i].argument : "",
                     options[i].fallback != NULL ? options[i].fallback : "",
                     options[i].choices != NULL ? options[i].choices : "", options[i].help);
    return fflush(stdout) == 0 ? 0 : 1;
}
