/* Which of several speech servers is asked next: the policy alone, without a connection and without a clock of its own.
 *
 * The server with the fewest requests under way is asked, among equals the one that was asked longest ago. A server
 * that fails several times in a row is down: nobody is sent there until a check of its health says that it lives. Then
 * one request tries it, and its end decides. A server that says it is busy is left alone for as long as it asks.
 *
 * Times are seconds of any clock that only goes forwards. Any thread may call: the pool has a lock of its own.
 */
#ifndef TMB_TTS_REMOTE_POOL_H
#define TMB_TTS_REMOTE_POOL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As many as there are bits in a set of them. */
#define TMB_REMOTE_SERVERS 64
/* Failures in a row after which a server is down. */
#define TMB_REMOTE_FAILURES 3
/* Seconds that it is left alone the first time, and at most: each failed check doubles them. */
#define TMB_REMOTE_OPEN_SECONDS 2.0
#define TMB_REMOTE_OPEN_MOST 60.0
/* Seconds at most that a server which says it is busy is left alone. */
#define TMB_REMOTE_BUSY_MOST 30.0

typedef enum tmb_remote_state {
    TMB_REMOTE_UNTRIED, /* nothing was asked of it yet */
    TMB_REMOTE_UP,
    TMB_REMOTE_DOWN,     /* the circuit is open: it is checked when the time is due */
    TMB_REMOTE_CHECKING, /* its health is being asked for */
    TMB_REMOTE_TRIAL     /* half open: one request may try it */
} tmb_remote_state;

typedef struct tmb_remote_member {
    size_t limit; /* requests at once; 0 = any number */
    size_t outstanding;
    tmb_remote_state state;
    unsigned failures;   /* in a row */
    double open_seconds; /* how long it was, or will be, left alone; 0 = never yet */
    double due;          /* in state DOWN: when it is checked */
    double busy_until;   /* and not asked before */
    unsigned busy_row;   /* how often in a row it said so */
    uint64_t turn;       /* of its last request */
    uint64_t requests, failed, refused, opened;
} tmb_remote_member;

typedef struct tmb_remote_pool {
    pthread_mutex_t lock;
    tmb_remote_member members[TMB_REMOTE_SERVERS];
    size_t count;
    uint64_t turns;
    double busy_seconds; /* the first wait for a busy server that does not say how long */
} tmb_remote_pool;

typedef enum tmb_remote_pick {
    TMB_REMOTE_NOW,   /* this one */
    TMB_REMOTE_FULL,  /* every one that lives has its limit of requests, or is about to be tried: ask again soon */
    TMB_REMOTE_BUSY,  /* every one that lives has said that it is busy: ask again at the time that is given */
    TMB_REMOTE_NOBODY /* all are down, or were tried in vain */
} tmb_remote_pick;

/* `limits` [count], count from 1 to TMB_REMOTE_SERVERS. */
void tmb_remote_pool_init(tmb_remote_pool *pool, const size_t *limits, size_t count, double busy_seconds);
void tmb_remote_pool_deinit(tmb_remote_pool *pool);

/* Whom to ask, but none of the set `tried` (bit i: server i). NOW counts a request to *index as under way. BUSY sets
 * *at. */
tmb_remote_pick tmb_remote_pool_pick(tmb_remote_pool *pool, double now, uint64_t tried, size_t *index, double *at);
/* The same for a second request in addition to one that is slow: only a server that is up will do. */
bool tmb_remote_pool_pick_second(tmb_remote_pool *pool, double now, uint64_t tried, size_t *index);

/* Whether it could be worth while to send another request: somebody who may live has room and is not busy. */
bool tmb_remote_pool_accepts(tmb_remote_pool *pool, double now);

/* What became of a request: it is under way until it ended, exactly once. */
void tmb_remote_pool_ended(tmb_remote_pool *pool, size_t index);
/* The first audio came: the server is up, though not yet forgiven. */
void tmb_remote_pool_speaks(tmb_remote_pool *pool, size_t index);
/* The server did what it should: it spoke to the end, or refused what no server would take. */
void tmb_remote_pool_works(tmb_remote_pool *pool, size_t index);
void tmb_remote_pool_failed(tmb_remote_pool *pool, size_t index, double now);
/* The failure was the request's fault: another server failed on it in the same way. */
void tmb_remote_pool_forgive(tmb_remote_pool *pool, size_t index);
/* It is busy; `seconds` <= 0: it does not say for how long. */
void tmb_remote_pool_is_busy(tmb_remote_pool *pool, size_t index, double now, double seconds);
/* A trial that told nothing: the client left before the server said a word. */
void tmb_remote_pool_abandoned(tmb_remote_pool *pool, size_t index, double now);

/* A server whose health should be asked for now, which then is being asked for; false if there is none. */
bool tmb_remote_pool_due(tmb_remote_pool *pool, double now, size_t *index);
/* How the check went. */
void tmb_remote_pool_checked(tmb_remote_pool *pool, size_t index, double now, bool lives);
/* The check was not made: it is due again. */
void tmb_remote_pool_unchecked(tmb_remote_pool *pool, size_t index, double now);

/* A copy of one server's numbers. */
tmb_remote_member tmb_remote_pool_read(tmb_remote_pool *pool, size_t index);

#endif
