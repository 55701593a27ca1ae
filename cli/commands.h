/* The commands, each defined in its cmd_NAME.c. */
#ifndef TIMBRE_CLI_COMMANDS_H
#define TIMBRE_CLI_COMMANDS_H

#include "options.h"

extern const cli_command cli_command_clone, cli_command_speak, cli_command_enhance, cli_command_resample,
    cli_command_info, cli_command_voice_create, cli_command_voice_design, cli_command_voice_list,
    cli_command_voice_show, cli_command_voice_rm, cli_command_models, cli_command_pull, cli_command_rm,
    cli_command_verify, cli_command_tokenize, cli_command_doctor, cli_command_serve, cli_command_worker,
    cli_command_queue;

/* Prints what is in a voice file; the exit status. */
int cli_show_voice(const char *name, const char *path, bool json);

/* Downloads a model with progress and says what became of it; the exit status. Defined in cmd_pull.c. */
int cli_pull(const char *name, bool system, bool json);

/* Becomes the server's program for "serve", "worker" or "queue" with the arguments after that word, up to NULL. Returns
 * if that failed, with a status. */
int cli_exec_serve(const char *command, char **arguments);
/* Fills the table of `serve` from what `timbre-serve __options` printed into a file. */
bool cli_load_serve_options(const char *path);

/* All of them, in the order of the help. */
extern const cli_command *const cli_commands[];
extern const size_t cli_command_count;

/* What the page of the whole command says, shared by --help and the man page. */
extern const char cli_description[], cli_environment_help[];
typedef struct cli_exit_meaning {
    const char *status, *meaning;
} cli_exit_meaning;
extern const cli_exit_meaning cli_exit_help[];
extern const size_t cli_exit_count;

/* Prints "man", "bash" or "zsh": the man page or the completion. `serve_options`: see above. */
int cli_print_document(const char *kind, const char *serve_options);

#endif
