/* What the parts of the shared store have in common. Every change is one script, so it happens as a whole or not at
 * all, and every script may be asked twice. docs/internals/queue.md has the keys. */
#ifndef TMB_QUEUE_REDIS_SHARED_H
#define TMB_QUEUE_REDIS_SHARED_H

#include "queue/contents/contents.h"
#include "queue/jobs.h"
#include "queue/redis/redis.h"
#include "queue/voices.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct tmb_shared {
    tmb_store base; /* first */
    tmb_redis *redis;
    tmb_redis_address address;
    tmb_contents *contents;
    uint64_t max_bytes;
    double file_seconds, job_seconds, lease_seconds, patience_seconds;
    size_t max_jobs;
    char *labels; /* with commas between, without spaces around them */
    char consumer[TMB_STORE_ID];
    char question[TMB_STORE_ID]; /* of the worker's thread: for an item, as long as there is no answer; or "" */
    _Atomic(uint64_t) spooled;   /* bytes in `spool` */
    char spool[4096];            /* a folder of this process alone */
    int spool_lock;
    pthread_mutex_t watch_lock; /* of `watch` and `watch_user` */
    tmb_job_watch watch;
    void *watch_user;
    pthread_t listener;
    atomic_bool listening, ending;
    pthread_mutex_t left_lock; /* of `left` */
    tmb_arguments left;        /* needs that were left to others, and told */
} tmb_shared;

static inline tmb_shared *tmb_shared_of(tmb_store *base) { return (tmb_shared *)base; }

extern const tmb_blob_operations tmb_shared_blobs;
extern const tmb_voice_operations tmb_shared_voices;
extern const tmb_job_operations tmb_shared_jobs;

/* items.c */
tmb_store_status tmb_shared_take(tmb_store *base, const tmb_taking *how, tmb_delivery *out);
tmb_store_status tmb_shared_renew(tmb_store *base, const tmb_delivery *delivery, double lease_seconds);
tmb_store_status tmb_shared_give_back(tmb_store *base, const tmb_delivery *delivery, bool unable);
tmb_store_status tmb_shared_pass_on(tmb_store *base, const tmb_delivery *delivery, uint64_t memory);
tmb_store_status tmb_shared_finish(tmb_store *base, const tmb_delivery *delivery, tmb_item_state state,
                                   const char *result, const char *audio);
tmb_store_status tmb_shared_bury(tmb_store *base, const tmb_delivery *delivery, const char *result, const char *reason);
tmb_store_status tmb_shared_dead_list(tmb_store *base, size_t limit, tmb_dead_letter **out, size_t *count);
tmb_store_status tmb_shared_dead_end(tmb_store *base, const char *id, bool retry);
tmb_store_status tmb_shared_send(tmb_store *base, const tmb_delivery *delivery, const tmb_call_words *words,
                                 tmb_call_audience *audience);
tmb_store_status tmb_shared_listening(tmb_store *base, const char (*jobs)[TMB_STORE_ID], size_t count);
tmb_store_status tmb_shared_receive(tmb_store *base, const char *job, tmb_call_place *place, double seconds,
                                    tmb_call_piece *out);

/* watch.c */
void tmb_shared_watch(tmb_store *base, tmb_job_watch watch, void *user);
tmb_status tmb_shared_listen(tmb_shared *store, tmb_error *error);
void tmb_shared_stop_listening(tmb_shared *store);

/* spool.c: the folder of what is being written. */
tmb_status tmb_shared_spool_open(tmb_shared *store, const char *folder, tmb_error *error);
void tmb_shared_spool_close(tmb_shared *store);
bool tmb_shared_temporary_path(tmb_store *base, char path[TMB_STORE_PATH]);
bool tmb_shared_book(tmb_store *base, uint64_t bytes);
void tmb_shared_unbook(tmb_store *base, uint64_t bytes);

/* files.c */
/* Stores the bytes of a file and has `script` with `arguments`, which it frees, say what they belong to; tries again
 * as long as somebody is deleting the same content. The reply is the caller's. */
tmb_store_status tmb_shared_put(tmb_shared *store, const char *path, const char *sum, uint64_t bytes,
                                tmb_redis_script script, tmb_arguments *arguments, redisReply **reply);
/* Deletes the contents that a script's reply names from element `first` on, unless somebody refers to them again or is
 * deleting them. The sweep comes back to what is left: at `end` (of tmb_now's clock) the rest; false: one cannot be
 * deleted now, and those behind it were not tried. */
bool tmb_shared_delete(tmb_shared *store, const redisReply *reply, size_t first, double end);
tmb_store_status tmb_shared_open_content(tmb_shared *store, const char *sum, uint64_t bytes, int *descriptor);
/* Whether Redis has so little memory left that nothing new should come. */
tmb_store_status tmb_shared_check_room(tmb_shared *store, size_t bytes);

/* place.c: finds out where the queue has its contents, or says so if nobody has yet, and opens that place.
 * TMB_ERROR_ARGUMENT: `blobs` (NULL or "": Redis) is another one, in which nothing was changed. */
tmb_status tmb_shared_open_place(tmb_shared *store, const char *blobs, tmb_error *error);

/* contents.c: bytes in Redis itself, for few and small files. */
tmb_status tmb_contents_redis(tmb_redis *redis, double seconds, tmb_logger *logger, tmb_contents **out,
                              tmb_error *error);

#endif
