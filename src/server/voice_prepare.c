#include "server/voice_prepare.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "server/item.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Voices that wait to be made again. More than that come by when they are used the next time. */
enum { MAXIMUM_WAITING = 64 };

struct tmb_voice_maker {
    tmb_server *server;
    pthread_mutex_t lock;
    char names[MAXIMUM_WAITING][TMB_NAME_SIZE];
    size_t count;
    bool working;
};

tmb_status tmb_voice_maker_create(tmb_server *server, tmb_voice_maker **out, tmb_error *error) {
    tmb_voice_maker *maker = tmb_calloc(1, sizeof *maker);
    *out = maker;
    if (maker == NULL) {
        return tmb_fail_memory(error, "the list of voices", sizeof *maker);
    }
    maker->server = server;
    (void)pthread_mutex_init(&maker->lock, NULL);
    return TMB_OK;
}

void tmb_voice_maker_destroy(tmb_voice_maker **maker) {
    if (*maker != NULL) {
        (void)pthread_mutex_destroy(&(*maker)->lock);
        free(*maker);
        *maker = NULL;
    }
}

char *tmb_voice_model(tmb_server *server, const char *name) {
    const tmb_server_config *config = server->config;
    tmb_clone_request request;
    const tmb_model_description *model = NULL;
    if (server->models.count < 2) {
        return tmb_asprintf("%s|%s|%s", config->engine, config->model, config->precision);
    }
    tmb_clone_request_default(&request);
    request.text = request.ref_audio = "-";
    request.model = name;
    bool clones = tmb_clone_model(server->timbre, &request, &model, NULL) == TMB_OK && model->clones;
    return clones ? tmb_asprintf("%s|%s|%s", model->engine, model->folder != NULL ? model->folder : model->name,
                                 config->precision)
                  : NULL;
}

bool tmb_voice_is_saved(tmb_server *server, const char *name) {
    tmb_clone_request request;
    const tmb_model_description *model = NULL;
    tmb_clone_request_default(&request);
    request.text = request.ref_audio = "-";
    request.model = name;
    return tmb_clone_model(server->timbre, &request, &model, NULL) == TMB_OK && strcmp(model->engine, "qwen3") == 0;
}

const char tmb_voice_measured[] = "reference";

static tmb_store_status keep_measured(tmb_server *server, const tmb_voice_info *voice,
                                      const tmb_reference_info *measured) {
    char path[TMB_STORE_PATH];
    tmb_error error = {.status = TMB_OK};
    char *text = tmb_reference_to_json(measured);
    tmb_store_status status = TMB_STORE_BUSY;
    if (text != NULL && tmb_store_temporary_path(server->store, path) &&
        tmb_file_write(path, text, strlen(text), &error) == TMB_OK) {
        status = tmb_store_prepared_keep(server->store, voice, tmb_voice_measured, path);
    }
    if (status != TMB_STORE_OK) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "what was measured of voice %s is not kept", voice->name);
    }
    tmb_free(text);
    return status;
}

/* Into a temporary file. */
static tmb_status save(tmb_server *server, const tmb_voice_info *voice, int reference, const char *path,
                       tmb_reference_info *measured, tmb_error *error) {
    char from[40];
    tmb_clone_request request;
    (void)snprintf(from, sizeof from, "/proc/self/fd/%d", reference);
    tmb_clone_request_default(&request);
    request.ref_audio = from;
    request.ref_text = voice->ref_text;
    request.x_vector_only = voice->x_vector_only;
    request.run_pre_processing = voice->run_pre_processing;
    request.text = "-";
    return tmb_voice_create(server->timbre, &request, path, measured, error);
}

tmb_status tmb_voice_prepare(tmb_server *server, const tmb_voice_info *voice, tmb_store_status *status,
                             tmb_error *error) {
    char path[TMB_STORE_PATH];
    int reference = -1;
    tmb_voice_info now;
    *status = tmb_store_voice_get(server->store, voice->name, &reference, &now);
    if (*status == TMB_STORE_OK && strcmp(now.id, voice->id) != 0) {
        *status = TMB_STORE_NOT_FOUND; /* another voice has the name by now */
    }
    char *model = tmb_voice_model(server, NULL);
    tmb_status result = TMB_OK;
    if (*status == TMB_STORE_OK && model != NULL && tmb_store_temporary_path(server->store, path)) {
        tmb_reference_info measured = {.duration = 0};
        result = save(server, &now, reference, path, &measured, error);
        if (measured.duration > 0 && measured.usable) {
            (void)keep_measured(server, &now, &measured);
        }
        if (result == TMB_OK) {
            *status = tmb_store_prepared_keep(server->store, &now, model, path);
        } else {
            (void)unlink(path);
        }
    }
    if (reference >= 0) {
        (void)close(reference);
        tmb_voice_info_free(&now);
    }
    free(model);
    if (*status == TMB_STORE_NO_SPACE) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "voice %s is not prepared: there is no room", voice->name);
    }
    if (result == TMB_ERROR_UNSUPPORTED) {
        result = TMB_OK;
    }
    if (result != TMB_OK) {
        tmb_log(&server->logger, TMB_LOG_WARNING, "voice %s is not prepared: %s", voice->name, error->message);
    }
    return result;
}

/* ---- In the background ---- */

static bool next_name(tmb_voice_maker *maker, char name[TMB_NAME_SIZE]) {
    (void)pthread_mutex_lock(&maker->lock);
    bool found = maker->count > 0;
    if (found) {
        memcpy(name, maker->names[--maker->count], TMB_NAME_SIZE);
    }
    maker->working = found;
    (void)pthread_mutex_unlock(&maker->lock);
    return found;
}

static void make_again(void *user) {
    tmb_voice_maker *maker = user;
    tmb_server *server = maker->server;
    char name[TMB_NAME_SIZE];
    while (next_name(maker, name)) {
        tmb_voice_info voice;
        tmb_error error = {.status = TMB_OK};
        tmb_store_status status = TMB_STORE_OK;
        if (!atomic_load(&server->draining) && tmb_store_voice_get(server->store, name, NULL, &voice) == TMB_STORE_OK) {
            tmb_log(&server->logger, TMB_LOG_WARNING, "what was prepared for voice %s cannot be used: it is made again",
                    name);
            (void)tmb_voice_prepare(server, &voice, &status, &error);
            tmb_voice_info_free(&voice);
        }
    }
}

static void add_name(tmb_voice_maker *maker, const char *name) {
    (void)pthread_mutex_lock(&maker->lock);
    bool known = maker->count == MAXIMUM_WAITING || strlen(name) >= sizeof maker->names[0];
    for (size_t i = 0; i < maker->count && !known; i++) {
        known = strcmp(maker->names[i], name) == 0;
    }
    bool begin = !known && !maker->working;
    if (!known) {
        (void)snprintf(maker->names[maker->count++], sizeof maker->names[0], "%s", name);
        maker->working = true;
    }
    (void)pthread_mutex_unlock(&maker->lock);
    if (begin && tmb_pool_submit(maker->server->slow, make_again, maker, NULL) != TMB_OK) {
        (void)pthread_mutex_lock(&maker->lock);
        maker->working = false;
        (void)pthread_mutex_unlock(&maker->lock);
    }
}

void tmb_voice_note_result(tmb_server *server, const json_t *arguments, size_t index, const tmb_clone_result *result) {
    char name[TMB_NAME_SIZE];
    bool given = false;
    tmb_problem problem;
    tmb_voice_info voice;
    if (!result->voice_unusable || !tmb_item_voice(server, arguments, index, name, &given, &problem) || !given ||
        tmb_store_voice_get(server->store, name, NULL, &voice) != TMB_STORE_OK) {
        return;
    }
    char *model = tmb_voice_model(server, tmb_text_at(arguments, "model", index, NULL));
    if (model != NULL) {
        tmb_store_prepared_drop(server->store, &voice, model);
        add_name(server->voice_maker, name);
    }
    free(model);
    tmb_voice_info_free(&voice);
}
