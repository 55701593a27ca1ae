/* Inside the language model. */
#ifndef TMB_TTS_QWEN3_CPU_LM_LM_INTERNAL_H
#define TMB_TTS_QWEN3_CPU_LM_LM_INTERNAL_H

#include "tts/qwen3/cpu/lm/lm.h"
#include "tts/qwen3/cpu/lm/stack.h"
#include "tts/qwen3/plan/lm_plan.h"

#define TMB_LM_PAGE_POSITIONS 64

struct tmb_lm {
    tmb_qwen3_talker_config talker_config;
    tmb_qwen3_predictor_config predictor_config;
    bool predictor_bf16_dot;
    tmb_lm_plan plan;
    tmb_pack_arena arena;
    tmb_lm_stack talker, predictor;
    tmb_kv_shape talker_kv, predictor_kv;
};

struct tmb_lm_sequence {
    const tmb_lm *lm;
    tmb_kv kv;
    size_t positions; /* in the cache */
    size_t frames;    /* made so far */
    bool has_hidden;  /* `hidden` is the talker's output at the last position, otherwise `next` waits to go in */
    float *hidden;    /* [D] */
    float *next;      /* [D] */
    float *trailing;  /* [trailing_count, D], then pad [D] */
    size_t trailing_count;
    tmb_picker picker;
};

struct tmb_lm_context {
    const tmb_lm *lm;
    tmb_team *team;
    size_t sequences; /* most */
    size_t rows;      /* most at once in a prefill */
    tmb_lm_workspace *workspace;
    tmb_kv *predictor_kv; /* [sequences] */
    tmb_lm_run *runs;     /* [sequences] */
    float *x;             /* [rows, x_stride] */
    size_t x_stride;
    float *y;      /* the same */
    float *scores; /* [sequences, scores_stride] */
    size_t scores_stride;
    uint32_t *scratch;            /* the same */
    const tmb_lm_sequence **live; /* [sequences] */
    size_t *live_index;
    size_t bytes;
    tmb_lm_watch watch;
    void *watch_user;
};

static inline const tmb_pack_entry *tmb_lm_entry(const tmb_lm *lm, size_t index) {
    return &lm->plan.pack.entries[index];
}
static inline const uint8_t *tmb_lm_data(const tmb_lm *lm, size_t index) {
    return lm->arena.data + lm->plan.pack.entries[index].offset;
}
static inline const float *tmb_lm_vector(const tmb_lm *lm, size_t index) {
    return (const float *)(const void *)tmb_lm_data(lm, index);
}
static inline size_t tmb_lm_round16(size_t value) { return (value + 15) / 16 * 16; }

#endif
