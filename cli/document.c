#include "document.h"

#include <stdlib.h>
#include <string.h>

size_t cli_first_word(const cli_command *command, const char **second) {
    const char *space = strchr(command->name, ' ');
    *second = space != NULL ? space + 1 : NULL;
    return space != NULL ? (size_t)(space - command->name) : strlen(command->name);
}

bool cli_begins_word(size_t index) {
    const char *second;
    size_t length = cli_first_word(cli_commands[index], &second);
    for (size_t i = 0; i < index; i++) {
        if (cli_first_word(cli_commands[i], &second) == length &&
            strncmp(cli_commands[i]->name, cli_commands[index]->name, length) == 0) {
            return false;
        }
    }
    return true;
}

static void add_name(void *user, const tmb_model_info *model) {
    char **list = user;
    size_t used = *list != NULL ? strlen(*list) : 0;
    char *longer = realloc(*list, used + strlen(model->name) + 2);
    if (longer != NULL) {
        (void)sprintf(longer + used, "%s%s", used > 0 ? " " : "", model->name);
        *list = longer;
    }
}

char *cli_model_names(void) {
    char *list = NULL;
    (void)tmb_models(add_name, &list, NULL);
    return list;
}

int cli_print_document(const char *kind, const char *serve_options) {
    if (!cli_load_serve_options(serve_options)) {
        cli_error("%s is no table of options", serve_options);
        return CLI_EXIT_INPUT;
    }
    if (strcmp(kind, "man") == 0) {
        cli_print_man();
    } else if (strcmp(kind, "bash") == 0) {
        cli_print_bash();
    } else if (strcmp(kind, "zsh") == 0) {
        cli_print_zsh();
    } else {
        return CLI_EXIT_USAGE;
    }
    return CLI_EXIT_OK;
}
