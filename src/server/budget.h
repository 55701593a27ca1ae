/* Memory for the bodies of requests, shared among clients. */
#ifndef TMB_SERVER_BUDGET_H
#define TMB_SERVER_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tmb_budget tmb_budget;

typedef enum tmb_budget_answer {
    TMB_BUDGET_GRANTED,
    TMB_BUDGET_FULL, /* all clients together have too much */
    TMB_BUDGET_SHARE /* this client has three quarters of it already */
} tmb_budget_answer;

/* NULL if there is no memory. */
tmb_budget *tmb_budget_create(uint64_t bytes);
void tmb_budget_destroy(tmb_budget **budget);

/* Books `bytes` for a client, which is any text, or refuses. Any thread may call. */
tmb_budget_answer tmb_budget_take(tmb_budget *budget, const char *client, uint64_t bytes);
void tmb_budget_give_back(tmb_budget *budget, const char *client, uint64_t bytes);
uint64_t tmb_budget_used(tmb_budget *budget);

#endif
