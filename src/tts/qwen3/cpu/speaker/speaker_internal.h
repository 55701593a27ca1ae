/* What the files of the speaker encoder share. */
#ifndef TMB_TTS_QWEN3_CPU_SPEAKER_SPEAKER_INTERNAL_H
#define TMB_TTS_QWEN3_CPU_SPEAKER_SPEAKER_INTERNAL_H

#include "kernels/activation.h"
#include "kernels/conv.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/speaker/mel.h"
#include "tts/qwen3/cpu/speaker/speaker.h"

/* A convolution over its input reflected at both ends, so that the output is as long, then ReLU. */
typedef struct tmb_speaker_tdnn {
    tmb_conv conv;
    size_t reflected; /* rows at each end */
} tmb_speaker_tdnn;

typedef struct tmb_speaker_block {
    tmb_speaker_tdnn before, after;
    tmb_speaker_tdnn *groups; /* [res2net_scale - 1] */
    tmb_conv squeeze, excite;
} tmb_speaker_block;

struct tmb_speaker_encoder {
    tmb_qwen3_speaker_config config;
    tmb_activation_kernels activation;
    tmb_mel *mel;
    tmb_speaker_tdnn first;
    size_t block_count;
    tmb_speaker_block blocks[TMB_QWEN3_STAGES_MAX];
    tmb_speaker_tdnn aggregate;
    /* The attention's first layer sees each row and, the same for all rows, their mean and deviation: that part is
     * computed once. */
    tmb_conv attention_rows, attention_statistics, attention;
    tmb_conv last;
    size_t samples_min;
    size_t bytes;
};

#endif
