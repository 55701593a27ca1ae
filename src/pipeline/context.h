/* What a tmb_context holds. */
#ifndef TMB_PIPELINE_CONTEXT_H
#define TMB_PIPELINE_CONTEXT_H

#include "pipeline/budget.h"
#include "pipeline/registry.h"

typedef struct tmb_scheduler tmb_scheduler;

/* Settings that one engine alone understands, at most. */
enum { ENGINE_OPTIONS = 2 };

struct tmb_context {
    tmb_options options; /* its strings are in `strings` */
    char *strings[6];
    tmb_engine_option engine_options[ENGINE_OPTIONS];
    tmb_logger logger;
    tmb_budget budget;
    tmb_registry registry;
    size_t model_count;               /* engines of the registry, lanes of the scheduler */
    struct tmb_context_model *models; /* [model_count]; see route.h */
    pthread_mutex_t lock;             /* of `scheduler` */
    tmb_scheduler *scheduler;         /* made by the first clone request, or at once where idle models unload */
};

/* Whether one of the models speaks a language. */
tmb_status tmb_context_check_language(tmb_context *context, size_t model, const char *language, tmb_error *error);

/* The scheduler, made if need be. */
tmb_status tmb_context_scheduler(tmb_context *context, tmb_scheduler **out, tmb_error *error);

#endif
