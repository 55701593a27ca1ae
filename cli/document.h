/* The man page and the completions, one file each, from the same tables as --help. */
#ifndef TIMBRE_CLI_DOCUMENT_H
#define TIMBRE_CLI_DOCUMENT_H

#include "commands.h"
#include "shared.h"

void cli_print_man(void);
void cli_print_bash(void);
void cli_print_zsh(void);

/* The length of the first word of a command's name; *second is the other one, or NULL. */
size_t cli_first_word(const cli_command *command, const char **second);
/* Is this command the first of those whose names begin with the same word? */
bool cli_begins_word(size_t index);

/* Names that `timbre pull` takes, separated by spaces. Allocated; NULL: no memory. */
char *cli_model_names(void);

#endif
