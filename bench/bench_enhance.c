/* Runs the denoiser over raw f32 samples at 48 kHz and says how long it took: bench/enhance.py runs it beside its
 * peers.
 *
 *   bench_enhance IN.f32 OUT.f32 BLOCK_FRAMES RUNS     one line: seconds of the best run, load seconds, peak KiB
 *   bench_enhance IN.f32 OUT.f32 BLOCK_FRAMES 0        with the samples in pieces, as a command does: for its memory
 */
#include "base/thread.h"
#include "enhance/enhance.h"
#include "weights/models.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static long peak_kib(void) {
    FILE *status = fopen("/proc/self/status", "re");
    char line[256];
    long peak = 0;
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        (void)sscanf(line, "VmHWM: %ld", &peak);
    }
    if (status != NULL) {
        (void)fclose(status);
    }
    return peak;
}

static int fail(const tmb_error *error) {
    fprintf(stderr, "bench_enhance: %s\n", error->message);
    return 1;
}

/* Reads, enhances and writes piece by piece. */
static tmb_status stream(tmb_enhancer *enhancer, FILE *in, FILE *out, tmb_error *error) {
    static float samples[4800];
    tmb_status status = TMB_OK;
    bool ended = false;
    while (status == TMB_OK && !ended) {
        const size_t count = fread(samples, sizeof(float), 4800, in);
        ended = count == 0;
        status = ended ? tmb_enhancer_flush(enhancer, error) : tmb_enhancer_push(enhancer, samples, count, error);
        for (size_t got = 0; status == TMB_OK && (got = tmb_enhancer_pull(enhancer, samples, 4800)) > 0;) {
            (void)fwrite(samples, sizeof(float), got, out);
        }
    }
    return status;
}

static tmb_status timed(tmb_enhancer *enhancer, const float *samples, size_t count, float *out, double *seconds,
                        tmb_error *error) {
    tmb_enhancer_reset(enhancer);
    size_t got = 0;
    const double start = tmb_now();
    tmb_status status = TMB_OK;
    for (size_t at = 0; at < count && status == TMB_OK; at += 480) {
        status = tmb_enhancer_push(enhancer, samples + at, count - at < 480 ? count - at : 480, error);
        got += tmb_enhancer_pull(enhancer, out + got, count - got);
    }
    if (status == TMB_OK) {
        status = tmb_enhancer_flush(enhancer, error);
        got += tmb_enhancer_pull(enhancer, out + got, count - got);
    }
    const double now = tmb_now() - start;
    *seconds = now < *seconds ? now : *seconds;
    return status;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: bench_enhance IN.f32 OUT.f32 BLOCK_FRAMES RUNS\n");
        return 2;
    }
    FILE *in = fopen(argv[1], "rb");
    FILE *out_file = fopen(argv[2], "wb");
    if (in == NULL || out_file == NULL) {
        perror("bench_enhance");
        return 1;
    }
    tmb_error error = {0};
    char *path = NULL;
    tmb_dfn_model *model = NULL;
    tmb_enhancer *enhancer = NULL;
    tmb_enhance_settings settings;
    tmb_enhance_settings_default(&settings);
    settings.block_frames = strtoul(argv[3], NULL, 10);
    const long runs = strtol(argv[4], NULL, 10);
    const double start = tmb_now();
    tmb_status status = tmb_models_find_denoiser(NULL, NULL, &path, &error);
    if (status == TMB_OK) {
        status = tmb_dfn_model_load(path, &model, &error);
    }
    free(path);
    const double load = tmb_now() - start;
    if (status == TMB_OK) {
        status = tmb_enhancer_create(model, &settings, &enhancer, &error);
    }
    if (status != TMB_OK) {
        return fail(&error);
    }
    double seconds = 1e9;
    if (runs == 0) {
        const double begin = tmb_now();
        status = stream(enhancer, in, out_file, &error);
        seconds = tmb_now() - begin;
    } else {
        (void)fseek(in, 0, SEEK_END);
        const size_t count = (size_t)ftell(in) / sizeof(float);
        rewind(in);
        float *samples = malloc((count + 1) * sizeof(float));
        float *out = malloc((count + 1) * sizeof(float));
        if (samples == NULL || out == NULL || fread(samples, sizeof(float), count, in) != count) {
            fprintf(stderr, "bench_enhance: %s cannot be read\n", argv[1]);
            return 1;
        }
        for (long run = 0; run < runs && status == TMB_OK; run++) {
            status = timed(enhancer, samples, count, out, &seconds, &error);
        }
        (void)fwrite(out, sizeof(float), count, out_file);
        free(samples);
        free(out);
    }
    if (status != TMB_OK) {
        return fail(&error);
    }
    tmb_enhancer_destroy(&enhancer);
    tmb_dfn_model_release(&model);
    (void)fclose(in);
    if (fclose(out_file) != 0) {
        perror("bench_enhance");
        return 1;
    }
    printf("%.6f %.6f %ld\n", seconds, load, peak_kib());
    return 0;
}
