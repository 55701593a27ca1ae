/* Commands and scripts on a Redis server, from any thread: connections are made when they are needed and kept for the
 * next one. A connection that breaks is made anew, with growing waits in between, until the command's time is over; so
 * a command may have run although nobody got its answer, and everything that is asked here may be asked twice. */
#ifndef TMB_QUEUE_REDIS_REDIS_H
#define TMB_QUEUE_REDIS_REDIS_H

#include "base/log.h"
#include "queue/redis/scripts.h"
#include "queue/redis/wire.h"
#include "queue/store.h"

typedef struct tmb_redis tmb_redis;

tmb_status tmb_redis_open(const tmb_redis_address *address, tmb_logger *logger, tmb_redis **out, tmb_error *error);
void tmb_redis_close(tmb_redis **redis);
/* Whether the last command did not reach the server. */
bool tmb_redis_is_away(tmb_redis *redis);

/* Arguments that grow; freed by whatever they are given to. */
typedef struct tmb_arguments {
    char **values;
    size_t *sizes;
    int count, capacity;
    bool failed; /* out of memory */
} tmb_arguments;

void tmb_arguments_add(tmb_arguments *arguments, const void *data, size_t size);
void tmb_arguments_text(tmb_arguments *arguments, const char *text);
void tmb_arguments_integer(tmb_arguments *arguments, int64_t value);
void tmb_arguments_real(tmb_arguments *arguments, double value);
void tmb_arguments_free(tmb_arguments *arguments);

/* Runs a command and frees its arguments. *reply (freed by tmb_reply_free) is never an error reply: that is
 * TMB_STORE_NO_SPACE if Redis has no memory left, TMB_STORE_BUSY if it cannot be reached or is not ready, and
 * TMB_STORE_FAILED otherwise, logged. */
tmb_store_status tmb_redis_command(tmb_redis *redis, tmb_arguments *arguments, redisReply **reply);
/* The same for a script; the arguments are its own. */
tmb_store_status tmb_redis_eval(tmb_redis *redis, tmb_redis_script script, tmb_arguments *arguments,
                                redisReply **reply);
/* Arguments from `types`: 's' const char * (NULL is ""), 'i' int64_t, 'd' double. */
tmb_store_status tmb_redis_run(tmb_redis *redis, tmb_redis_script script, redisReply **reply, const char *types, ...);

/* Fills arguments from `types` as tmb_redis_run. */
void tmb_arguments_list(tmb_arguments *arguments, const char *types, ...);

/* ---- Replies, whatever they are -------------------------------------------------------------- */

/* *reply may be NULL, and is afterwards. */
void tmb_reply_free(redisReply **reply);
/* The element of an array, or NULL. */
const redisReply *tmb_reply_at(const redisReply *reply, size_t index);
/* Its text, or `otherwise`. */
const char *tmb_reply_text(const redisReply *reply, const char *otherwise);
double tmb_reply_real(const redisReply *reply);
int64_t tmb_reply_integer(const redisReply *reply);
/* "OK", "NOT_FOUND", ... as the reply, or the first element, says. */
tmb_store_status tmb_reply_status(const redisReply *reply);

/* Used and allowed memory in bytes (allowed 0: no limit), and whether nothing is ever evicted. */
tmb_store_status tmb_redis_memory(tmb_redis *redis, uint64_t *used, uint64_t *allowed, bool *keeps_all);

/* The prefix of every key. */
#define TMB_REDIS_PREFIX "{timbre}:"

#endif
