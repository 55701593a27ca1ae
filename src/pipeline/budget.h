/* A pool of memory with a budget, the host's or a device's: whatever is large reserves its bytes in its pool before it
 * allocates them.
 *
 * A reservation that fits is granted at once, one that will fit later waits in order, one that can never
 * fit is refused at once. Nothing is allocated here: the numbers are an agreement between the parts.
 */
#ifndef TMB_PIPELINE_BUDGET_H
#define TMB_PIPELINE_BUDGET_H

#include "timbre/timbre.h"

#include <pthread.h>
#include <stdatomic.h>

/* A reservation that may have to wait. The memory is the caller's and stays put until it is granted or withdrawn.
 * `granted` is called once, from the thread that made the room and with locks held: it may post work or
 * wake a thread, nothing else. */
typedef struct tmb_ticket {
    struct tmb_ticket *next;
    uint64_t bytes;
    void (*granted)(void *user); /* may be NULL */
    void *user;
    bool waiting; /* the budget's, under its lock */
} tmb_ticket;

/* Asked to give back what is held but not needed, when a reservation has to wait; without the budget's
 * lock. What it frees, it releases. */
typedef void (*tmb_reclaim)(void *user);

typedef struct tmb_budget {
    pthread_mutex_t lock;
    pthread_cond_t changed;    /* a ticket was granted */
    const char *name, *option; /* "memory budget", "--memory": for messages */
    bool changes;              /* the total may grow again: what does not fit now may fit later */
    uint64_t total, reserved;
    tmb_ticket *first, *last;
    tmb_reclaim reclaim;
    void (*began_to_wait)(void *user); /* or NULL */
    void *reclaim_user;
} tmb_budget;

void tmb_budget_init(tmb_budget *budget, uint64_t total, tmb_reclaim reclaim, void *user);
/* What messages call it, in static storage, for one whose total changes. */
void tmb_budget_name(tmb_budget *budget, const char *name, const char *option);
/* Called whenever a ticket has begun to wait, after `reclaim` and with its user; without the budget's lock. Whoever
 * could free what `reclaim` cannot looks again. */
void tmb_budget_tell(tmb_budget *budget, void (*began_to_wait)(void *user));
void tmb_budget_deinit(tmb_budget *budget);

/* Reserves `bytes`, now (*now = true, no callback) or later. `together` is what must stay reserved in
 * addition for it to be of use, such as the model that a sequence belongs to: if the sum is more than the
 * budget, TMB_ERROR_MEMORY at once; the message names `what`, the need and the budget. */
tmb_status tmb_budget_request(tmb_budget *budget, tmb_ticket *ticket, uint64_t bytes, uint64_t together,
                              const char *what, bool *now, tmb_error *error);

/* The same, waiting until it is granted or *stop (may be NULL; looked at on tmb_budget_wake) is true:
 * TMB_ERROR_CANCELLED. TMB_ERROR_MEMORY if the pool shrinks to less than it takes. Not on a thread that others need in
 * order to give memory back. */
tmb_status tmb_budget_reserve(tmb_budget *budget, uint64_t bytes, uint64_t together, const char *what,
                              const atomic_bool *stop, tmb_error *error);
void tmb_budget_wake(tmb_budget *budget);

/* Grows a reservation immediately or fails: a holder that waited for more could wait for ever. */
tmb_status tmb_budget_grow(tmb_budget *budget, uint64_t bytes, const char *what, tmb_error *error);

void tmb_budget_release(tmb_budget *budget, uint64_t bytes);

/* Ends the wait of a ticket; false if it was not waiting (then its callback is over, its bytes are held). */
bool tmb_budget_withdraw(tmb_budget *budget, tmb_ticket *ticket);

/* Whether any ticket waits; whether this one is the first that does; whether it waits and is not. */
bool tmb_budget_waits(tmb_budget *budget);
bool tmb_budget_is_first(tmb_budget *budget, const tmb_ticket *ticket);
bool tmb_budget_is_behind(tmb_budget *budget, const tmb_ticket *ticket);

/* Tries again to make room if tickets wait and something may have become idle. */
void tmb_budget_retry(tmb_budget *budget);

/* The pool turned out to be another size: its total becomes `total`, but no less than what is reserved. */
void tmb_budget_resize(tmb_budget *budget, uint64_t total);

void tmb_budget_read(tmb_budget *budget, uint64_t *total, uint64_t *reserved);

/* Three quarters of what this process can have: of the machine's memory, its cgroup's or its address
 * space's limit (RLIMIT_AS), whichever is least. */
uint64_t tmb_budget_default(void);

#endif
