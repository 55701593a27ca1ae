/* From a prompt's ids to the rows that the talker is prefilled with. */
#include "tts/qwen3/cpu/lm/lm_internal.h"

#include "base/error.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

static int compare_ids(const void *a, const void *b) {
    int32_t left = *(const int32_t *)a, right = *(const int32_t *)b;
    return left < right ? -1 : left > right;
}

/* The different text tokens of the rows, in order: a prompt repeats some of them in every row, and each goes through
 * the projection once. Returns how many. */
static size_t distinct_texts(const tmb_prompt_row *rows, size_t count, int32_t *ids) {
    for (size_t i = 0; i < count; i++) {
        ids[i] = rows[i].text;
    }
    qsort(ids, count, sizeof *ids, compare_ids);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || ids[kept - 1] != ids[i]) {
            ids[kept++] = ids[i];
        }
    }
    return kept;
}

/* Adds a row's codec side; `scratch` [D]. */
static void add_codec(const tmb_lm *lm, const tmb_prompt *prompt, const tmb_prompt_row *row, float *scratch,
                      float *out) {
    const float *side = scratch;
    if (row->codec == TMB_PROMPT_NONE) {
        return;
    }
    if (row->codec == TMB_PROMPT_VECTOR) {
        side = prompt->vector;
    } else if (row->codec == TMB_PROMPT_FRAME) {
        tmb_lm_embed_frame(lm, prompt->frames + row->frame * tmb_lm_code_groups(lm), scratch);
    } else {
        tmb_lm_embed_codec(lm, row->codec, scratch);
    }
    for (size_t k = 0; k < tmb_lm_hidden_size(lm); k++) {
        out[k] += side[k];
    }
}

tmb_status tmb_lm_embed_rows(const tmb_lm *lm, tmb_team *team, const tmb_prompt *prompt, size_t first, size_t count,
                             float *out, tmb_error *error) {
    size_t hidden = tmb_lm_hidden_size(lm);
    const tmb_prompt_row *rows = prompt->rows + first;
    int32_t *ids = tmb_calloc(count, sizeof *ids);
    float *scratch = tmb_calloc(hidden, sizeof *scratch);
    float *texts = NULL;
    size_t distinct = 0;
    if (ids != NULL && scratch != NULL) {
        distinct = distinct_texts(rows, count, ids);
        texts = tmb_calloc(distinct, hidden * sizeof *texts);
    }
    tmb_status status = texts == NULL ? tmb_fail_memory(error, "a prompt", distinct * hidden * sizeof *texts)
                                      : tmb_lm_embed_text(lm, team, ids, distinct, texts, error);
    for (size_t i = 0; status == TMB_OK && i < count; i++) {
        const int32_t *id = bsearch(&rows[i].text, ids, distinct, sizeof *ids, compare_ids);
        memcpy(out + i * hidden, texts + (size_t)(id - ids) * hidden, hidden * sizeof *out);
        add_codec(lm, prompt, &rows[i], scratch, out + i * hidden);
    }
    free(ids);
    free(scratch);
    free(texts);
    return status;
}
