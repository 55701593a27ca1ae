/* A header's value with parameters: `form-data; name="a"; filename*=UTF-8''b` (RFC 2045, 2183, 5987). */
#ifndef TMB_SERVER_HEADER_VALUE_H
#define TMB_SERVER_HEADER_VALUE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum tmb_parameter {
    TMB_PARAMETER_ABSENT,
    TMB_PARAMETER_FOUND,
    TMB_PARAMETER_BROKEN /* the list is malformed, names this parameter twice, or it does not fit */
} tmb_parameter;

/* Whether the value before all parameters is `word`, in any case. */
bool tmb_header_value_is(const char *value, const char *word);

/* Copies parameter `name` (in any case) to `out` [size], NUL-terminated: a token, or a quoted string without its
 * quotes. In quotes a backslash before a quote or a backslash is dropped; other backslashes stay, as some clients send
 * Windows paths as they are. `out` is "" unless the parameter was found. */
tmb_parameter tmb_header_parameter(const char *value, const char *name, char *out, size_t size);

/* Decodes a value of the form UTF-8'LANGUAGE'PERCENT-ENCODED in place; false if it is none, or of another charset. */
bool tmb_header_decode_extended(char *text);

#endif
