/* Reads an INI file: sections in brackets, "key = value" lines, comments from '#' or ';' at a line's start. */
#ifndef TMB_WEIGHTS_INI_H
#define TMB_WEIGHTS_INI_H

#include "timbre/timbre.h"

typedef struct tmb_ini tmb_ini;

/* At most 64 KiB of text (TMB_ERROR_LIMIT) without NUL; a line that is none of the three is TMB_ERROR_FORMAT. */
tmb_status tmb_ini_parse(const char *text, size_t length, tmb_ini **out, tmb_error *error);
void tmb_ini_free(tmb_ini **ini);

/* The value without the spaces around it, or NULL. The first of several counts. */
const char *tmb_ini_find(const tmb_ini *ini, const char *section, const char *key);

/* A whole number within [low, high]. TMB_ERROR_MODEL if it is missing, no number or outside; the message names it.
 */
tmb_status tmb_ini_size(const tmb_ini *ini, const char *section, const char *key, size_t low, size_t high, size_t *out,
                        tmb_error *error);

/* A finite number, the same. */
tmb_status tmb_ini_number(const tmb_ini *ini, const char *section, const char *key, double low, double high,
                          double *out, tmb_error *error);

#endif
