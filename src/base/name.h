/* Names that people give, in any script. */
#ifndef TMB_BASE_NAME_H
#define TMB_BASE_NAME_H

#include <stdbool.h>

/* Characters in a name, and bytes that one takes with its NUL. */
#define TMB_NAME_LENGTH 64
#define TMB_NAME_SIZE (4 * TMB_NAME_LENGTH + 1)

/* Writes `text` in Unicode's composed form (NFC) to `out`, so that one name is one text however it was typed. False if
 * it is no name, and *what says why: names have 1 to 64 characters of any script and spaces between them, but no
 * control characters, slashes, characters that are not assigned, nor blanks at an end, nor an ASCII mark at the
 * beginning. */
bool tmb_name_normalise(const char *text, char out[TMB_NAME_SIZE], const char **what);

#endif
