/* The three standard descriptors of a program. */
#ifndef TIMBRE_CLI_STANDARD_H
#define TIMBRE_CLI_STANDARD_H

/* Takes the numbers of standard descriptors that are closed, so that no file or pipe of the program's gets them: using
 * one is an error as before, only what goes to standard error is lost. Comes first in main(). */
void cli_hold_standard_descriptors(void);

#endif
