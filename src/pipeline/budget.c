#include "pipeline/budget.h"

#include "base/checked.h"
#include "base/error.h"

#include <stdatomic.h>
#include <stdio.h>

void tmb_budget_init(tmb_budget *budget, uint64_t total, tmb_reclaim reclaim, void *user) {
    *budget = (tmb_budget){
        .name = "memory budget", .option = "--memory", .total = total, .reclaim = reclaim, .reclaim_user = user};
    (void)pthread_mutex_init(&budget->lock, NULL);
    (void)pthread_cond_init(&budget->changed, NULL);
}

void tmb_budget_name(tmb_budget *budget, const char *name, const char *option) {
    budget->name = name;
    budget->option = option;
    budget->changes = true;
}

void tmb_budget_tell(tmb_budget *budget, void (*began_to_wait)(void *user)) { budget->began_to_wait = began_to_wait; }

void tmb_budget_deinit(tmb_budget *budget) {
    (void)pthread_cond_destroy(&budget->changed);
    (void)pthread_mutex_destroy(&budget->lock);
}

/* With the lock held. */
static bool fits(const tmb_budget *budget, uint64_t bytes) { return bytes <= budget->total - budget->reserved; }

/* Grants from the front as far as it fits. With the lock held, so that a ticket's owner who asks finds
 * it either waiting or told. */
static void grant(tmb_budget *budget) {
    while (budget->first != NULL && fits(budget, budget->first->bytes)) {
        tmb_ticket *ticket = budget->first;
        budget->first = ticket->next;
        if (budget->first == NULL) {
            budget->last = NULL;
        }
        budget->reserved += ticket->bytes;
        ticket->waiting = false;
        if (ticket->granted != NULL) {
            ticket->granted(ticket->user);
        } else {
            (void)pthread_cond_broadcast(&budget->changed);
        }
    }
}

/* "1.2 GiB", for messages. */
static const char *human(uint64_t bytes, char text[24]) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        value /= 1024;
        unit++;
    }
    (void)snprintf(text, 24, unit == 0 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return text;
}

/* With the lock held. */
static tmb_status refuse(tmb_budget *budget, uint64_t bytes, uint64_t together, const char *what, tmb_error *error) {
    char need[24];
    char total[24];
    char beside[24];
    tmb_status status = TMB_ERROR_MEMORY;
    if (together == 0) {
        (void)tmb_fail(error, status, "%s needs %s, the %s is %s: raise it (%s)", what, human(bytes, need),
                       budget->name, human(budget->total, total), budget->option);
    } else {
        (void)tmb_fail(error, status, "%s needs %s beside %s of models, the %s is %s: raise it (%s)", what,
                       human(bytes, need), human(together, beside), budget->name, human(budget->total, total),
                       budget->option);
    }
    return budget->changes ? status : tmb_error_set_never_fits(error);
}

tmb_status tmb_budget_request(tmb_budget *budget, tmb_ticket *ticket, uint64_t bytes, uint64_t together,
                              const char *what, bool *now, tmb_error *error) {
    uint64_t sum = 0;
    (void)pthread_mutex_lock(&budget->lock);
    if (!tmb_add_u64(bytes, together, &sum) || sum > budget->total) {
        tmb_status status = refuse(budget, bytes, together, what, error);
        (void)pthread_mutex_unlock(&budget->lock);
        return status;
    }
    ticket->bytes = bytes;
    ticket->next = NULL;
    ticket->waiting = true;
    if (budget->last != NULL) {
        budget->last->next = ticket;
    } else {
        budget->first = ticket;
    }
    budget->last = ticket;
    *now = budget->first == ticket && fits(budget, bytes);
    if (*now) {
        budget->first = budget->last = NULL;
        budget->reserved += bytes;
        ticket->waiting = false;
    }
    (void)pthread_mutex_unlock(&budget->lock);
    if (!*now && budget->reclaim != NULL) {
        budget->reclaim(budget->reclaim_user);
    }
    if (!*now && budget->began_to_wait != NULL) {
        budget->began_to_wait(budget->reclaim_user);
    }
    return TMB_OK;
}

tmb_status tmb_budget_reserve(tmb_budget *budget, uint64_t bytes, uint64_t together, const char *what,
                              const atomic_bool *stop, tmb_error *error) {
    tmb_ticket ticket = {0};
    bool now = false;
    tmb_status status = tmb_budget_request(budget, &ticket, bytes, together, what, &now, error);
    if (status != TMB_OK || now) {
        return status;
    }
    bool stopped = false;
    (void)pthread_mutex_lock(&budget->lock);
    while (ticket.waiting && bytes + together <= budget->total && !stopped) {
        stopped = stop != NULL && atomic_load(stop);
        if (!stopped) {
            (void)pthread_cond_wait(&budget->changed, &budget->lock);
        }
    }
    if (ticket.waiting) {
        status = stopped ? tmb_fail(error, TMB_ERROR_CANCELLED, "cancelled while waiting for memory for %s", what)
                         : refuse(budget, bytes, together, what, error); /* the pool has shrunk */
    }
    (void)pthread_mutex_unlock(&budget->lock);
    return tmb_budget_withdraw(budget, &ticket) ? status : TMB_OK;
}

void tmb_budget_wake(tmb_budget *budget) {
    (void)pthread_mutex_lock(&budget->lock);
    (void)pthread_cond_broadcast(&budget->changed);
    (void)pthread_mutex_unlock(&budget->lock);
}

static bool try_grow(tmb_budget *budget, uint64_t bytes) {
    (void)pthread_mutex_lock(&budget->lock);
    bool grown = fits(budget, bytes);
    if (grown) {
        budget->reserved += bytes;
    }
    (void)pthread_mutex_unlock(&budget->lock);
    return grown;
}

tmb_status tmb_budget_grow(tmb_budget *budget, uint64_t bytes, const char *what, tmb_error *error) {
    if (try_grow(budget, bytes)) {
        return TMB_OK;
    }
    if (budget->reclaim != NULL) {
        budget->reclaim(budget->reclaim_user);
        if (try_grow(budget, bytes)) {
            return TMB_OK;
        }
    }
    char more[24];
    char total[24];
    return tmb_fail(error, TMB_ERROR_MEMORY, "%s needs %s more than is left of the %s of %s", what, human(bytes, more),
                    budget->name, human(budget->total, total));
}

void tmb_budget_release(tmb_budget *budget, uint64_t bytes) {
    (void)pthread_mutex_lock(&budget->lock);
    budget->reserved -= bytes < budget->reserved ? bytes : budget->reserved;
    grant(budget);
    (void)pthread_mutex_unlock(&budget->lock);
}

bool tmb_budget_withdraw(tmb_budget *budget, tmb_ticket *ticket) {
    (void)pthread_mutex_lock(&budget->lock);
    bool waiting = ticket->waiting;
    if (waiting) {
        tmb_ticket **link = &budget->first;
        tmb_ticket *previous = NULL;
        while (*link != ticket) {
            previous = *link;
            link = &previous->next;
        }
        *link = ticket->next;
        if (budget->last == ticket) {
            budget->last = previous;
        }
        ticket->waiting = false;
        grant(budget); /* the ones behind it may fit */
    }
    (void)pthread_mutex_unlock(&budget->lock);
    return waiting;
}

bool tmb_budget_waits(tmb_budget *budget) {
    (void)pthread_mutex_lock(&budget->lock);
    bool waits = budget->first != NULL;
    (void)pthread_mutex_unlock(&budget->lock);
    return waits;
}

bool tmb_budget_is_first(tmb_budget *budget, const tmb_ticket *ticket) {
    (void)pthread_mutex_lock(&budget->lock);
    bool first = budget->first == ticket;
    (void)pthread_mutex_unlock(&budget->lock);
    return first;
}

bool tmb_budget_is_behind(tmb_budget *budget, const tmb_ticket *ticket) {
    (void)pthread_mutex_lock(&budget->lock);
    bool behind = ticket->waiting && budget->first != ticket;
    (void)pthread_mutex_unlock(&budget->lock);
    return behind;
}

void tmb_budget_retry(tmb_budget *budget) {
    if (tmb_budget_waits(budget) && budget->reclaim != NULL) {
        budget->reclaim(budget->reclaim_user);
    }
}

void tmb_budget_resize(tmb_budget *budget, uint64_t total) {
    (void)pthread_mutex_lock(&budget->lock);
    budget->total = total > budget->reserved ? total : budget->reserved;
    grant(budget);
    (void)pthread_cond_broadcast(&budget->changed); /* for whoever waits for more than there is now */
    (void)pthread_mutex_unlock(&budget->lock);
}

void tmb_budget_read(tmb_budget *budget, uint64_t *total, uint64_t *reserved) {
    (void)pthread_mutex_lock(&budget->lock);
    *total = budget->total;
    *reserved = budget->reserved;
    (void)pthread_mutex_unlock(&budget->lock);
}
