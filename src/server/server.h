/* Starting the server. */
#ifndef TMB_SERVER_SERVER_H
#define TMB_SERVER_SERVER_H

#include "server/config.h"

/* Serves until SIGTERM or SIGINT and returns after the drain. Prints "listening on http://HOST:PORT" to
 * `out` once requests are answered. Blocks these signals for the calling thread and the ones it starts:
 * call it before any other thread exists. */
tmb_status tmb_server_run(const tmb_server_config *config, FILE *out, tmb_error *error);

/* The command `timbre serve`; `arguments` without the program's and the command's name. Returns the exit
 * code: 0, 1 it could not serve, 2 the arguments are wrong. */
int tmb_server_command(int count, char *const *arguments);
/* The same for `timbre worker` and `timbre queue`. */
int tmb_worker_command(int count, char *const *arguments);
int tmb_queue_command(int count, char *const *arguments);
/* At the end of a command that only printed: the exit code, which is `code` if all of it came out; otherwise it says so
 * and is no success. */
int tmb_command_printed(const char *name, int code);

/* The first line of a file, for secrets; free it. */
tmb_status tmb_read_secret(const char *path, char **out, tmb_error *error);

#endif
