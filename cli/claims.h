/* Which files a command reads and which it writes: no output ever replaces an input, a model or another output. */
#ifndef TIMBRE_CLI_CLAIMS_H
#define TIMBRE_CLI_CLAIMS_H

#include "timbre/timbre.h"

#include <stdbool.h>
#include <stddef.h>

/* Files by device and inode, so that links, "./x" and other spellings of a path are the same; files that do not exist
 * yet by their folder and name. Used by one thread at a time. */
typedef struct cli_claims cli_claims;

/* Knows standard output already, if that is a file. NULL: no memory. */
cli_claims *cli_claims_create(void);
void cli_claims_destroy(cli_claims **claims);

/* Claims `path` for reading or writing; `what` says who claims it ("--ref", "item 12"). The order does not matter:
 * whichever claim comes second is refused. NULL and what is no regular file (pipes, terminals, /dev/null) are let
 * through; "-" is standard input or output. Reading a folder stands for the files in it. False: `error` (ARGUMENT,
 * or MEMORY) names both claims. */
bool cli_claim_input(cli_claims *claims, const char *path, const char *what, tmb_error *error);
bool cli_claim_output(cli_claims *claims, const char *path, const char *what, tmb_error *error);

/* Is there a file already at an output's path? */
bool cli_would_replace(const char *path);

/* A name for comparing with others: two names of one key may be one file if case or the spelling of accents is not
 * told apart. Allocated; NULL: no memory. */
char *cli_name_key(const char *name);

/* One claim of a list. */
typedef struct cli_claim {
    const char *path, *what;
    bool written;
} cli_claim;

/* Makes all claims of a list; false: said which two exclude each other. */
bool cli_claim_all(cli_claims *claims, const cli_claim *list, size_t count);
/* The same, with claims that live for the call only. */
bool cli_claims_agree(const cli_claim *list, size_t count);

#endif
