#include "pipeline/fair.h"

#include "base/memory.h"

#include <stdlib.h>

tmb_fair_group *tmb_fair_join(tmb_fair_group **groups, uint64_t id) {
    for (tmb_fair_group *group = *groups; group != NULL; group = group->next) {
        if (group->id == id) {
            group->members++;
            return group;
        }
    }
    tmb_fair_group *group = tmb_calloc(1, sizeof *group);
    if (group != NULL) {
        group->id = id;
        group->members = 1;
        group->next = *groups;
        *groups = group;
    }
    return group;
}

void tmb_fair_leave(tmb_fair_group **groups, tmb_fair_group *group) {
    if (--group->members != 0) {
        return;
    }
    while (*groups != group) {
        groups = &(*groups)->next;
    }
    *groups = group->next;
    free(group);
}

/* Before another one; NULL: as the last. */
static void insert(tmb_fair_queue *queue, tmb_fair_entry *before, tmb_fair_entry *entry) {
    entry->next = before;
    entry->previous = before != NULL ? before->previous : queue->last;
    if (entry->previous != NULL) {
        entry->previous->next = entry;
    } else {
        queue->first = entry;
    }
    if (before != NULL) {
        before->previous = entry;
    } else {
        queue->last = entry;
    }
    queue->count++;
}

void tmb_fair_push(tmb_fair_queue *queue, tmb_fair_entry *entry) {
    tmb_fair_group *group = entry->group;
    /* A new group starts in the next turn; otherwise a stream of new groups would starve the old ones. */
    if (group->queued[queue->kind]++ == 0 && group->turns[queue->kind] <= queue->now) {
        group->turns[queue->kind] = queue->now + 1;
    }
    insert(queue, NULL, entry);
}

void tmb_fair_return(tmb_fair_queue *queue, tmb_fair_entry *entry) {
    entry->group->queued[queue->kind]++;
    entry->group->turns[queue->kind]--; /* that was counted when it was taken */
    insert(queue, queue->first, entry);
}

void tmb_fair_remove(tmb_fair_queue *queue, tmb_fair_entry *entry) {
    if (entry->previous != NULL) {
        entry->previous->next = entry->next;
    } else {
        queue->first = entry->next;
    }
    if (entry->next != NULL) {
        entry->next->previous = entry->previous;
    } else {
        queue->last = entry->previous;
    }
    entry->previous = entry->next = NULL;
    entry->group->queued[queue->kind]--;
    queue->count--;
}

tmb_fair_entry *tmb_fair_take(tmb_fair_queue *queue, bool (*eligible)(tmb_fair_entry *entry, void *user), void *user) {
    tmb_fair_entry *best = NULL;
    for (tmb_fair_entry *entry = queue->first; entry != NULL; entry = entry->next) {
        bool better =
            best == NULL || entry->priority > best->priority ||
            (entry->priority == best->priority && entry->group->turns[queue->kind] < best->group->turns[queue->kind]);
        if (better && (eligible == NULL || eligible(entry, user))) {
            best = entry;
        }
    }
    if (best != NULL) {
        tmb_fair_remove(queue, best);
        queue->now = best->group->turns[queue->kind];
        best->group->turns[queue->kind]++;
    }
    return best;
}
