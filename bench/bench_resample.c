/* Resamples raw floats in blocks of a stream and says how long the best of several passes took; the
 * work horse of resample.py.
 *
 *   bench_resample IN.f32 RATE_IN RATE_OUT soxr|polyphase|sinc BLOCK PASSES OUT.f32
 */
#include "base/thread.h"
#include "resample/resample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *read_floats(const char *path, size_t *count) {
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        return NULL;
    }
    const long size = ftell(file);
    rewind(file);
    *count = size > 0 ? (size_t)size / sizeof(float) : 0;
    float *samples = malloc((*count + 1) * sizeof(float));
    if (samples != NULL && fread(samples, sizeof(float), *count, file) != *count) {
        free(samples);
        samples = NULL;
    }
    (void)fclose(file);
    return samples;
}

/* One pass over the whole signal; returns the samples made, or 0 with a message. */
static size_t pass(tmb_resampler *resampler, const float *in, size_t count, size_t block, float *out, size_t capacity) {
    tmb_error error = {0};
    size_t done = 0;
    for (size_t place = 0; place < count; place += block) {
        const size_t piece = block < count - place ? block : count - place;
        if (tmb_resampler_push(resampler, in + place, piece, &error) != TMB_OK) {
            fprintf(stderr, "bench_resample: %s\n", error.message);
            return 0;
        }
        done += tmb_resampler_pull(resampler, out + done, capacity - done);
    }
    if (tmb_resampler_flush(resampler, &error) != TMB_OK) {
        fprintf(stderr, "bench_resample: %s\n", error.message);
        return 0;
    }
    return done + tmb_resampler_pull(resampler, out + done, capacity - done);
}

int main(int argc, char **argv) {
    static const char *const kinds[] = {"auto", "soxr", "polyphase", "sinc"};
    if (argc != 8) {
        fprintf(stderr, "usage: bench_resample IN.f32 RATE_IN RATE_OUT soxr|polyphase|sinc BLOCK PASSES OUT.f32\n");
        return 2;
    }
    const int input_rate = (int)strtol(argv[2], NULL, 10);
    const int output_rate = (int)strtol(argv[3], NULL, 10);
    int kind = 0;
    while (kind < 3 && strcmp(kinds[kind], argv[4]) != 0) {
        kind++;
    }
    const size_t block = strtoul(argv[5], NULL, 10);
    const unsigned long passes = strtoul(argv[6], NULL, 10);
    size_t count = 0;
    float *in = read_floats(argv[1], &count);
    if (in == NULL || input_rate < 1 || output_rate < 1 || block == 0 || passes == 0) {
        fprintf(stderr, "bench_resample: bad arguments\n");
        return 2;
    }
    const size_t capacity = tmb_resampler_output_length(TMB_RESAMPLER_SINC, input_rate, output_rate, count) + 1;
    float *out = calloc(capacity, sizeof(float));
    tmb_error error = {0};
    tmb_resampler *resampler = NULL;
    if (out == NULL ||
        tmb_resampler_create(input_rate, output_rate, (tmb_resampler_kind)kind, NULL, &resampler, &error) != TMB_OK) {
        fprintf(stderr, "bench_resample: %s\n", error.message);
        return 1;
    }
    double best = 1e9;
    size_t made = 0;
    for (unsigned long i = 0; i < passes; i++) {
        const double start = tmb_now();
        made = pass(resampler, in, count, block, out, capacity);
        const double seconds = tmb_now() - start;
        best = seconds < best ? seconds : best;
        if (tmb_resampler_reset(resampler, &error) != TMB_OK) {
            fprintf(stderr, "bench_resample: %s\n", error.message);
            return 1;
        }
    }
    FILE *file = fopen(argv[7], "wb");
    const bool written = file != NULL && fwrite(out, sizeof(float), made, file) == made && fclose(file) == 0;
    printf("%.9f\n", best);
    tmb_resampler_destroy(&resampler);
    free(in);
    free(out);
    return written ? 0 : 1;
}
