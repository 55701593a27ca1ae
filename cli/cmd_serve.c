/* `timbre serve` becomes the program timbre-serve beside it, which has its own way with options. Here its
 * table of options becomes one of ours, for the man page and the completions. */
#include "commands.h"
#include "ui.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MAXIMUM_OPTIONS = 90, MAXIMUM_TABLE = 32 * 1024 };

static char text[MAXIMUM_TABLE]; /* the table's file; the options' strings lie in it */
static cli_option options[MAXIMUM_OPTIONS];
static cli_group group = {"Server", options, 0, 0};

static const cli_option own_options[] = {
    {.name = "config", .kind = CLI_FILE, .argument = "FILE", .help = "read options from FILE"},
    {.name = "print-config", .kind = CLI_FLAG, .help = "print every option with its value and where it comes from"},
    {.name = "help", .kind = CLI_FLAG, .help = "list the options with their defaults"},
};

/* Every thread's own cache of freed blocks holds pages of the heap that could go back to the system: the
 * server's memory would creep up with the requests. The C library reads this when a program starts, nothing
 * sets it later, and who sets it knows better. */
static void limit_thread_caches(void) { (void)setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_max=64", 0); }

int cli_exec_serve(char **arguments) {
    static const char name[] = "timbre-serve";
    limit_thread_caches();
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - sizeof(name) - 1);
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

static int run_serve(void *unused, int count, char **arguments) {
    (void)unused;
    (void)count;
    return cli_exec_serve(arguments - 1);
}

const cli_command cli_command_serve = {
    .name = "serve",
    .summary = "serve over HTTP, with a page in the browser",
    .usage = "[OPTION...]",
    .description =
        "Serves voice cloning over HTTP: the API of OpenAI's speech endpoint, timbre's own, saved voices, jobs, and "
        "a page. Every option can also come from the environment (--state-dir as TIMBRE_STATE_DIR) or from the "
        "config file. SIGTERM finishes what runs and ends; a second one ends at once.",
    .groups = &group,
    .group_count = 1,
    .maximum_arguments = -1,
    .run = run_serve,
};

bool cli_load_serve_options(const char *path) {
    FILE *file = fopen(path, "rb");
    size_t size = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
    char *rest = NULL;
    if (file != NULL)
        (void)fclose(file);
    text[size] = '\0';
    memcpy(options, own_options, sizeof(own_options));
    group.count = CLI_LENGTH(own_options);
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        char *argument = strchr(line, '\t'), *help = argument != NULL ? strchr(argument + 1, '\t') : NULL;
        if (help == NULL || group.count == MAXIMUM_OPTIONS)
            return false;
        *argument++ = '\0';
        *help++ = '\0';
        options[group.count++] = (cli_option){
            .name = line, .kind = *argument != '\0' ? CLI_TEXT : CLI_FLAG, .argument = argument, .help = help};
    }
    return group.count > CLI_LENGTH(own_options);
}
