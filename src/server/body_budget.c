#include "server/body_budget.h"

#include "base/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct account {
    struct account *next;
    uint64_t bytes; /* never 0 */
    char client[];
} account;

struct tmb_body_budget {
    pthread_mutex_t lock;
    uint64_t maximum, share, used;
    account *first; /* only clients that have something: no more than requests under way */
};

tmb_body_budget *tmb_body_budget_create(uint64_t bytes) {
    tmb_body_budget *budget = tmb_calloc(1, sizeof *budget);
    if (budget != NULL) {
        (void)pthread_mutex_init(&budget->lock, NULL);
        budget->maximum = bytes;
        budget->share = bytes - bytes / 4;
    }
    return budget;
}

void tmb_body_budget_destroy(tmb_body_budget **budget) {
    tmb_body_budget *ending = *budget;
    *budget = NULL;
    if (ending == NULL) {
        return;
    }
    while (ending->first != NULL) {
        account *next = ending->first->next;
        free(ending->first);
        ending->first = next;
    }
    (void)pthread_mutex_destroy(&ending->lock);
    free(ending);
}

static account **find(tmb_body_budget *budget, const char *client) {
    account **at = &budget->first;
    while (*at != NULL && strcmp((*at)->client, client) != 0) {
        at = &(*at)->next;
    }
    return at;
}

static account *add(tmb_body_budget *budget, const char *client) {
    size_t size = strlen(client) + 1;
    account *added = tmb_calloc(1, sizeof *added + size);
    if (added != NULL) {
        memcpy(added->client, client, size);
        added->next = budget->first;
        budget->first = added;
    }
    return added;
}

tmb_body_budget_answer tmb_body_budget_take(tmb_body_budget *budget, const char *client, uint64_t bytes) {
    if (!bytes) {
        return TMB_BODY_BUDGET_GRANTED;
    }
    tmb_body_budget_answer answer = TMB_BODY_BUDGET_GRANTED;
    (void)pthread_mutex_lock(&budget->lock);
    account *at = *find(budget, client);
    uint64_t held = at != NULL ? at->bytes : 0;
    if (bytes > budget->maximum - budget->used) {
        answer = TMB_BODY_BUDGET_FULL;
    } else if (bytes > budget->share || held > budget->share - bytes) {
        answer = TMB_BODY_BUDGET_SHARE;
    } else {
        at = at != NULL ? at : add(budget, client);
        if (at != NULL) {
            at->bytes += bytes;
            budget->used += bytes;
        } else {
            answer = TMB_BODY_BUDGET_FULL;
        }
    }
    (void)pthread_mutex_unlock(&budget->lock);
    return answer;
}

void tmb_body_budget_give_back(tmb_body_budget *budget, const char *client, uint64_t bytes) {
    if (!bytes) {
        return;
    }
    (void)pthread_mutex_lock(&budget->lock);
    account **at = find(budget, client);
    account *found = *at;
    if (found != NULL) {
        found->bytes -= bytes;
        budget->used -= bytes;
        if (!found->bytes) {
            *at = found->next;
            free(found);
        }
    }
    (void)pthread_mutex_unlock(&budget->lock);
}

uint64_t tmb_body_budget_used(tmb_body_budget *budget) {
    (void)pthread_mutex_lock(&budget->lock);
    uint64_t used = budget->used;
    (void)pthread_mutex_unlock(&budget->lock);
    return used;
}
