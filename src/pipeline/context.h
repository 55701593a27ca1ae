/* What a tmb_context holds. */
#ifndef TMB_PIPELINE_CONTEXT_H
#define TMB_PIPELINE_CONTEXT_H

#include "pipeline/budget.h"
#include "pipeline/registry.h"
#include "tts/transcribe/transcribe.h"

typedef struct tmb_scheduler tmb_scheduler;

/* Settings that one engine alone understands, at most. */
enum { ENGINE_OPTIONS = 5 };

struct tmb_context {
    tmb_options options; /* its strings are in `strings` */
    char *strings[10];
    char hedge[32]; /* options.remote_hedge as text */
    tmb_engine_option engine_options[ENGINE_OPTIONS];
    tmb_logger logger;
    tmb_budget budget;        /* the host's memory */
    tmb_budget device_budget; /* the GPU's; nothing until a model is loaded there */
    tmb_registry registry;
    size_t model_count;               /* that requests can mean */
    struct tmb_context_model *models; /* [model_count]; see route.h */
    pthread_mutex_t lock;             /* of `scheduler` */
    tmb_scheduler *scheduler;         /* made by the first clone request, or at once if idle models unload */
};

/* Engines of the registry, lanes of the scheduler: one for each model, and one for what overflows. */
size_t tmb_context_engines(const tmb_context *context);

/* Whether one of the models speaks a language. */
tmb_status tmb_context_check_language(tmb_context *context, size_t model, const char *language, tmb_error *error);

/* The speech-to-text service that the options name, as it is asked; its url is NULL without one. */
tmb_transcriber tmb_context_transcriber(const tmb_context *context);

/* The scheduler, made if need be. */
tmb_status tmb_context_scheduler(tmb_context *context, tmb_scheduler **out, tmb_error *error);

#endif
