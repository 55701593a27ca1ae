/* Events from other processes: a thread with a connection of its own that listens. An event may get lost while the
 * connection is down, so after each new one there might be work; and a cancellation is seen at the next renewal. */
#include "base/error.h"
#include "base/thread.h"
#include "queue/redis/shared.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static const double connect_seconds = 3;
static const double slice_seconds = 0.1;  /* how soon the thread sees that it is to end */
static const double silence_seconds = 10; /* after which it asks whether anybody is there */

static void tell(tmb_shared *store, tmb_job_event event, const char *job) {
    (void)pthread_mutex_lock(&store->watch_lock);
    if (store->watch != NULL) {
        store->watch(store->watch_user, event, job);
    }
    (void)pthread_mutex_unlock(&store->watch_lock);
}

void tmb_shared_watch(tmb_store *base, tmb_job_watch watch, void *user) {
    tmb_shared *store = tmb_shared_of(base);
    (void)pthread_mutex_lock(&store->watch_lock);
    store->watch = watch;
    store->watch_user = user;
    (void)pthread_mutex_unlock(&store->watch_lock);
}

/* ["message", channel, "work ID"] */
static void take_message(tmb_shared *store, const redisReply *reply) {
    const char *kind = tmb_reply_text(tmb_reply_at(reply, 0), "");
    const char *text = tmb_reply_text(tmb_reply_at(reply, 2), "");
    if (strcmp(kind, "message") != 0) {
        return;
    }
    if (strncmp(text, "work ", 5) == 0) {
        tell(store, TMB_JOB_WORK, text + 5);
    } else if (strncmp(text, "removed ", 8) == 0) {
        tell(store, TMB_JOB_REMOVED, text + 8);
    }
}

static tmb_status say(tmb_redis_wire *wire, const char *command, const char *argument, tmb_error *error) {
    const char *values[] = {command, argument};
    size_t sizes[] = {strlen(command), strlen(argument)};
    return tmb_redis_wire_send(wire, 2, values, sizes, connect_seconds, error);
}

/* Until the connection breaks or the store closes. */
static void listen_on(tmb_shared *store, tmb_redis_wire *wire) {
    tmb_error error = {.status = TMB_OK};
    double heard = tmb_now();
    bool asked = false;
    tmb_status status = say(wire, "SUBSCRIBE", TMB_REDIS_PREFIX "events", &error);
    while (status == TMB_OK && !atomic_load(&store->ending)) {
        redisReply *reply = NULL;
        status = tmb_redis_wire_receive(wire, slice_seconds, &reply, &error);
        if (status == TMB_OK) {
            heard = tmb_now();
            asked = false;
            if (strcmp(tmb_reply_text(tmb_reply_at(reply, 0), ""), "subscribe") == 0) {
                atomic_store(&store->listening, true);
                tell(store, TMB_JOB_WORK, "");
            }
            take_message(store, reply);
            freeReplyObject(reply);
        } else if (status == TMB_ERROR_TIMEOUT) {
            double silence = tmb_now() - heard;
            status = silence > 2 * silence_seconds ? TMB_ERROR_IO : TMB_OK;
            if (status == TMB_OK && silence > silence_seconds && !asked) {
                asked = true;
                status = say(wire, "PING", "there", &error);
            }
        }
    }
    atomic_store(&store->listening, false);
}

static void *listen_loop(void *argument) {
    tmb_shared *store = argument;
    double wait = 0.05;
    (void)pthread_setname_np(pthread_self(), "tmb-events");
    while (!atomic_load(&store->ending)) {
        tmb_redis_wire *wire = NULL;
        tmb_error error;
        if (tmb_redis_wire_open(&store->address, connect_seconds, &wire, &error) == TMB_OK) {
            double begun = tmb_now();
            listen_on(store, wire);
            tmb_redis_wire_close(&wire);
            wait = tmb_now() - begun > 1 ? 0.05 : wait;
        }
        unsigned char random = 128;
        (void)tmb_random_bytes(&random, 1);
        double end = tmb_now() + wait * (0.5 + random / 255.0);
        while (tmb_now() < end && !atomic_load(&store->ending)) {
            (void)nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
        }
        wait = wait < 1 ? 2 * wait : 2;
    }
    return NULL;
}

tmb_status tmb_shared_listen(tmb_shared *store, tmb_error *error) {
    return pthread_create(&store->listener, NULL, listen_loop, store)
               ? tmb_fail(error, TMB_ERROR_MEMORY, "cannot start the thread that listens to the queue")
               : TMB_OK;
}

void tmb_shared_stop_listening(tmb_shared *store) {
    if (store->listener) {
        atomic_store(&store->ending, true);
        (void)pthread_join(store->listener, NULL);
        store->listener = 0;
    }
}
