#include "server/pull.h"

#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"
#include "server/json_text.h"
#include "server/state.h"

#include <stdlib.h>
#include <string.h>

struct tmb_puller {
    tmb_server *server;
    tmb_pool *pool; /* one thread */
    atomic_bool stop;
    pthread_mutex_t lock;
    const char *state; /* NULL: nothing was asked for */
    char name[64], file[256];
    uint64_t done, total;
    tmb_error error;
};

tmb_status tmb_puller_create(tmb_server *server, tmb_puller **out, tmb_error *error) {
    tmb_puller *puller = tmb_calloc(1, sizeof *puller);
    *out = NULL;
    if (puller == NULL) {
        return tmb_fail_memory(error, "the downloads", sizeof *puller);
    }
    puller->server = server;
    (void)pthread_mutex_init(&puller->lock, NULL);
    tmb_status status = tmb_pool_create("tmb-pull", 1, 0, &puller->pool, error);
    if (status != TMB_OK) {
        tmb_puller_destroy(&puller);
        return status;
    }
    *out = puller;
    return TMB_OK;
}

void tmb_puller_destroy(tmb_puller **puller_address) {
    tmb_puller *puller = *puller_address;
    if (puller == NULL) {
        return;
    }
    *puller_address = NULL;
    atomic_store(&puller->stop, true);
    tmb_pool_destroy(&puller->pool);
    (void)pthread_mutex_destroy(&puller->lock);
    free(puller);
}

static bool on_progress(void *user, const tmb_pull_progress *progress) {
    tmb_puller *puller = user;
    (void)pthread_mutex_lock(&puller->lock);
    (void)snprintf(puller->file, sizeof puller->file, "%s", progress->file != NULL ? progress->file : "");
    puller->done = progress->all_done;
    puller->total = progress->all_total;
    (void)pthread_mutex_unlock(&puller->lock);
    return !atomic_load(&puller->stop) && !atomic_load(&puller->server->draining);
}

static void on_note(void *user, const char *line) {
    const tmb_puller *puller = user;
    tmb_log(&puller->server->logger, TMB_LOG_INFO, "pull: %s", line);
}

static void run(void *argument) {
    tmb_puller *puller = argument;
    tmb_pull_request request;
    tmb_error error = {.status = TMB_OK};
    tmb_pull_request_default(&request);
    request.name = puller->name; /* it stays as long as this runs */
    request.progress = on_progress;
    request.note = on_note;
    request.user = puller;
    tmb_status status = tmb_pull_model_with(&request, &error);
    if (status != TMB_OK) {
        tmb_log(&puller->server->logger, TMB_LOG_WARNING, "pull: %s: %s", puller->name, error.message);
    }
    (void)pthread_mutex_lock(&puller->lock);
    puller->error = error;
    puller->state = status == TMB_OK ? "done" : status == TMB_ERROR_CANCELLED ? "stopped" : "failed";
    (void)pthread_mutex_unlock(&puller->lock);
}

tmb_status tmb_puller_start(tmb_puller *puller, const char *name, tmb_error *error) {
    tmb_status status = TMB_OK;
    (void)pthread_mutex_lock(&puller->lock);
    if (puller->state != NULL && strcmp(puller->state, "running") == 0) {
        status = tmb_fail(error, TMB_ERROR_LIMIT, "%s is being downloaded already", puller->name);
    } else {
        (void)snprintf(puller->name, sizeof puller->name, "%s", name);
        puller->state = "running";
        puller->file[0] = 0;
        puller->done = puller->total = 0;
        puller->error = (tmb_error){.status = TMB_OK};
        atomic_store(&puller->stop, false);
    }
    (void)pthread_mutex_unlock(&puller->lock);
    return status == TMB_OK ? tmb_pool_submit(puller->pool, run, puller, error) : status;
}

void tmb_puller_stop(tmb_puller *puller) { atomic_store(&puller->stop, true); }

json_t *tmb_puller_json(tmb_puller *puller) {
    json_t *out = json_null();
    (void)pthread_mutex_lock(&puller->lock);
    if (puller->state != NULL) {
        out = json_pack("{s:s, s:s, s:o, s:I, s:I, s:o}", "name", puller->name, "state", puller->state, "file",
                        puller->file[0] ? tmb_json_text(puller->file) : json_null(), "done", (json_int_t)puller->done,
                        "total", (json_int_t)puller->total, "error",
                        strcmp(puller->state, "failed") == 0 ? tmb_json_text(puller->error.message) : json_null());
    }
    (void)pthread_mutex_unlock(&puller->lock);
    return out;
}
