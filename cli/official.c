#include "official.h"

#include "shared.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { MAXIMUM_LINE = 65536 };

/* This program's own file, so that the comparison runs the same build. */
static bool own_path(char *out, size_t size) {
    ssize_t length = readlink("/proc/self/exe", out, size - 1);
    if (length <= 0) {
        return false;
    }
    out[length] = '\0';
    return true;
}

/* Starts the script; its standard output is `*output`. 0: said why. */
static pid_t start(const cli_official *o, const char *script, int *output) {
    char timbre[4096], frames[16];
    int ends[2];
    pid_t process = 0;
    if (!own_path(timbre, sizeof timbre) || pipe(ends) != 0) {
        cli_error("%s cannot be started: %s", script, strerror(errno));
        return 0;
    }
    (void)snprintf(frames, sizeof frames, "%d", o->frames);
    const char *text = o->reference_text != NULL ? o->reference_text : "";
    const char *arguments[] = {o->python,    script,       "--timbre", timbre,     "--model", o->model, "--ref",
                               o->reference, "--ref-text", text,       "--frames", frames,    NULL};
    posix_spawn_file_actions_t actions;
    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
    (void)posix_spawn_file_actions_addclose(&actions, ends[0]);
    (void)posix_spawn_file_actions_addclose(&actions, ends[1]);
    int failed = posix_spawnp(&process, o->python, &actions, NULL, (char **)(uintptr_t)arguments, environ);
    (void)posix_spawn_file_actions_destroy(&actions);
    (void)close(ends[1]);
    if (failed != 0) {
        cli_error("%s cannot be started: %s", o->python, strerror(failed));
        (void)close(ends[0]);
        return 0;
    }
    *output = ends[0];
    return process;
}

/* Passes each line that is an object on; whether there was one. */
static bool read_lines(FILE *stream, void (*each)(void *user, const json_t *check), void *user) {
    char *line = malloc(MAXIMUM_LINE);
    bool any = false;
    while (line != NULL && fgets(line, MAXIMUM_LINE, stream) != NULL) {
        json_t *check = json_loads(line, 0, NULL);
        if (json_is_string(json_object_get(check, "name"))) {
            each(user, check);
            any = true;
        } else {
            line[strcspn(line, "\n")] = '\0';
            cli_detail("%s", line);
        }
        json_decref(check);
    }
    free(line);
    return any;
}

bool cli_run_official(const cli_official *o, void (*each)(void *user, const json_t *check), void *user) {
    static const char installed[] = CLI_DATA_FOLDER "/verify_real.py";
    const char *script = o->script != NULL ? o->script : installed;
    int output = -1, status = 0;
    if (access(script, R_OK) != 0) {
        cli_error("%s: %s; --official-script names another place of verify_real.py", script, strerror(errno));
        return false;
    }
    pid_t process = start(o, script, &output);
    if (process == 0) {
        return false;
    }
    FILE *stream = fdopen(output, "r");
    bool any = stream != NULL && read_lines(stream, each, user);
    if (stream != NULL) {
        (void)fclose(stream);
    } else {
        (void)close(output);
    }
    while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
    }
    if (!any || !WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        cli_error("the comparison with the official package did not come to its end");
        return false;
    }
    return true;
}
