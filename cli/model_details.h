/* What a Qwen3-TTS checkpoint is and can do, read from its files. */
#ifndef TIMBRE_CLI_MODEL_DETAILS_H
#define TIMBRE_CLI_MODEL_DETAILS_H

#include "shared.h"

/* Prints it for people, or as one JSON object. The exit status; said why it is not 0. */
int cli_print_model_details(const char *model, bool json);

/* The same in one line, for a report; false: *error says why. */
bool cli_describe_model(const char *model, char *out, size_t size, tmb_error *error);
/* As JSON; NULL: *error says why. */
json_t *cli_model_json(const char *model, tmb_error *error);

#endif
