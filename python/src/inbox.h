/* What a context's items tell Python: a queue of events, filled by the library's threads and emptied by Python's. One
 * inbox serves one call, one batch, or all that one event loop waits for. Knows nothing of Python. */
#ifndef TIMBRE_PYTHON_INBOX_H
#define TIMBRE_PYTHON_INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "timbre/timbre.h"

typedef enum tmb_py_event_kind { TMB_PY_PROGRESS, TMB_PY_AUDIO, TMB_PY_RESULT } tmb_py_event_kind;

/* A result with everything that it points to. */
typedef struct tmb_py_outcome {
    tmb_clone_result result; /* its pointers lead to the copies below, or to static storage */
    char *custom_id, *model, *finish_reason;
    float *samples, *reference_clean;
    int16_t *codes;
    tmb_segment *segments; /* each text is owned */
    tmb_reference_info *reference;
} tmb_py_outcome;

typedef struct tmb_py_event {
    struct tmb_py_event *next;
    uint64_t token; /* whose it is: the number that the item was submitted with */
    tmb_py_event_kind kind;
    tmb_stage stage;
    double fraction;
    float *samples;
    size_t count;
    int rate;
    tmb_py_outcome outcome;
} tmb_py_event;

typedef struct tmb_py_inbox tmb_py_inbox;
tmb_py_inbox *tmb_py_inbox_create(void);
void tmb_py_inbox_ref(tmb_py_inbox *inbox);
void tmb_py_inbox_unref(tmb_py_inbox *inbox);
/* A descriptor that is readable while events wait, made at the first call; the inbox owns it. -1 with errno. */
int tmb_py_inbox_fd(tmb_py_inbox *inbox);
/* Closes that descriptor now. */
void tmb_py_inbox_close_fd(tmb_py_inbox *inbox);
/* Takes over `event`. A progress that its reader has not seen yet gives way to a newer one of its stage. */
void tmb_py_inbox_post(tmb_py_inbox *inbox, tmb_py_event *event);
/* The oldest event, to be freed by the caller; NULL: none. Waits up to `seconds` for one. */
tmb_py_event *tmb_py_inbox_take(tmb_py_inbox *inbox, double seconds);
void tmb_py_event_free(tmb_py_event *event);

/* An item under way: the callbacks' `user`. Freed when both its reader and the library have let go of it. */
typedef struct tmb_py_flight {
    atomic_int references;
    atomic_bool dropped; /* nobody reads its events any more */
    atomic_bool ended;   /* its result has come */
    uint64_t token, item;
    tmb_py_inbox *inbox;
    tmb_py_event *last; /* set aside for the result, so that there is always memory to say that there is none */
    bool out_of_memory;
    void *borrowed; /* the reference that the request leads to */
} tmb_py_flight;

tmb_py_flight *tmb_py_flight_create(tmb_py_inbox *inbox, uint64_t token);
void tmb_py_flight_unref(tmb_py_flight *flight);
/* Callbacks that post to the flight's inbox. */
tmb_clone_callbacks tmb_py_flight_callbacks(tmb_py_flight *flight, bool audio, bool progress);

#endif
