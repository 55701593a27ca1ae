/* Memory for the bodies of requests, shared among clients. */
#ifndef TMB_SERVER_BODY_BUDGET_H
#define TMB_SERVER_BODY_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

typedef struct tmb_body_budget tmb_body_budget;

typedef enum tmb_body_budget_answer {
    TMB_BODY_BUDGET_GRANTED,
    TMB_BODY_BUDGET_FULL, /* all clients together have too much */
    TMB_BODY_BUDGET_SHARE /* this client has three quarters of it already */
} tmb_body_budget_answer;

/* NULL if there is no memory. */
tmb_body_budget *tmb_body_budget_create(uint64_t bytes);
void tmb_body_budget_destroy(tmb_body_budget **budget);

/* Books `bytes` for a client, which is any text, or refuses. Any thread may call. */
tmb_body_budget_answer tmb_body_budget_take(tmb_body_budget *budget, const char *client, uint64_t bytes);
void tmb_body_budget_give_back(tmb_body_budget *budget, const char *client, uint64_t bytes);
uint64_t tmb_body_budget_used(tmb_body_budget *budget);

#endif
