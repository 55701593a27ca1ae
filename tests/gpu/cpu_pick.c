#include "cpu_pick.h"

#include "tts/qwen3/rules/sampler.h"

#include <stdlib.h>
#include <string.h>

int cpu_pick(float *scores, int n, const cpu_sampling *sampling, const uint64_t random[4]) {
    const tmb_sampling own = {.greedy = sampling->greedy != 0,
                              .temperature = sampling->temperature,
                              .top_p = sampling->top_p,
                              .top_k = sampling->top_k};
    tmb_random state;
    memcpy(state.state, random, sizeof state.state);
    uint32_t *scratch = calloc((size_t)n, sizeof *scratch);
    int code = (int)tmb_pick(scores, (size_t)n, &own, &state, scratch);
    free(scratch);
    return code;
}
