/* Text of files, of their names and of other programs, as it may be shown on a terminal. */
#ifndef TIMBRE_CLI_VISIBLE_H
#define TIMBRE_CLI_VISIBLE_H

#include <stdio.h>

/* Writes the text with what would steer a terminal, or turn the order of its letters around, as JSON would escape it: a
 * line break is \n, escape is \u001b. Bytes that are no UTF-8 are \x and two digits. EOF if it could not be written. */
int cli_put_visible(const char *text, FILE *out);

#endif
