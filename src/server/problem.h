/* Why a request, or an item of one, is refused: the one form in which the server's checks say it. */
#ifndef TMB_SERVER_PROBLEM_H
#define TMB_SERVER_PROBLEM_H

#include "timbre/timbre.h"

typedef struct tmb_problem {
    unsigned status;   /* to answer with; 0 = there is no problem */
    char field[96];    /* a path as "items[3].seed"; "" = none */
    char message[256]; /* what is wrong with it; with a field it is the rest of a sentence */
} tmb_problem;

/* Sets all of it; `field` NULL: none. Returns false. */
bool tmb_problem_set(tmb_problem *problem, const char *field, unsigned status, const char *format, ...)
    TMB_PRINTF(4, 5);
/* Sets status and message and leaves the field to the caller, who knows its name. Returns false. */
bool tmb_problem_say(tmb_problem *problem, unsigned status, const char *format, ...) TMB_PRINTF(3, 4);
/* The caller's name for what has the problem. Returns false. */
bool tmb_problem_name(tmb_problem *problem, const char *field);
/* The field is one of element `index` of `list`: "seed" becomes "items[3].seed". Returns false. */
bool tmb_problem_within(tmb_problem *problem, const char *list, size_t index);

#endif
