#include "tts/remote/pool.h"

#include <string.h>

void tmb_remote_pool_init(tmb_remote_pool *pool, const size_t *limits, size_t count, double busy_seconds) {
    memset(pool, 0, sizeof *pool);
    (void)pthread_mutex_init(&pool->lock, NULL);
    pool->count = count;
    pool->busy_seconds = busy_seconds;
    for (size_t i = 0; i < count; i++) {
        pool->members[i].limit = limits[i];
    }
}

void tmb_remote_pool_deinit(tmb_remote_pool *pool) { (void)pthread_mutex_destroy(&pool->lock); }

static double at_most(double value, double most) { return value < most ? value : most; }

/* Leaves a server alone, longer each time. */
static void open_circuit(tmb_remote_member *member, double now) {
    member->open_seconds =
        member->open_seconds <= 0 ? TMB_REMOTE_OPEN_SECONDS : at_most(member->open_seconds * 2, TMB_REMOTE_OPEN_MOST);
    member->state = TMB_REMOTE_DOWN;
    member->due = now + member->open_seconds;
    member->opened++;
}

static bool lives(const tmb_remote_member *member) {
    return member->state == TMB_REMOTE_UNTRIED || member->state == TMB_REMOTE_UP;
}

/* Whether requests may still be sent to it, as far as its numbers go. */
static bool has_room(const tmb_remote_member *member) {
    size_t most = member->state == TMB_REMOTE_TRIAL ? 1 : member->limit;
    return most == 0 || member->outstanding < most;
}

static bool is_better(const tmb_remote_member *a, const tmb_remote_member *b) {
    return a->outstanding != b->outstanding ? a->outstanding < b->outstanding : a->turn < b->turn;
}

/* With the lock held. */
static void count_request(tmb_remote_pool *pool, size_t index) {
    tmb_remote_member *member = &pool->members[index];
    member->outstanding++;
    member->requests++;
    member->turn = ++pool->turns;
}

static bool is_in(uint64_t set, size_t index) { return (set >> index & 1) != 0; }

tmb_remote_pick tmb_remote_pool_pick(tmb_remote_pool *pool, double now, uint64_t tried, size_t *index, double *at) {
    size_t best = pool->count;
    bool full = false, busy = false;
    (void)pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < pool->count; i++) {
        const tmb_remote_member *member = &pool->members[i];
        if (is_in(tried, i) || (member->state == TMB_REMOTE_DOWN && now < member->due)) {
            continue;
        }
        if (member->state == TMB_REMOTE_DOWN || member->state == TMB_REMOTE_CHECKING) {
            full = true; /* the check is bounded, and tells */
        } else if (now < member->busy_until) {
            *at = busy && *at < member->busy_until ? *at : member->busy_until;
            busy = true;
        } else if (!has_room(member)) {
            full = true;
        } else if (best == pool->count || is_better(member, &pool->members[best])) {
            best = i;
        }
    }
    if (best < pool->count) {
        *index = best;
        count_request(pool, best);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return best < pool->count ? TMB_REMOTE_NOW : full ? TMB_REMOTE_FULL : busy ? TMB_REMOTE_BUSY : TMB_REMOTE_NOBODY;
}

bool tmb_remote_pool_pick_second(tmb_remote_pool *pool, double now, uint64_t tried, size_t *index) {
    size_t best = pool->count;
    (void)pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < pool->count; i++) {
        const tmb_remote_member *member = &pool->members[i];
        if (!is_in(tried, i) && lives(member) && now >= member->busy_until && has_room(member) &&
            (best == pool->count || is_better(member, &pool->members[best]))) {
            best = i;
        }
    }
    if (best < pool->count) {
        *index = best;
        count_request(pool, best);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return best < pool->count;
}

bool tmb_remote_pool_accepts(tmb_remote_pool *pool, double now) {
    bool accepts = false;
    (void)pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < pool->count && !accepts; i++) {
        const tmb_remote_member *member = &pool->members[i];
        bool asked = lives(member) || member->state == TMB_REMOTE_TRIAL;
        accepts = (asked && now >= member->busy_until && has_room(member)) ||
                  (member->state == TMB_REMOTE_DOWN && now >= member->due);
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return accepts;
}

void tmb_remote_pool_ended(tmb_remote_pool *pool, size_t index) {
    (void)pthread_mutex_lock(&pool->lock);
    pool->members[index].outstanding--;
    (void)pthread_mutex_unlock(&pool->lock);
}

void tmb_remote_pool_speaks(tmb_remote_pool *pool, size_t index) {
    tmb_remote_member *member = &pool->members[index];
    (void)pthread_mutex_lock(&pool->lock);
    if (member->state == TMB_REMOTE_TRIAL) {
        member->failures = TMB_REMOTE_FAILURES - 1;
    }
    if (lives(member) || member->state == TMB_REMOTE_TRIAL) {
        member->state = TMB_REMOTE_UP;
    }
    member->busy_row = 0;
    (void)pthread_mutex_unlock(&pool->lock);
}

void tmb_remote_pool_works(tmb_remote_pool *pool, size_t index) {
    tmb_remote_member *member = &pool->members[index];
    (void)pthread_mutex_lock(&pool->lock);
    member->failures = 0;
    member->busy_row = 0;
    /* A request from before the server went down says nothing of now. */
    if (lives(member) || member->state == TMB_REMOTE_TRIAL) {
        member->state = TMB_REMOTE_UP;
        member->open_seconds = 0;
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

void tmb_remote_pool_failed(tmb_remote_pool *pool, size_t index, double now) {
    tmb_remote_member *member = &pool->members[index];
    (void)pthread_mutex_lock(&pool->lock);
    member->failed++;
    member->failures++;
    if (member->state == TMB_REMOTE_TRIAL || (lives(member) && member->failures >= TMB_REMOTE_FAILURES)) {
        open_circuit(member, now);
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

void tmb_remote_pool_forgive(tmb_remote_pool *pool, size_t index) {
    (void)pthread_mutex_lock(&pool->lock);
    if (pool->members[index].failures > 0) {
        pool->members[index].failures--;
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

void tmb_remote_pool_is_busy(tmb_remote_pool *pool, size_t index, double now, double seconds) {
    tmb_remote_member *member = &pool->members[index];
    (void)pthread_mutex_lock(&pool->lock);
    member->refused++;
    if (member->state == TMB_REMOTE_TRIAL) {
        member->state = TMB_REMOTE_UP; /* it answers, and will be asked again */
    }
    if (now >= member->busy_until) { /* one of several requests that were refused together counts */
        member->busy_row++;
        if (seconds <= 0) {
            seconds = pool->busy_seconds;
            for (unsigned i = 1; i < member->busy_row && seconds < TMB_REMOTE_BUSY_MOST; i++) {
                seconds *= 2;
            }
        }
        member->busy_until = now + at_most(seconds, TMB_REMOTE_BUSY_MOST);
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

void tmb_remote_pool_abandoned(tmb_remote_pool *pool, size_t index, double now) {
    tmb_remote_member *member = &pool->members[index];
    (void)pthread_mutex_lock(&pool->lock);
    if (member->state == TMB_REMOTE_TRIAL) {
        member->state = TMB_REMOTE_DOWN;
        member->due = now;
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

bool tmb_remote_pool_due(tmb_remote_pool *pool, double now, size_t *index) {
    bool found = false;
    (void)pthread_mutex_lock(&pool->lock);
    for (size_t i = 0; i < pool->count && !found; i++) {
        if (pool->members[i].state == TMB_REMOTE_DOWN && now >= pool->members[i].due) {
            pool->members[i].state = TMB_REMOTE_CHECKING;
            *index = i;
            found = true;
        }
    }
    (void)pthread_mutex_unlock(&pool->lock);
    return found;
}

void tmb_remote_pool_checked(tmb_remote_pool *pool, size_t index, double now, bool good) {
    (void)pthread_mutex_lock(&pool->lock);
    if (good) {
        pool->members[index].state = TMB_REMOTE_TRIAL;
    } else {
        open_circuit(&pool->members[index], now);
    }
    (void)pthread_mutex_unlock(&pool->lock);
}

void tmb_remote_pool_unchecked(tmb_remote_pool *pool, size_t index, double now) {
    (void)pthread_mutex_lock(&pool->lock);
    pool->members[index].state = TMB_REMOTE_DOWN;
    pool->members[index].due = now;
    (void)pthread_mutex_unlock(&pool->lock);
}

tmb_remote_member tmb_remote_pool_read(tmb_remote_pool *pool, size_t index) {
    (void)pthread_mutex_lock(&pool->lock);
    tmb_remote_member copy = pool->members[index];
    (void)pthread_mutex_unlock(&pool->lock);
    return copy;
}
