#include "server/models.h"

#include "base/error.h"
#include "base/memory.h"
#include "server/json_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

tmb_status tmb_server_models_read(tmb_server_models *models, const char *text, tmb_error *error) {
    size_t most = 1;
    for (const char *at = text; *at; at++) {
        most += *at == '\n';
    }
    models->text = tmb_strdup(text);
    models->specs = tmb_calloc(most, sizeof *models->specs);
    if (models->text == NULL || models->specs == NULL) {
        return tmb_fail_memory(error, "the models", most * sizeof *models->specs);
    }
    char *rest = NULL;
    for (char *line = strtok_r(models->text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest)) {
        tmb_model_spec *spec = &models->specs[models->spec_count];
        char *name = NULL;
        tmb_status status = tmb_model_spec_parse(line, &name, &spec->model, error);
        if (status != TMB_OK) {
            return status;
        }
        spec->name = name;
        models->spec_count++;
    }
    return TMB_OK;
}

typedef struct collecting {
    tmb_server_models *models;
    size_t most;
} collecting;

static void collect(void *user, const tmb_model_description *model) {
    collecting *c = user;
    if (c->models->count < c->most) {
        c->models->list[c->models->count++] = model;
    }
}

tmb_status tmb_server_models_describe(tmb_server_models *models, tmb_context *context, tmb_error *error) {
    collecting c = {models, models->spec_count ? models->spec_count : 1};
    models->list = tmb_calloc(c.most, sizeof(const tmb_model_description *));
    return models->list != NULL ? tmb_describe_models(context, collect, &c, error)
                                : tmb_fail_memory(error, "the models", c.most * sizeof(void *));
}

void tmb_server_models_deinit(tmb_server_models *models) {
    for (size_t i = 0; i < models->spec_count; i++) {
        free((char *)(uintptr_t)models->specs[i].name);
    }
    free(models->specs);
    free(models->text);
    free(models->list);
    memset(models, 0, sizeof *models);
}

const tmb_model_description *tmb_server_models_find(const tmb_server_models *models, const char *name) {
    for (size_t i = 0; i < models->count; i++) {
        if (strcasecmp(models->list[i]->name, name) == 0) {
            return models->list[i];
        }
    }
    return NULL;
}

static json_t *speaker_json(const tmb_model_description *model, size_t index) {
    const char *dialect = model->speaker_dialects[index];
    return json_pack("{s:o, s:o, s:s, s:o}", "name", tmb_json_text(model->speakers[index]), "model",
                     tmb_json_text(model->name), "language", dialect[0] ? "chinese" : "auto", "dialect",
                     dialect[0] ? tmb_json_text(dialect) : json_null());
}

void tmb_server_models_list_speakers(const tmb_server_models *models, json_t *list) {
    for (size_t i = 0; i < models->count; i++) {
        for (size_t k = 0; k < models->list[i]->speaker_count; k++) {
            (void)json_array_append_new(list, speaker_json(models->list[i], k));
        }
    }
}

void tmb_server_models_add(const tmb_model_description *model, json_t *object) {
    json_t *speakers = json_array();
    json_t *languages = json_array();
    for (size_t i = 0; i < model->speaker_count; i++) {
        (void)json_array_append_new(speakers, speaker_json(model, i));
    }
    for (size_t i = 0; i < model->language_count; i++) {
        (void)json_array_append_new(languages, tmb_json_text(model->languages[i]));
    }
    (void)json_object_set_new(object, "kind", json_string(model->kind));
    (void)json_object_set_new(object, "clones", json_boolean(model->clones));
    (void)json_object_set_new(object, "designs", json_boolean(model->designs));
    (void)json_object_set_new(object, "follows_instruct", json_boolean(model->follows_instruct));
    (void)json_object_set_new(object, "speakers", speakers);
    (void)json_object_set_new(object, "languages", languages);
}

void tmb_server_models_say(const tmb_model_description *model, char *out, size_t size) {
    if (model->clones || model->designs) {
        (void)snprintf(out, size, "%s", model->clones ? "clones voices" : "makes voices from descriptions");
        return;
    }
    size_t used = (size_t)snprintf(out, size, "speaks with");
    for (size_t i = 0; i < model->speaker_count && used < size; i++) {
        used += (size_t)snprintf(out + used, size - used, "%s %s", i ? "," : "", model->speakers[i]);
    }
}
