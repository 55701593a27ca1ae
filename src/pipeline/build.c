#include "pipeline/build.h"

#include "base/checked.h"
#include "base/error.h"
#include "base/memory.h"
#include "base/thread.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* Samples beyond the exact length that a resampler may make, and the room its last pull asks for. */
#define SLACK 16384

tmb_clean *tmb_clean_retain(tmb_clean *clean) {
    if (clean != NULL) {
        (void)atomic_fetch_add_explicit(&clean->references, 1, memory_order_relaxed);
    }
    return clean;
}

void tmb_clean_release(tmb_clean **clean_address) {
    tmb_clean *clean = *clean_address;
    *clean_address = NULL;
    if (clean != NULL && atomic_fetch_sub_explicit(&clean->references, 1, memory_order_acq_rel) == 1) {
        free(clean->samples);
        tmb_budget_release(clean->budget, clean->reserved);
        free(clean);
    }
}

/* Samples after stage 1. */
static uint64_t resampled_length(const tmb_dfn_model *denoiser, uint64_t samples, int rate) {
    uint64_t length = 0;
    if (!tmb_mul_u64(samples, (uint64_t)tmb_dfn_model_rate(denoiser), &length)) {
        return UINT64_MAX / 16;
    }
    return length / (uint64_t)rate + SLACK;
}

uint64_t tmb_build_bytes(const tmb_dfn_model *denoiser, uint64_t samples, int rate) {
    uint64_t bytes = 0;
    if (!tmb_mul_u64(samples, sizeof(float), &bytes)) {
        return UINT64_MAX;
    }
    if (denoiser != NULL) {
        bytes += resampled_length(denoiser, samples, rate) * sizeof(float) + tmb_enhancer_bytes(denoiser, 0);
    }
    return bytes;
}

tmb_status tmb_build_create(tmb_reading *reading, const tmb_item_request *request, tmb_dfn_model *denoiser,
                            tmb_build **out, tmb_error *error) {
    *out = NULL;
    tmb_build *build = tmb_calloc(1, sizeof *build);
    char *text = tmb_strdup(request->public.ref_text);
    if (build == NULL || (text == NULL && request->public.ref_text != NULL)) {
        free(build);
        free(text);
        return tmb_fail_memory(error, "a voice", 0);
    }
    build->key = reading->key;
    build->samples = reading->samples;
    build->antiphase = reading->antiphase;
    build->cancelled = reading->cancelled;
    build->note_count = reading->note_count;
    memcpy(build->notes, reading->notes, sizeof build->notes);
    build->count = reading->count;
    build->rate = reading->rate;
    build->level = reading->level;
    reading->level = NULL;
    build->voice_file = reading->voice;
    build->voice_file_size = reading->voice_size;
    reading->samples = NULL;
    reading->count = reading->capacity = 0;
    reading->voice = NULL;
    build->text = text;
    build->x_vector_only = tmb_item_request_x_vector_only(request);
    build->transcribes = request->transcribes && text == NULL && request->source != TMB_SOURCE_VOICE;
    build->run_pre_processing = request->public.run_pre_processing && request->source != TMB_SOURCE_VOICE;
    build->trim = request->public.trim_reference;
    build->silence = request->public.reference_silence;
    build->pre = request->public.pre;
    build->pre.compensate_delay = true;
    build->denoiser = build->run_pre_processing ? denoiser : NULL;
    *out = build;
    return TMB_OK;
}

static tmb_status open_stages(tmb_build *build, tmb_logger *logger, tmb_error *error) {
    tmb_enhance_settings settings;
    tmb_chain_settings(&build->pre, 0, &settings);
    settings.block_frames = 0;
    settings.level = build->level;
    tmb_status status = tmb_resampler_create(build->rate, tmb_dfn_model_rate(build->denoiser), build->pre.resampler,
                                             logger, &build->resampler, error);
    if (status == TMB_OK) {
        status = tmb_enhancer_create(build->denoiser, &settings, &build->enhancer, error);
    }
    uint64_t length = resampled_length(build->denoiser, build->count, build->rate);
    /* All at once: growing by halves would hold two copies. */
    if (status == TMB_OK && tmb_fifo_reserve(&build->clean, (size_t)length) == NULL) {
        status = tmb_fail_memory(error, "a clean reference", (size_t)length * sizeof(float));
    }
    return status;
}

tmb_status tmb_build_resample(tmb_build *build, tmb_logger *logger, tmb_error *error) {
    double start = tmb_now();
    tmb_status status = TMB_OK;
    if (build->resampler == NULL) {
        status = open_stages(build, logger, error);
    }
    if (status == TMB_OK && build->done < build->count) {
        size_t left = build->count - build->done;
        size_t piece = (size_t)build->rate;
        piece = left < piece ? left : piece;
        status = tmb_resampler_push(build->resampler, build->samples + build->done, piece, error);
        build->done += piece;
    }
    if (status == TMB_OK && build->done == build->count && !build->complete1) {
        status = tmb_resampler_flush(build->resampler, error);
        build->complete1 = true;
    }
    build->seconds[TMB_STAGE_RESAMPLE_REFERENCE] += tmb_now() - start;
    return status;
}

tmb_status tmb_build_enhance(tmb_build *build, bool *complete, tmb_error *error) {
    double start = tmb_now();
    size_t moved = 0;
    tmb_status status = tmb_chain_resampled_to_enhancer(build->resampler, build->enhancer, &moved, error);
    if (status == TMB_OK && build->complete1) {
        status = tmb_enhancer_flush(build->enhancer, error);
    }
    if (status == TMB_OK) {
        status = tmb_chain_enhanced_to_fifo(build->enhancer, &build->clean, &moved, error);
    }
    *complete = status == TMB_OK && build->complete1;
    build->seconds[TMB_STAGE_ENHANCE_REFERENCE] += tmb_now() - start;
    if (status != TMB_OK) {
        tmb_error_prefix(error, "reference");
    }
    return status;
}

double tmb_build_fraction(const tmb_build *build) {
    return build->count == 0 ? 1 : (double)build->done / (double)build->count;
}

void tmb_trim_silence(const float *samples, size_t count, int rate, size_t *begin, size_t *end) {
    size_t block = (size_t)rate / 50;
    size_t margin = (size_t)rate / 20;
    double loudest = 0;
    size_t first = count, last = 0;
    *begin = 0;
    *end = count;
    for (int pass = 0; pass < 2 && block > 0; pass++) {
        for (size_t at = 0; at < count; at += block) {
            size_t here = count - at < block ? count - at : block;
            double power = 0;
            for (size_t i = 0; i < here; i++) {
                power += (double)samples[at + i] * (double)samples[at + i];
            }
            power /= (double)here;
            if (pass == 0) {
                loudest = power > loudest ? power : loudest;
            } else if (power > 1e-4 * loudest) {
                first = at < first ? at : first;
                last = at + here;
            }
        }
    }
    if (first < last) {
        *begin = first > margin ? first - margin : 0;
        *end = count - last > margin ? last + margin : count;
    }
}

/* Trims the reference and puts silence behind it, as asked; *padded is then its memory, to be freed. */
static tmb_status shape_reference(const tmb_build *build, tmb_reference *reference, float **padded, tmb_error *error) {
    size_t silence = (size_t)(build->silence * reference->rate + 0.5);
    size_t count = 0;
    if (build->trim) {
        size_t begin = 0, end = 0;
        tmb_trim_silence(reference->samples, reference->count, reference->rate, &begin, &end);
        reference->samples += begin;
        reference->count = end - begin;
    }
    if (silence == 0) {
        return TMB_OK;
    }
    *padded = tmb_add_size(reference->count, silence, &count) ? tmb_calloc(count, sizeof **padded) : NULL;
    if (*padded == NULL) {
        return tmb_fail_memory(error, "a reference", count * sizeof **padded);
    }
    memcpy(*padded, reference->samples, reference->count * sizeof **padded);
    reference->samples = *padded;
    reference->count = count;
    return TMB_OK;
}

tmb_status tmb_build_judge(tmb_build *build, tmb_error *error) {
    const bool clean = build->denoiser != NULL;
    const tmb_reference_sound sound = {
        .samples = build->samples,
        .count = build->count,
        .rate = build->rate,
        .clean = clean ? tmb_fifo_peek(&build->clean) : NULL,
        .clean_count = clean ? build->clean.count : 0,
        .clean_rate = clean ? tmb_dfn_model_rate(build->denoiser) : 0,
        .text = build->x_vector_only ? NULL : build->text,
        .antiphase = build->antiphase,
        .cancelled = build->cancelled,
        .notes = (const char(*)[TMB_REFERENCE_NOTE])build->notes,
        .note_count = build->note_count,
    };
    tmb_status status = tmb_reference_judge(&sound, &build->info, error);
    build->judged = status == TMB_OK || status == TMB_ERROR_FORMAT;
    return status;
}

tmb_status tmb_build_voice(tmb_build *build, tmb_engine *engine, tmb_error *error) {
    double start = tmb_now();
    tmb_status status;
    if (build->voice_file != NULL) {
        if (engine->operations->voice_deserialize == NULL) {
            return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "the %s engine has no saved voices",
                            engine->operations->name);
        }
        status = engine->operations->voice_deserialize(engine, build->voice_file, build->voice_file_size, &build->voice,
                                                       error);
    } else {
        bool clean = build->denoiser != NULL;
        tmb_reference reference = {
            .samples = clean ? tmb_fifo_peek(&build->clean) : build->samples,
            .count = clean ? build->clean.count : build->count,
            .rate = clean ? tmb_dfn_model_rate(build->denoiser) : build->rate,
            .text = build->text,
        };
        float *padded = NULL;
        status = tmb_build_judge(build, error);
        tmb_build_tell_transcript(build);
        if (status == TMB_OK) {
            status = shape_reference(build, &reference, &padded, error);
        }
        if (status == TMB_OK) {
            status = engine->operations->prepare_voice(engine, &reference, build->x_vector_only, &build->voice, error);
        }
        free(padded);
    }
    build->seconds[TMB_STAGE_SPEECH] += tmb_now() - start;
    return status;
}

tmb_clean *tmb_build_take_clean(tmb_build *build, tmb_budget *budget) {
    if (build->denoiser == NULL || build->clean.count == 0) {
        return NULL;
    }
    tmb_clean *clean = tmb_calloc(1, sizeof *clean);
    if (clean == NULL) {
        return NULL;
    }
    /* The queue was never read from: its samples begin where its memory does. */
    clean->references = 1;
    clean->budget = budget;
    clean->reserved = build->clean.capacity * sizeof(float);
    if (clean->reserved > build->reserved) {
        clean->reserved = build->reserved;
    }
    build->reserved -= clean->reserved;
    clean->samples = build->clean.samples;
    clean->count = build->clean.count;
    build->clean = (tmb_fifo){0};
    return clean;
}

void tmb_build_destroy(tmb_build **build_address, tmb_budget *budget) {
    tmb_build *build = *build_address;
    if (build == NULL) {
        return;
    }
    *build_address = NULL;
    tmb_resampler_destroy(&build->resampler);
    tmb_enhancer_destroy(&build->enhancer);
    tmb_level_destroy(&build->level);
    tmb_fifo_free(&build->clean);
    tmb_voice_release(&build->voice);
    free(build->samples);
    free(build->voice_file);
    free(build->text);
    tmb_budget_release(budget, build->reserved);
    free(build);
}
