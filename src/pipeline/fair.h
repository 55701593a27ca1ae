/* Queues whose groups take turns: start-time fair queuing, each entry costs one turn.
 *
 * A higher priority goes first. Within a priority the group that had the fewest turns goes first, and a
 * group's entries go in order. A group that comes late joins in the next turn: it waits for one entry of each
 * other group at most, and ever newer groups cannot starve it.
 */
#ifndef TMB_PIPELINE_FAIR_H
#define TMB_PIPELINE_FAIR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* An entry waits for its turn once in each of the queues, one after the other. */
enum { TMB_FAIR_PREPARE = 0, TMB_FAIR_SPEAK, TMB_FAIR_QUEUES };

typedef struct tmb_fair_group {
    struct tmb_fair_group *next;
    uint64_t id;
    size_t members;
    size_t preparing; /* of them prepared or being prepared, the owner's to count */
    size_t live;      /* of them being spoken or cleaned, the owner's to count */
    size_t queued[TMB_FAIR_QUEUES];
    uint64_t turns[TMB_FAIR_QUEUES];
} tmb_fair_group;

/* Part of what is queued. */
typedef struct tmb_fair_entry {
    struct tmb_fair_entry *previous, *next;
    tmb_fair_group *group;
    int priority;
} tmb_fair_entry;

typedef struct tmb_fair_queue {
    int kind; /* TMB_FAIR_PREPARE or TMB_FAIR_SPEAK */
    tmb_fair_entry *first, *last;
    size_t count;
    uint64_t now; /* the turn being served */
} tmb_fair_queue;

/* The group `id` of the list *groups, made if it is new; NULL when out of memory. One member more. */
tmb_fair_group *tmb_fair_join(tmb_fair_group **groups, uint64_t id);
/* One member less; the last one out frees it. */
void tmb_fair_leave(tmb_fair_group **groups, tmb_fair_group *group);

void tmb_fair_push(tmb_fair_queue *queue, tmb_fair_entry *entry);
/* Gives back an entry whose turn came and could not be used: it is the first one again. */
void tmb_fair_return(tmb_fair_queue *queue, tmb_fair_entry *entry);
/* Takes an entry out without a turn (it was cancelled). */
void tmb_fair_remove(tmb_fair_queue *queue, tmb_fair_entry *entry);
/* Takes out whose turn it is among those that `eligible` (NULL: all) accepts; NULL if there is none. */
tmb_fair_entry *tmb_fair_take(tmb_fair_queue *queue, bool (*eligible)(tmb_fair_entry *entry, void *user), void *user);

#endif
