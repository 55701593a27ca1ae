/* The Qwen3-TTS-12Hz Base models as an engine: voice cloning with the official checkpoints.
 *
 * The folder has the layout of the official repositories: config.json, generation_config.json,
 * model.safetensors (or shards with model.safetensors.index.json), the tokenizer's files, speech_tokenizer/.
 */
#ifndef TMB_TTS_QWEN3_QWEN3_H
#define TMB_TTS_QWEN3_QWEN3_H

#include "base/log.h"
#include "tts/engine.h"

typedef struct tmb_qwen3_options {
    const char *model;          /* the checkpoint's folder */
    const char *precision;      /* NULL or "auto", "f32", "bf16", "int8", "int4", or a list for each network:
                                   "talker=int8,predictor=int4,codec=bf16" (a network left out: "auto") */
    int threads;                /* 0 = the CPUs of this process */
    size_t max_sequences;       /* that may be live at once; 0 = 8 */
    const char *pack_directory; /* where quantized weights are cached; NULL = $XDG_CACHE_HOME/timbre/packs,
                                   "" = nowhere */
    uint64_t gpu_memory;        /* bytes of the GPU: a model that needs more goes to the CPU if the device is "auto";
                                   0 = not known */
    const char *without_gpu;    /* why there is none at the moment: "auto" is the CPU; NULL: there may be one */
    const char *device;         /* "auto", "cpu", "cuda" or "cuda:N"; NULL = $TIMBRE_DEVICE, or "cpu" */
    tmb_logger *logger;         /* may be NULL; must outlive the engine */
} tmb_qwen3_options;

/* Where packs are kept when the options do not say, allocated; NULL: nowhere, as no home folder is known. */
char *tmb_qwen3_pack_directory(void);

void tmb_qwen3_options_default(tmb_qwen3_options *options);

/* Whether `precision` is one that tmb_qwen3_options accepts; the message names the word that is not. */
tmb_status tmb_qwen3_check_precision(const char *precision, tmb_error *error);

/* Whether the model in the folder `model` knows the language `name`, from its config.json alone. TMB_ERROR_ARGUMENT
 * lists what it knows. */
tmb_status tmb_qwen3_check_language(const char *model, const char *name, tmb_error *error);

/* Bytes of weights that an engine with these options will hold on the host and on the device, from the files' headers
 * alone, to reserve memory before loading. */
tmb_status tmb_qwen3_model_bytes(const tmb_qwen3_options *options, uint64_t *host, uint64_t *device, tmb_error *error);

/* Loads the model. TMB_ERROR_MODEL if a file is missing, damaged or contradicts another (the
 * message names it), TMB_ERROR_ARGUMENT for an unknown precision, TMB_ERROR_MEMORY. The engine is
 * destroyed by its operations' destroy(); its voices may outlive it. */
tmb_status tmb_qwen3_engine_create(const tmb_qwen3_options *options, tmb_engine **out, tmb_error *error);

#endif
