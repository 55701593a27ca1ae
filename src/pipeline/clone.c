/* The public calls that start, stop and await clone items, and that save voices. */
#include "pipeline/route.h"
#include "pipeline/scheduler.h"

#include "base/error.h"
#include "base/file.h"

#include <stdlib.h>
#include <string.h>

/* Finds the model that speaks. */
static tmb_status place(tmb_context *context, tmb_scheduler *scheduler, tmb_item *item, tmb_error *error) {
    size_t index = 0;
    tmb_status status = tmb_route(context, &item->request, &index, error);
    if (status == TMB_OK) {
        item->lane = tmb_scheduler_lane(scheduler, index);
        status = tmb_context_check_language(context, index, item->request.public.language, error);
    }
    return status;
}

tmb_status tmb_clone_submit(tmb_context *context, const tmb_clone_request *request,
                            const tmb_clone_callbacks *callbacks, uint64_t *number, tmb_error *error) {
    tmb_scheduler *scheduler = NULL;
    tmb_item *item = NULL;
    tmb_status status = tmb_context_scheduler(context, &scheduler, error);
    if (status == TMB_OK) {
        status = tmb_item_create(scheduler, tmb_scheduler_host(scheduler), request, callbacks, true, &item, error);
    }
    if (status == TMB_OK) {
        status = place(context, scheduler, item, error);
        if (status != TMB_OK) {
            tmb_item_release(&item);
        }
    }
    return status != TMB_OK ? status : tmb_scheduler_submit(scheduler, item, number, error);
}

void tmb_clone_cancel(tmb_context *context, uint64_t number) {
    (void)pthread_mutex_lock(&context->lock);
    tmb_scheduler *scheduler = context->scheduler;
    (void)pthread_mutex_unlock(&context->lock);
    if (scheduler != NULL) {
        tmb_scheduler_cancel(scheduler, number);
    }
}

void tmb_clone_wait(tmb_context *context) {
    (void)pthread_mutex_lock(&context->lock);
    tmb_scheduler *scheduler = context->scheduler;
    (void)pthread_mutex_unlock(&context->lock);
    if (scheduler != NULL) {
        tmb_scheduler_wait(scheduler);
    }
}

/* What a call to tmb_voice_save waits for. */
typedef struct saved_voice {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool over;
    tmb_error error;
    tmb_reference_info reference;
    void *data;
    size_t size;
} saved_voice;

static void serialize(void *user, const tmb_engine_operations *operations, tmb_voice *voice,
                      const tmb_reference_info *reference, const tmb_error *error) {
    saved_voice *saved = user;
    if (reference != NULL) {
        saved->reference = *reference;
    }
    tmb_error failure = *error;
    if (voice != NULL && operations->voice_serialize == NULL) {
        (void)tmb_fail(&failure, TMB_ERROR_UNSUPPORTED, "the %s engine has no voices to save: use qwen3",
                       operations->name);
    } else if (voice != NULL) {
        (void)operations->voice_serialize(voice, &saved->data, &saved->size, &failure);
    }
    (void)pthread_mutex_lock(&saved->lock);
    saved->error = failure;
    saved->over = true;
    (void)pthread_cond_signal(&saved->changed);
    (void)pthread_mutex_unlock(&saved->lock);
}

tmb_status tmb_voice_save(tmb_context *context, const tmb_clone_request *request, const char *path, tmb_error *error) {
    return tmb_voice_create(context, request, path, NULL, error);
}

tmb_status tmb_voice_create(tmb_context *context, const tmb_clone_request *request, const char *path,
                            tmb_reference_info *reference, tmb_error *error) {
    tmb_scheduler *scheduler = NULL;
    tmb_item *item = NULL;
    tmb_status status = tmb_context_scheduler(context, &scheduler, error);
    if (status == TMB_OK) {
        status = tmb_item_create(scheduler, tmb_scheduler_host(scheduler), request, NULL, false, &item, error);
    }
    if (status != TMB_OK) {
        return status;
    }
    status = item->request.source == TMB_SOURCE_NONE
                 ? tmb_fail_field(error, TMB_ERROR_ARGUMENT, "ref_audio", "a voice is made from a recording")
                 : place(context, scheduler, item, error);
    if (status != TMB_OK) {
        tmb_item_release(&item);
        return status;
    }
    saved_voice saved = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    item->voice_sink = serialize;
    item->voice_user = &saved;
    status = tmb_scheduler_submit(scheduler, item, NULL, error);
    if (status != TMB_OK) {
        return status;
    }
    (void)pthread_mutex_lock(&saved.lock);
    while (!saved.over) {
        (void)pthread_cond_wait(&saved.changed, &saved.lock);
    }
    (void)pthread_mutex_unlock(&saved.lock);
    if (reference != NULL) {
        *reference = saved.reference;
    }
    if (saved.error.status != TMB_OK) {
        if (error != NULL) {
            *error = saved.error;
        }
        free(saved.data);
        return saved.error.status;
    }
    status = tmb_file_write(path, saved.data, saved.size, error);
    free(saved.data);
    return status;
}
