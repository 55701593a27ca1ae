/* A reference's transcript, if the request left it out: from a speech-to-text service. */
#include "pipeline/build.h"

#include "base/error.h"
#include "base/thread.h"
#include "base/utf8.h"
#include "resample/resample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

uint64_t tmb_build_transcribe_bytes(uint64_t samples, int rate) {
    /* As floats and as 16-bit samples, of which curl keeps no copy of its own: three of them for good measure. */
    const uint64_t most = UINT64_MAX / 64;
    const uint64_t length =
        samples > most / TMB_TRANSCRIBE_RATE ? most : samples * TMB_TRANSCRIBE_RATE / (uint64_t)rate;
    return length * 12 + (1u << 20);
}

tmb_status tmb_build_ask(const tmb_build *build, const tmb_transcriber *transcriber, tmb_logger *logger,
                         const atomic_bool *stop, char **text, tmb_error *error) {
    const bool clean = build->denoiser != NULL;
    const float *samples = clean ? tmb_fifo_peek(&build->clean) : build->samples;
    const size_t count = clean ? build->clean.count : build->count;
    float *heard = NULL;
    size_t heard_count = 0;
    *text = NULL;
    tmb_status status = tmb_resample(samples, count, clean ? tmb_dfn_model_rate(build->denoiser) : build->rate,
                                     TMB_TRANSCRIBE_RATE, TMB_RESAMPLER_AUTO, logger, &heard, &heard_count, error);
    if (status == TMB_OK) {
        status = tmb_transcribe_samples(transcriber, heard, heard_count, stop, text, error);
    }
    free(heard);
    return status;
}

void tmb_build_transcribe(tmb_build *build, const tmb_transcriber *transcriber, tmb_logger *logger,
                          const atomic_bool *stop) {
    const double start = tmb_now();
    tmb_error error = {0};
    if (tmb_build_judge(build, &error) != TMB_OK) {
        return; /* the same judgement ends the build */
    }
    if (tmb_build_ask(build, transcriber, logger, stop, &build->text, &error) != TMB_OK) {
        char line[sizeof error.message + 100];
        (void)snprintf(line, sizeof line,
                       "no transcript, so that only the voice's timbre is cloned, not how it speaks (give ref_text for "
                       "a closer clone): %s",
                       error.message);
        (void)tmb_utf8_clean(line, strlen(line), build->untranscribed, sizeof build->untranscribed);
        build->x_vector_only = true;
        tmb_log(logger, TMB_LOG_INFO, "a reference is cloned without a transcript: %s", error.message);
    }
    build->seconds[TMB_STAGE_SPEECH] += tmb_now() - start;
}

void tmb_build_tell_transcript(tmb_build *build) {
    tmb_reference_info *info = &build->info;
    if (!build->transcribes || !info->usable) {
        return;
    }
    if (build->text != NULL) {
        (void)snprintf(info->transcript, sizeof info->transcript, "%s", build->text);
    } else {
        /* It comes first: if there are eight others, they are the ones that are lost. */
        const size_t room = sizeof info->warnings / sizeof info->warnings[0];
        const size_t kept = info->warning_count < room ? info->warning_count : room - 1;
        memmove(info->warnings[1], info->warnings[0], kept * sizeof info->warnings[0]);
        memcpy(info->warnings[0], build->untranscribed, sizeof info->warnings[0]);
        info->warning_count = kept + 1;
    }
}
