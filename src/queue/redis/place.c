/* All servers and workers of a queue must have their contents in the same place: audio that one stores elsewhere is out
 * of reach for the others. The first one says where it is; whoever comes later with another place is refused. */
#include "base/error.h"
#include "base/thread.h"
#include "queue/redis/shared.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* How long a start waits for another one that is just saying where the place is. */
static const double patience_seconds = 20;

typedef struct known_place {
    char identity[TMB_STORE_ID]; /* "": nobody has said it */
    char name[200];              /* as the first one called it; "": Redis */
} known_place;

/* TMB_STORE_NOT_FOUND: nobody has said it, and now it is the caller's turn to do so. TMB_STORE_BUSY: it is another's
 * turn, or Redis cannot be asked. */
static tmb_store_status ask(tmb_shared *store, const char *token, const char *identity, const char *name,
                            known_place *known) {
    redisReply *reply = NULL;
    tmb_store_status status = tmb_redis_run(store->redis, TMB_SCRIPT_PLACE, &reply, "sss", token, identity, name);
    status = status == TMB_STORE_OK ? tmb_reply_status(reply) : status;
    (void)snprintf(known->identity, sizeof known->identity, "%s", tmb_reply_text(tmb_reply_at(reply, 1), ""));
    (void)snprintf(known->name, sizeof known->name, "%s", tmb_reply_text(tmb_reply_at(reply, 2), ""));
    tmb_reply_free(&reply);
    return status;
}

static tmb_status open_contents(tmb_shared *store, const char *blobs, const char *known, tmb_error *error) {
    if (blobs[0] == 0) {
        double longest = store->file_seconds > store->job_seconds ? store->file_seconds : store->job_seconds;
        return tmb_contents_redis(store->redis, longest + 86400, store->base.logger, &store->contents, error);
    }
    if (strncmp(blobs, "s3://", 5) == 0) {
        return tmb_contents_s3(blobs, known, store->base.logger, &store->contents, error);
    }
    return tmb_contents_folder(blobs, known, store->base.logger, &store->contents, error);
}

static tmb_status check(const tmb_shared *store, const char *blobs, const known_place *known, tmb_error *error) {
    if (strcmp(store->contents->identity, known->identity) == 0) {
        return TMB_OK;
    }
    bool named = known->name[0] != 0;
    bool same_name = named && strcmp(known->name, blobs) == 0;
    return tmb_fail(error, TMB_ERROR_ARGUMENT,
                    "%s%.150s: the audio of this queue is elsewhere, in %s%.150s%s; every server and worker needs the "
                    "same place",
                    blobs[0] != 0 ? "--blobs " : "without --blobs", blobs,
                    named ? "what the first server or worker called --blobs " : "Redis itself, without --blobs",
                    known->name, same_name ? " (it may not be mounted here)" : "");
}

/* The first one: the place is made if it is not there. */
static tmb_status settle(tmb_shared *store, const char *token, const char *blobs, known_place *known,
                         tmb_error *error) {
    tmb_status status = open_contents(store, blobs, "", error);
    if (status != TMB_OK) {
        (void)ask(store, token, "-", "", known);
        return status;
    }
    if (ask(store, token, store->contents->identity, blobs, known) != TMB_STORE_OK) {
        return tmb_fail(error, TMB_ERROR_IO, "%s cannot be told where the audio is (see the log)", store->address.name);
    }
    return TMB_OK;
}

tmb_status tmb_shared_open_place(tmb_shared *store, const char *blobs, tmb_error *error) {
    char token[TMB_STORE_ID];
    known_place known;
    double end = tmb_now() + patience_seconds;
    blobs = blobs != NULL ? blobs : "";
    if (!tmb_random_id(token)) {
        return tmb_fail_errno(error, TMB_ERROR_IO, errno, "the place of the audio");
    }
    tmb_store_status found = ask(store, token, "", "", &known);
    while (found == TMB_STORE_BUSY && tmb_now() < end) {
        (void)nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
        found = ask(store, token, "", "", &known);
    }
    if (found == TMB_STORE_BUSY) {
        return tmb_fail(error, TMB_ERROR_IO,
                        "%s does not say where the audio of this queue is, and another server or worker that was to "
                        "say so has not yet: start this one again in a minute",
                        store->address.name);
    }
    if (found != TMB_STORE_OK && found != TMB_STORE_NOT_FOUND) {
        return tmb_fail(error, TMB_ERROR_IO, "%s cannot be asked where the audio is (see the log)",
                        store->address.name);
    }
    tmb_status status = found == TMB_STORE_OK ? open_contents(store, blobs, known.identity, error)
                                              : settle(store, token, blobs, &known, error);
    return status == TMB_OK ? check(store, blobs, &known, error) : status;
}
