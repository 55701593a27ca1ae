/* The released Qwen3-TTS-12Hz Base checkpoints: their files and what their configurations say. */
#ifndef TMB_TTS_QWEN3_VERIFY_RELEASED_H
#define TMB_TTS_QWEN3_VERIFY_RELEASED_H

#include "timbre/timbre.h"

typedef struct tmb_released_file {
    const char *path;
    uint64_t bytes;
    const char *sha256;
} tmb_released_file;

/* One value of a configuration file: `path` leads through its objects ("talker_config/hidden_size"), `value` is JSON.
 */
typedef struct tmb_released_value {
    const char *file, *path, *value;
} tmb_released_value;

typedef struct tmb_released {
    const char *name;       /* "qwen3-tts-0.6b" */
    const char *repository; /* "Qwen/Qwen3-TTS-12Hz-0.6B-Base" */
    const char *revision;   /* of the hub, whose files these are */
    const tmb_released_file *files;
    size_t file_count;
    const tmb_released_value *values; /* in which the sizes differ; tmb_released_common has the rest */
    size_t value_count;
    size_t tensors, codec_tensors; /* in the two files of weights */
} tmb_released;

/* The i-th, or NULL. */
const tmb_released *tmb_released_at(size_t index);

/* Values that all of them have. */
extern const tmb_released_value tmb_released_common[];
extern const size_t tmb_released_common_count;

#endif
