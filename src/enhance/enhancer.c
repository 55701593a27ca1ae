#include "enhance/enhance.h"

#include "base/error.h"
#include "base/fifo.h"
#include "base/memory.h"
#include "base/thread.h"
#include "enhance/block.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct tmb_enhancer {
    tmb_dfn_model *model;
    tmb_enhance_settings settings;
    tmb_dfn_rules rules;
    bool bypass;
    tmb_dfn_block block;
    size_t pending;    /* samples of the next block that have come */
    uint64_t frames;   /* that were run since the start */
    uint64_t received; /* samples since the start */
    uint64_t emitted;  /* of which went to the queue or were dropped for the delay */
    tmb_fifo queue;
    float local_snr;
    bool flushed;
};

/* A sample beyond it is no audio; squares of spectra of this size still fit a float. */
static const float largest_sample = 1e10f;

void tmb_enhance_settings_default(tmb_enhance_settings *settings) {
    *settings = (tmb_enhance_settings){.attenuation_limit_db = 100,
                                       .post_filter_beta = 0,
                                       .min_db_threshold = -15,
                                       .max_db_erb_threshold = 35,
                                       .max_db_df_threshold = 35,
                                       .compensate_delay = true,
                                       .block_frames = 0};
}

static size_t frames_of(size_t block_frames) { return block_frames != 0 ? block_frames : TMB_ENHANCE_BLOCK_FRAMES; }

static size_t hop_of(const tmb_enhancer *enhancer) { return enhancer->model->config.hop; }

static size_t delay_of(const tmb_enhancer *enhancer) { return tmb_dfn_config_delay(&enhancer->model->config); }

size_t tmb_enhancer_bytes(const tmb_dfn_model *model, size_t block_frames) {
    const size_t frames = frames_of(block_frames);
    const size_t block = tmb_dfn_block_bytes(model, frames);
    return block != 0 ? sizeof(tmb_enhancer) + block + frames * model->config.hop * sizeof(float) : 0;
}

static tmb_status check_settings(const tmb_enhance_settings *settings, tmb_error *error) {
    const struct {
        const char *name;
        float value;
    } fields[] = {{"attenuation_limit_db", settings->attenuation_limit_db},
                  {"post_filter_beta", settings->post_filter_beta},
                  {"min_db_threshold", settings->min_db_threshold},
                  {"max_db_erb_threshold", settings->max_db_erb_threshold},
                  {"max_db_df_threshold", settings->max_db_df_threshold}};
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (isnan(fields[i].value)) {
            return tmb_fail(error, TMB_ERROR_ARGUMENT, "%s is not a number", fields[i].name);
        }
    }
    if (settings->post_filter_beta < 0 || settings->post_filter_beta > 1000) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "post_filter_beta is %g; 0 (off) to 1000 are legal, 0.02 is usual",
                        (double)settings->post_filter_beta);
    }
    return TMB_OK;
}

static tmb_dfn_rules rules_of(const tmb_enhance_settings *settings, bool *bypass) {
    const float limit = fabsf(settings->attenuation_limit_db);
    *bypass = limit < 0.01f;
    return (tmb_dfn_rules){.min_db = settings->min_db_threshold,
                           .max_db_erb = settings->max_db_erb_threshold,
                           .max_db_df = settings->max_db_df_threshold,
                           .post_filter_beta = settings->post_filter_beta,
                           .mix = limit >= 100 ? 0 : powf(10, -limit / 20)};
}

static void start(tmb_enhancer *enhancer) {
    enhancer->pending = 0;
    enhancer->frames = 0;
    enhancer->received = 0;
    enhancer->emitted = 0;
    enhancer->flushed = false;
    enhancer->local_snr = enhancer->bypass ? 35 : -15;
}

tmb_status tmb_enhancer_create(tmb_dfn_model *model, const tmb_enhance_settings *settings, tmb_enhancer **out,
                               tmb_error *error) {
    *out = NULL;
    tmb_status status = check_settings(settings, error);
    if (status != TMB_OK) {
        return status;
    }
    tmb_enhancer *enhancer = tmb_calloc(1, sizeof *enhancer);
    if (enhancer == NULL) {
        return tmb_fail_memory(error, "an enhancer", sizeof *enhancer);
    }
    enhancer->model = tmb_dfn_model_retain(model);
    enhancer->settings = *settings;
    enhancer->rules = rules_of(settings, &enhancer->bypass);
    const size_t frames = frames_of(settings->block_frames);
    status = tmb_dfn_block_init(&enhancer->block, model, frames, error);
    if (status == TMB_OK && tmb_fifo_reserve(&enhancer->queue, frames * hop_of(enhancer)) == NULL) {
        status = tmb_fail_memory(error, "an enhancer's output", frames * hop_of(enhancer) * sizeof(float));
    }
    if (status != TMB_OK) {
        tmb_enhancer_destroy(&enhancer);
        return status;
    }
    start(enhancer);
    *out = enhancer;
    return TMB_OK;
}

void tmb_enhancer_destroy(tmb_enhancer **enhancer) {
    if (enhancer == NULL || *enhancer == NULL) {
        return;
    }
    tmb_dfn_block_deinit(&(*enhancer)->block);
    tmb_fifo_free(&(*enhancer)->queue);
    tmb_dfn_model_release(&(*enhancer)->model);
    free(*enhancer);
    *enhancer = NULL;
}

void tmb_enhancer_reset(tmb_enhancer *enhancer) {
    tmb_dfn_block_reset(&enhancer->block);
    tmb_fifo_clear(&enhancer->queue);
    start(enhancer);
}

float tmb_enhancer_local_snr(const tmb_enhancer *enhancer) { return enhancer->local_snr; }

size_t tmb_enhancer_pull(tmb_enhancer *enhancer, float *out, size_t capacity) {
    return tmb_fifo_read(&enhancer->queue, out, capacity);
}

static tmb_status check_samples(const tmb_enhancer *enhancer, const float *samples, size_t count, tmb_error *error) {
    for (size_t i = 0; i < count; i++) {
        if (!(fabsf(samples[i]) <= largest_sample)) {
            return tmb_fail(error, TMB_ERROR_FORMAT, "sample %llu is %s",
                            (unsigned long long)(enhancer->received + i + 1),
                            isnan(samples[i])   ? "not a number"
                            : isinf(samples[i]) ? "infinite"
                                                : "beyond 1e10, which is no audio (full scale is 1)");
        }
    }
    return TMB_OK;
}

/* Queues what belongs to the stream out of `count` samples that are at the queue's reserved end: the delay is dropped,
 * and what comes after sample `end`. */
static void emit(tmb_enhancer *enhancer, float *samples, size_t count, uint64_t end) {
    const uint64_t first = enhancer->settings.compensate_delay ? delay_of(enhancer) : 0;
    const uint64_t from = enhancer->emitted;
    enhancer->emitted += count;
    const uint64_t keep_from = from > first ? from : first;
    const uint64_t keep_to = enhancer->emitted < end ? enhancer->emitted : end;
    if (keep_to <= keep_from) {
        return;
    }
    if (keep_from > from) {
        memmove(samples, samples + (keep_from - from), (size_t)(keep_to - keep_from) * sizeof(float));
    }
    tmb_fifo_commit(&enhancer->queue, (size_t)(keep_to - keep_from));
}

/* A block's gains are decided by what came until its end and as long behind it as the settings promise, however far the
 * level is ahead: they depend on the size of the blocks, never on how the input was cut. */
static void set_gains(tmb_enhancer *enhancer, size_t frames) {
    const tmb_dfn_config *config = &enhancer->model->config;
    const double frame = (double)config->hop / config->rate; /* seconds */
    const double known = (double)(enhancer->frames + enhancer->block.capacity) * frame + enhancer->settings.level_ahead;
    for (size_t t = 0; t < frames; t++) {
        const double end = (double)(enhancer->frames + t + 1) * frame;
        enhancer->block.gain[t] = tmb_level_gain(enhancer->settings.level, end, known);
    }
}

/* Runs a block of `frames` frames whose samples are in place; the queue has room. */
static void run(tmb_enhancer *enhancer, size_t frames, uint64_t end) {
    const size_t count = frames * hop_of(enhancer);
    float *out = tmb_fifo_reserve(&enhancer->queue, count);
    if (enhancer->settings.level != NULL) {
        set_gains(enhancer, frames);
    }
    enhancer->frames += frames;
    tmb_dfn_block_run(&enhancer->block, &enhancer->rules, frames, out);
    enhancer->local_snr = enhancer->block.local_snr[frames - 1];
    enhancer->pending = 0;
    emit(enhancer, out, count, end);
}

/* A bypass gives back the input, as late as the model would. */
static void copy(tmb_enhancer *enhancer, const float *samples, size_t count) {
    float *out = tmb_fifo_reserve(&enhancer->queue, count);
    if (samples != NULL) {
        memcpy(out, samples, count * sizeof(float));
    } else {
        memset(out, 0, count * sizeof(float));
    }
    tmb_fifo_commit(&enhancer->queue, count);
}

static tmb_status reserve(tmb_enhancer *enhancer, size_t count, tmb_error *error) {
    return tmb_fifo_reserve(&enhancer->queue, count) != NULL
               ? TMB_OK
               : tmb_fail_memory(error, "enhanced samples that wait to be pulled", count * sizeof(float));
}

static tmb_status push_bypass(tmb_enhancer *enhancer, const float *samples, size_t count, tmb_error *error) {
    const bool starts = enhancer->received == 0 && count > 0 && !enhancer->settings.compensate_delay;
    const size_t silence = starts ? delay_of(enhancer) : 0;
    if (count > SIZE_MAX / sizeof(float) - silence) {
        return tmb_fail(error, TMB_ERROR_LIMIT, "a push of %zu samples", count);
    }
    tmb_status status = reserve(enhancer, silence + count, error);
    if (status == TMB_OK && count > 0) {
        copy(enhancer, NULL, silence);
        copy(enhancer, samples, count);
        enhancer->received += count;
    }
    return status;
}

tmb_status tmb_enhancer_push(tmb_enhancer *enhancer, const float *samples, size_t count, tmb_error *error) {
    if (enhancer->flushed) {
        return tmb_fail(error, TMB_ERROR_ARGUMENT, "samples after the end of the stream: reset the enhancer first");
    }
    tmb_status status = check_samples(enhancer, samples, count, error);
    if (status != TMB_OK) {
        return status;
    }
    if (enhancer->bypass) {
        return push_bypass(enhancer, samples, count, error);
    }
    const size_t frames = enhancer->block.capacity;
    const size_t block_samples = frames * hop_of(enhancer);
    const size_t blocks = count / block_samples + (count % block_samples + enhancer->pending) / block_samples;
    status = reserve(enhancer, blocks * block_samples, error);
    if (status != TMB_OK) {
        return status;
    }
    const unsigned denormals = tmb_denormals_flush();
    enhancer->received += count;
    float *input = tmb_dfn_block_input(&enhancer->block);
    while (count > 0) {
        const size_t room = block_samples - enhancer->pending;
        const size_t taken = count < room ? count : room;
        memcpy(input + enhancer->pending, samples, taken * sizeof(float));
        enhancer->pending += taken;
        samples += taken;
        count -= taken;
        if (enhancer->pending == block_samples) {
            run(enhancer, frames, UINT64_MAX);
        }
    }
    tmb_denormals_restore(denormals);
    return TMB_OK;
}

tmb_status tmb_enhancer_flush(tmb_enhancer *enhancer, tmb_error *error) {
    if (enhancer->flushed || enhancer->bypass || enhancer->received == 0) {
        enhancer->flushed = true;
        return TMB_OK;
    }
    const size_t hop = hop_of(enhancer);
    const uint64_t end = enhancer->received + delay_of(enhancer);
    /* Less than a block is pending, so this is a small number. */
    size_t frames = (size_t)((end - enhancer->emitted + hop - 1) / hop);
    tmb_status status = reserve(enhancer, frames * hop, error);
    if (status != TMB_OK) {
        return status;
    }
    const unsigned denormals = tmb_denormals_flush();
    float *input = tmb_dfn_block_input(&enhancer->block);
    while (frames > 0) {
        const size_t now = frames < enhancer->block.capacity ? frames : enhancer->block.capacity;
        memset(input + enhancer->pending, 0, (now * hop - enhancer->pending) * sizeof(float));
        run(enhancer, now, end);
        frames -= now;
    }
    tmb_denormals_restore(denormals);
    enhancer->flushed = true;
    return TMB_OK;
}
