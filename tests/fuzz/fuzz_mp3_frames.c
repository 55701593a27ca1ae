/* Any bytes as an MP3 stream: what the walk counts is what the decoder gives, whatever is between the frames. */
#include "fuzz.h"

#include "io/decoder.h"
#include "io/io.h"

#include <math.h>
#include <stdlib.h>

/* More than that are counted and not decoded. */
#define MAX_DECODED 200000

static void decode(tmb_source *source, const tmb_mp3_plan *plan) {
    tmb_notes notes = {.salvage = true};
    tmb_decoding decoding = {0};
    tmb_error error = {0};
    fuzz_check(tmb_decoder_mp3(source, plan, &notes, &decoding, &error) == TMB_OK);
    fuzz_check(decoding.length == plan->samples);
    float samples[1000 * 2];
    uint64_t total = 0;
    for (size_t count = 1; count > 0; total += count) {
        count = 0;
        if (decoding.decoder->read(decoding.state, samples, 1000, &count, &error) != TMB_OK) {
            fuzz_check(error.message[0] != '\0');
            break;
        }
        fuzz_check(count <= 1000);
    }
    fuzz_check(total <= plan->samples);
    decoding.decoder->close(decoding.state);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    tmb_source source;
    tmb_source_open_memory(data, size, &source);
    for (int salvage = 0; salvage < 2; salvage++) {
        tmb_notes notes = {.salvage = salvage != 0};
        tmb_mp3_plan plan = {0};
        tmb_error error = {0};
        const tmb_status status = tmb_mp3_walk(&source, 0, size, &notes, &plan, &error);
        fuzz_check(notes.count <= TMB_NOTES_MAX);
        if (status != TMB_OK) {
            fuzz_check(error.status == status && error.message[0] != '\0');
        } else {
            uint64_t samples = 0;
            uint64_t end = 0;
            fuzz_check(plan.count > 0 && plan.rate > 0 && (plan.channels == 1 || plan.channels == 2));
            for (size_t i = 0; i < plan.count; i++) {
                const tmb_mp3_run *run = &plan.runs[i];
                fuzz_check(run->start >= end && run->end >= run->start && run->end <= size && run->frames > 0);
                fuzz_check(run->skip + run->samples <= run->frames * 1152);
                samples += run->samples;
                end = run->end;
            }
            fuzz_check(samples == plan.samples);
            if (samples <= MAX_DECODED) {
                decode(&source, &plan);
            }
        }
        tmb_mp3_plan_free(&plan);
    }
    return 0;
}

void fuzz_seeds(fuzz_add_seed add) {
    for (int channels = 1; channels <= 2; channels++) {
        for (int rate = 16000; rate <= 48000; rate *= 3) {
            static float samples[2 * 8000];
            for (size_t i = 0; i < sizeof samples / sizeof samples[0]; i++) {
                samples[i] = 0.5f * sinf((float)i * 0.05f);
            }
            tmb_audio_writer *writer = NULL;
            void *bytes = NULL;
            size_t size = 0;
            fuzz_check(tmb_audio_create_memory(TMB_CONTAINER_MP3, TMB_ENCODING_S16, rate, channels, 1 << 20, &writer,
                                               NULL) == TMB_OK);
            fuzz_check(tmb_audio_write(writer, samples, 8000, NULL) == TMB_OK);
            fuzz_check(tmb_audio_finish_memory(&writer, &bytes, &size, NULL) == TMB_OK);
            add(bytes, size);
            free(bytes);
        }
    }
    /* Free format: headers at a distance of 60 bytes. */
    uint8_t frames[60 * 6] = {0};
    for (size_t i = 0; i < 6; i++) {
        frames[60 * i] = 0xff;
        frames[60 * i + 1] = 0xfb;
        frames[60 * i + 2] = 0x04;
        frames[60 * i + 3] = 0xc4;
    }
    add(frames, sizeof frames);
    add("TAG", 3);
}
