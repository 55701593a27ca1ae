/* Which of a context's models an item is for. */
#ifndef TMB_PIPELINE_ROUTE_H
#define TMB_PIPELINE_ROUTE_H

#include "pipeline/context.h"
#include "pipeline/request.h"

/* One model of a context. */
typedef struct tmb_context_model {
    char *given_name, *model;           /* as the options say, or NULL */
    tmb_model_description *description; /* NULL: not read yet; under the context's lock, and it stays */
} tmb_context_model;

/* Copies the options' models. TMB_ERROR_MEMORY; TMB_ERROR_ARGUMENT for two of one name. */
tmb_status tmb_models_copy(tmb_context *context, const tmb_options *options, tmb_error *error);
void tmb_models_free(tmb_context *context);

/* The description of a model, read from its files the first time. It lives as long as the context. TMB_ERROR_MODEL. */
tmb_status tmb_model_describe(tmb_context *context, size_t index, const tmb_model_description **out, tmb_error *error);

/* The model that a request names; if it names none, the first that can do what it asks. TMB_ERROR_ARGUMENT says what
 * there is. */
tmb_status tmb_route(tmb_context *context, const tmb_item_request *request, size_t *index, tmb_error *error);

#endif
