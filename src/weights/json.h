/* Small JSON files of models. */
#ifndef TMB_WEIGHTS_JSON_H
#define TMB_WEIGHTS_JSON_H

#include "timbre/timbre.h"

#include <jansson.h>

/* Reads an object (duplicate keys, invalid UTF-8 and nesting over 64 levels are refused). The caller
 * calls json_decref. TMB_ERROR_IO if the file cannot be read, TMB_ERROR_FORMAT with the line if
 * it is not such an object. */
tmb_status tmb_json_read(const char *path, size_t limit, json_t **out, tmb_error *error);

/* The same from memory; `name` is for the message. */
tmb_status tmb_json_parse(const char *name, const char *text, size_t bytes, json_t **out, tmb_error *error);

#endif
