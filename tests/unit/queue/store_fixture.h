/* A store in a folder of its own. */
#ifndef TMB_STORE_FIXTURE_H
#define TMB_STORE_FIXTURE_H

#include "queue/jobs.h"
#include "queue/voices.h"

typedef struct fixture {
    char folder[64];
    tmb_logger logger;
    tmb_store *store;
} fixture;

/* Nothing expires, nothing is too large. */
extern const tmb_store_options roomy;

int setup(void **state);
int teardown(void **state);
void open_store(fixture *at, const tmb_store_options *options);
void reopen(fixture *at);

void add_voice(fixture *at, const char *name, const char *bytes);
/* A complete file in tmp/. */
void write_temporary(fixture *at, const char *bytes, char path[TMB_STORE_PATH]);
size_t count_entries(fixture *at, const char *folder);

#endif
