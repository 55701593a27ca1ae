/* Times codec and speaker encoder on command, for bench/codec.py, which runs the official implementation in turn.
 *
 *   bench_codec MODEL [THREADS [PRECISION]]
 *
 * Reads commands from standard input, one a line, and answers each with the seconds that it took:
 *   decode FRAMES CHUNK STREAMS   FRAMES frames of each stream, CHUNK frames a call, all streams in each call
 *   encode SECONDS                codes of a noise of that length
 *   speaker SECONDS               its embedding
 */
#include "base/memory.h"
#include "base/team.h"
#include "base/thread.h"
#include "cpu/cpu.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/speaker/speaker.h"
#include "weights/safetensors.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STREAMS_MAX 64

static tmb_error error;

static void check(tmb_status status) {
    if (status != TMB_OK) {
        fprintf(stderr, "bench_codec: %s\n", error.message);
        exit(1);
    }
}

static void *need(void *pointer) {
    if (pointer == NULL) {
        fprintf(stderr, "bench_codec: out of memory\n");
        exit(1);
    }
    return pointer;
}

static uint32_t random_state = 1;

static uint32_t random_bits(void) {
    random_state = random_state * 1664525u + 1013904223u;
    return random_state >> 8;
}

typedef struct bench {
    tmb_qwen3_config config;
    tmb_team *team;
    tmb_codec_decoder *decoder;
    tmb_codec_encoder *encoder;
    tmb_speaker_encoder *speaker;
} bench;

static double bench_decode(const bench *b, size_t frames, size_t chunk, size_t streams) {
    size_t books = tmb_codec_decoder_books(b->decoder);
    size_t samples_per_frame = tmb_codec_samples_per_frame(b->decoder);
    tmb_codec_workspace *workspace = NULL;
    tmb_codec_state *states[STREAMS_MAX];
    int16_t *codes = need(tmb_calloc(frames * books, sizeof *codes));
    float *samples = need(tmb_calloc(frames * samples_per_frame * streams, sizeof *samples));
    for (size_t i = 0; i < frames * books; i++) {
        codes[i] = (int16_t)(random_bits() % b->config.codec.decoder.codebook_size);
    }
    check(tmb_codec_workspace_create(b->decoder, 16, b->team, &workspace, &error));
    for (size_t i = 0; i < streams; i++) {
        check(tmb_codec_state_create(b->decoder, &states[i], &error));
    }
    double begin = tmb_now();
    for (size_t done = 0; done < frames; done += chunk) {
        tmb_codec_piece pieces[STREAMS_MAX];
        for (size_t i = 0; i < streams; i++) {
            pieces[i] =
                (tmb_codec_piece){states[i], codes + done * books, frames - done < chunk ? frames - done : chunk,
                                  samples + (i * frames + done) * samples_per_frame};
        }
        check(tmb_codec_decode(workspace, pieces, streams, &error));
    }
    double seconds = tmb_now() - begin;
    for (size_t i = 0; i < streams; i++) {
        tmb_codec_state_destroy(&states[i]);
    }
    tmb_codec_workspace_destroy(&workspace);
    free(codes);
    free(samples);
    return seconds;
}

static double bench_encode(const bench *b, double seconds, bool speaker) {
    size_t count = (size_t)(seconds * b->config.codec.sample_rate);
    float *samples = need(tmb_calloc(count, sizeof *samples));
    for (size_t i = 0; i < count; i++) {
        samples[i] = ((float)random_bits() * 0x1p-23f - 1) * 0.1f;
    }
    double begin = tmb_now();
    if (speaker) {
        float *embedding = need(tmb_calloc(tmb_speaker_size(b->speaker), sizeof *embedding));
        check(tmb_speaker_embed(b->speaker, b->team, samples, count, embedding, &error));
        free(embedding);
    } else {
        int16_t *codes = NULL;
        size_t frames = 0;
        check(tmb_codec_encode(b->encoder, b->team, samples, count, &codes, &frames, &error));
        free(codes);
    }
    double taken = tmb_now() - begin;
    free(samples);
    return taken;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: bench_codec MODEL [THREADS [PRECISION]]\n");
        return 2;
    }
    bench b = {0};
    char path[4096];
    tmb_safetensors *weights = NULL;
    tmb_safetensors *codec_weights = NULL;
    (void)snprintf(path, sizeof path, "%s/speech_tokenizer", argv[1]);
    double begin = tmb_now();
    check(tmb_team_create(argc > 2 ? atoi(argv[2]) : 2, &b.team, &error));
    check(tmb_qwen3_config_read(argv[1], &b.config, &error));
    check(tmb_safetensors_open(argv[1], &weights, &error));
    check(tmb_safetensors_open(path, &codec_weights, &error));
    tmb_codec_precision precision = argc > 3 && strcmp(argv[3], "bf16") == 0 ? TMB_CODEC_BF16 : TMB_CODEC_F32;
    check(tmb_codec_decoder_load(&b.config.codec, codec_weights, precision, &b.decoder, &error));
    double decoder_loaded = tmb_now();
    check(tmb_codec_encoder_load(&b.config.codec, codec_weights, &b.encoder, &error));
    check(tmb_speaker_encoder_load(&b.config.speaker, weights, &b.speaker, &error));
    tmb_safetensors_close(&codec_weights);
    tmb_safetensors_close(&weights);
    printf("ready %s decoder %.2f s %zu MiB, encoders %.2f s %zu MiB, state %zu KiB\n", tmb_cpu_name(),
           decoder_loaded - begin, tmb_codec_decoder_bytes(b.decoder) >> 20, tmb_now() - decoder_loaded,
           (tmb_codec_encoder_bytes(b.encoder) + tmb_speaker_encoder_bytes(b.speaker)) >> 20,
           tmb_codec_state_bytes(b.decoder) >> 10);
    (void)fflush(stdout);
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t frames = 0, chunk = 0, streams = 0;
        double seconds = 0;
        if (sscanf(line, "decode %zu %zu %zu", &frames, &chunk, &streams) == 3 && chunk != 0 && streams != 0 &&
            streams <= STREAMS_MAX) {
            printf("%.6f\n", bench_decode(&b, frames, chunk, streams));
        } else if (sscanf(line, "encode %lf", &seconds) == 1) {
            printf("%.6f\n", bench_encode(&b, seconds, false));
        } else if (sscanf(line, "speaker %lf", &seconds) == 1) {
            printf("%.6f\n", bench_encode(&b, seconds, true));
        } else {
            fprintf(stderr, "bench_codec: what is %s", line);
            return 2;
        }
        (void)fflush(stdout);
    }
    tmb_codec_decoder_destroy(&b.decoder);
    tmb_codec_encoder_destroy(&b.encoder);
    tmb_speaker_encoder_destroy(&b.speaker);
    tmb_team_destroy(&b.team);
    return 0;
}
