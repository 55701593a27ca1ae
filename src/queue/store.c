/* What callers of the store call: each function is one of an implementation's operations. */
#include "queue/store.h"

#include "base/error.h"
#include "queue/jobs.h"
#include "queue/redis/store.h"
#include "queue/sqlite/sqlite.h"
#include "queue/voices.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

tmb_status tmb_store_open(const char *folder, const tmb_store_options *options, tmb_logger *logger, tmb_store **out,
                          tmb_error *error) {
    if (options->queue == NULL || !options->queue[0]) {
        return tmb_sqlite_open(folder, options, logger, out, error);
    }
#ifdef TMB_REDIS
    return tmb_redis_store_open(folder, options, logger, out, error);
#else
    return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "this timbre was built without Redis (hiredis)");
#endif
}

bool tmb_store_can_share(void) {
#ifdef TMB_REDIS
    return true;
#else
    return false;
#endif
}

bool tmb_store_is_shared(const tmb_store *store) { return store->operations->measure != NULL; }

bool tmb_store_measure(tmb_store *store, tmb_store_figures *out) {
    return store->operations->measure != NULL && store->operations->measure(store, out);
}

void tmb_store_close(tmb_store **store) {
    tmb_store *closing = *store;
    *store = NULL;
    if (closing != NULL) {
        closing->operations->close(closing);
    }
}

bool tmb_store_expire(tmb_store *store) { return store->operations->expire(store); }
uint64_t tmb_store_bytes(tmb_store *store) { return store->operations->bytes(store); }
bool tmb_store_temporary_path(tmb_store *store, char path[TMB_STORE_PATH]) {
    return store->operations->temporary_path(store, path);
}
bool tmb_store_book(tmb_store *store, uint64_t bytes) { return store->operations->book(store, bytes); }
void tmb_store_unbook(tmb_store *store, uint64_t bytes) { store->operations->unbook(store, bytes); }

tmb_store_status tmb_store_errno(tmb_store *store, const char *what) {
    int code = errno;
    if (code == ENOSPC || code == EDQUOT || code == EFBIG) {
        return TMB_STORE_NO_SPACE;
    }
    if (code == ENOENT) {
        return TMB_STORE_NOT_FOUND;
    }
    tmb_log(store->logger, TMB_LOG_ERROR, "%s: %s", what, strerror(code));
    return code == EMFILE || code == ENFILE || code == ENOMEM ? TMB_STORE_BUSY : TMB_STORE_FAILED;
}

/* ---- Files ---- */

tmb_store_status tmb_store_file_adopt(tmb_store *store, const char *path, tmb_file_info *info) {
    tmb_store_status status = store->blobs->adopt(store, path, false, 0, info);
    if (status != TMB_STORE_OK) {
        (void)unlink(path);
    }
    return status;
}

tmb_store_status tmb_store_result_adopt(tmb_store *store, const char *path, tmb_file_info *info) {
    return store->blobs->adopt(store, path, true, 0, info);
}

tmb_store_status tmb_store_file_open(tmb_store *store, const char *id, int *descriptor, tmb_file_info *info) {
    return store->blobs->open(store, id, descriptor, info);
}

tmb_store_status tmb_store_file_remove(tmb_store *store, const char *id) { return store->blobs->remove(store, id); }

/* ---- Voices ---- */

void tmb_voice_info_free(tmb_voice_info *info) {
    free(info->ref_text);
    info->ref_text = NULL;
}

void tmb_voice_list_free(tmb_voice_info *voices, size_t count) {
    for (size_t i = 0; i < count; i++) {
        tmb_voice_info_free(&voices[i]);
    }
    free(voices);
}

tmb_store_status tmb_store_voice_get(tmb_store *store, const char *name, int *descriptor, tmb_voice_info *info) {
    return store->voices->get(store, name, descriptor, info);
}

tmb_store_status tmb_store_voice_remove(tmb_store *store, const char *name, const char *id) {
    return store->voices->remove(store, name, id);
}

tmb_store_status tmb_store_voice_list(tmb_store *store, tmb_voice_info **out, size_t *count) {
    return store->voices->list(store, out, count);
}

tmb_store_status tmb_store_prepared_keep(tmb_store *store, const tmb_voice_info *info, const char *model,
                                         const char *path) {
    return store->voices->prepared_keep(store, info, model, path);
}

tmb_store_status tmb_store_prepared_open(tmb_store *store, const tmb_voice_info *info, const char *model,
                                         int *descriptor) {
    return store->voices->prepared_open(store, info, model, descriptor);
}

void tmb_store_prepared_drop(tmb_store *store, const tmb_voice_info *info, const char *model) {
    store->voices->prepared_drop(store, info, model);
}

bool tmb_store_prepared_exists(tmb_store *store, const tmb_voice_info *info, const char *model) {
    return store->voices->prepared_exists(store, info, model);
}

/* ---- Jobs ---- */

void tmb_item_list_free(tmb_job_item *items, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(items[i].request);
        free(items[i].result);
    }
    free(items);
}

tmb_store_status tmb_store_job_add(tmb_store *store, const tmb_new_job *job, tmb_job_info *info) {
    return store->jobs->add(store, job, info);
}

tmb_store_status tmb_store_job_get(tmb_store *store, const char *id, tmb_job_info *info) {
    return store->jobs->get(store, id, info);
}

tmb_store_status tmb_store_job_remove(tmb_store *store, const char *id) { return store->jobs->remove(store, id); }

tmb_store_status tmb_store_job_list(tmb_store *store, size_t limit, tmb_job_info **out, size_t *count) {
    return store->jobs->list(store, limit, out, count);
}

tmb_store_status tmb_store_item_list(tmb_store *store, const char *job, tmb_job_item **out, size_t *count) {
    return store->jobs->items(store, job, out, count);
}

tmb_store_status tmb_store_item_take(tmb_store *store, const tmb_taking *how, tmb_delivery *out) {
    return store->jobs->take(store, how, out);
}

tmb_store_status tmb_store_item_renew(tmb_store *store, const tmb_delivery *delivery, double lease_seconds) {
    return store->jobs->renew(store, delivery, lease_seconds);
}

tmb_store_status tmb_store_item_give_back(tmb_store *store, const tmb_delivery *delivery, bool unable) {
    return store->jobs->give_back(store, delivery, unable);
}

tmb_store_status tmb_store_item_pass_on(tmb_store *store, const tmb_delivery *delivery, uint64_t memory) {
    return store->jobs->pass_on != NULL ? store->jobs->pass_on(store, delivery, memory) : TMB_STORE_FULL;
}

tmb_store_status tmb_store_item_finish(tmb_store *store, const tmb_delivery *delivery, tmb_item_state state,
                                       const char *result, const char *audio) {
    return store->jobs->finish(store, delivery, state, result, audio);
}

tmb_store_status tmb_store_item_bury(tmb_store *store, const tmb_delivery *delivery, const char *result,
                                     const char *reason) {
    return store->jobs->bury != NULL ? store->jobs->bury(store, delivery, result, reason)
                                     : store->jobs->finish(store, delivery, TMB_ITEM_FAILED, result, NULL);
}

tmb_store_status tmb_store_dead_list(tmb_store *store, size_t limit, tmb_dead_letter **out, size_t *count) {
    *out = NULL;
    *count = 0;
    return store->jobs->dead_list != NULL ? store->jobs->dead_list(store, limit, out, count) : TMB_STORE_OK;
}

tmb_store_status tmb_store_dead_end(tmb_store *store, const char *id, bool retry) {
    return store->jobs->dead_end != NULL ? store->jobs->dead_end(store, id, retry) : TMB_STORE_NOT_FOUND;
}

tmb_store_status tmb_store_call_send(tmb_store *store, const tmb_delivery *delivery, const tmb_call_words *words,
                                     tmb_call_audience *audience) {
    return store->jobs->send != NULL ? store->jobs->send(store, delivery, words, audience) : TMB_STORE_NOT_FOUND;
}

tmb_store_status tmb_store_calls_listening(tmb_store *store, const char (*jobs)[TMB_STORE_ID], size_t count) {
    return store->jobs->listening != NULL ? store->jobs->listening(store, jobs, count) : TMB_STORE_OK;
}

tmb_store_status tmb_store_call_receive(tmb_store *store, const char *job, tmb_call_place *place, double seconds,
                                        tmb_call_piece *out) {
    return store->jobs->receive != NULL ? store->jobs->receive(store, job, place, seconds, out) : TMB_STORE_NOT_FOUND;
}

tmb_store_status tmb_store_item_counts(tmb_store *store, size_t *queued, size_t *running) {
    return store->jobs->counts(store, queued, running);
}

void tmb_store_watch(tmb_store *store, tmb_job_watch watch, void *user) { store->jobs->watch(store, watch, user); }
