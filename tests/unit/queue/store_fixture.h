/* A store in a folder of its own. */
#ifndef TMB_STORE_FIXTURE_H
#define TMB_STORE_FIXTURE_H

#include "queue/jobs.h"
#include "queue/voices.h"

/* Which store the tests are run on: "sqlite" at first, "redis" (files in Redis), "redis-folder". Starts a Redis server;
 * 77, for a test that is left out, if there is none. */
int choose_store(const char *name);
bool is_shared(void);
int stop_redis(void **state);
/* The server's socket, and a command line for redis-cli; the output is dropped. */
const char *redis_socket(void);
void redis_cli(const char *arguments);
/* Kills the server, starts it again on the same folder. */
void kill_redis(void);
void start_redis(void);
/* Stops the server without ending it, and lets it go on. */
void hold_redis(bool hold);

typedef struct fixture {
    char folder[64];
    tmb_logger logger;
    tmb_store *store;
    char queue[300]; /* URL, or "" */
    const char *labels;
} fixture;

/* Nothing expires, nothing is too large. */
extern const tmb_store_options roomy;

int setup(void **state);
/* As `setup`, with a shared store that reaches its server by this port. */
int setup_at(void **state, int port);
int teardown(void **state);
void open_store(fixture *at, const tmb_store_options *options);
void reopen(fixture *at);
/* Another worker at the same queue; the caller closes it. */
tmb_store *second_worker(fixture *at, double patience);
/* What is next, which there is; the caller frees its request. */
tmb_delivery take_one(fixture *at);

void add_voice(fixture *at, const char *name, const char *bytes);
/* A complete file in tmp/. */
void write_temporary(fixture *at, const char *bytes, char path[TMB_STORE_PATH]);
size_t count_entries(fixture *at, const char *folder);
/* Files that the store has the bytes of. */
size_t count_contents(fixture *at);

#endif
