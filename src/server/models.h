/* The models that a server has: what --model names, and what they are. */
#ifndef TMB_SERVER_MODELS_H
#define TMB_SERVER_MODELS_H

#include "timbre/timbre.h"

#include <jansson.h>

typedef struct tmb_server_models {
    char *text;            /* --model, cut into lines */
    tmb_model_spec *specs; /* [spec_count] */
    size_t spec_count;
    const tmb_model_description **list; /* [count]; the context's own */
    size_t count;
} tmb_server_models;

/* Reads --model ("" is the smallest that clones voices). TMB_ERROR_ARGUMENT. */
tmb_status tmb_server_models_read(tmb_server_models *models, const char *text, tmb_error *error);
/* Asks an open context what they are. TMB_ERROR_MODEL names the one that is missing or damaged. */
tmb_status tmb_server_models_describe(tmb_server_models *models, tmb_context *context, tmb_error *error);
void tmb_server_models_deinit(tmb_server_models *models);

/* By name in any case; NULL: there is none. */
const tmb_model_description *tmb_server_models_find(const tmb_server_models *models, const char *name);

/* Appends {name, model, language, dialect} of every speaker to a list. */
void tmb_server_models_list_speakers(const tmb_server_models *models, json_t *list);
/* Adds to an object what a model is and can do. */
void tmb_server_models_add(const tmb_model_description *model, json_t *object);

/* "clones voices", "speaks with mira, old_tom", ...: written to `out`. */
void tmb_server_models_say(const tmb_model_description *model, char *out, size_t size);

#endif
