/* Times the parts of a frame on a GPU, and what bounds them.
 *
 *   bench_gpu MODEL [--precision P] [--device N] [--sequences N] [--frames N] [--rounds N]
 *             [--top-p P]
 *   bench_gpu --ceilings [--device N]
 *
 * A line of JSON for each measurement, the least of the rounds in microseconds. MODEL is a checkpoint of Qwen3-TTS;
 * random weights do (tests/cli/released_tensors.py). For N utterances at once: "talker" and "predictor" are their
 * graphs alone, one after the other; "frame" is a step as the engine makes it, with what goes up and down; "codec" the
 * decoder for a frame of each; "prefill" a prompt of 45 and of 117 rows; "first" from a prompt of 45 rows to the
 * samples of the first frame. "embed" and "encode" are a recording's of five seconds, for one utterance alone; the
 * spectrogram that the CPU makes is a part of "embed". --top-p is that of the picks in "frame". --ceilings: bytes
 * copied a second on the device (read and written), a kernel of a graph that does nothing, and a copy up, a graph of
 * one kernel and a copy down, waited for.
 */
#include "base/memory.h"
#include "base/team.h"
#include "base/thread.h"
#include "tts/qwen3/cuda/cuda_codec.h"
#include "tts/qwen3/cuda/cuda_encoders.h"
#include "tts/qwen3/cuda/cuda_lm.h"
#include "weights/safetensors.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    SEQUENCES_MAX = 64,
    ROUNDS_MAX = 1000,
    PROMPT = 45,
    LONG_PROMPT = 117,
    EMPTY_KERNELS = 300,
    REFERENCE_SECONDS = 5
};

static tmb_error error;

static void check(tmb_status status) {
    if (status != TMB_OK) {
        fprintf(stderr, "bench_gpu: %s\n", error.message);
        exit(1);
    }
}

typedef struct bench {
    tmb_gpu *gpu;
    tmb_qwen3_config config;
    tmb_safetensors *weights, *codec_weights;
    tmb_net_options options;
    const char *precision;
    tmb_cuda_lm *lm;
    tmb_cuda_codec *codec;
    tmb_cuda_codec_job *job;
    size_t sequences, frames, rounds;
    double top_p;
} bench;

static void print(const bench *b, const char *what, size_t count, double seconds) {
    printf("{\"what\": \"%s\", \"precision\": \"%s\", \"sequences\": %zu, \"count\": %zu, \"us\": %.2f}\n", what,
           b->precision, b->sequences, count, 1e6 * seconds);
    fflush(stdout);
}

static double least(double a, double b) { return a < b ? a : b; }

/* ---- Ceilings --------------------------------------------------------------------------------- */

static tmb_gpu_graph *empty_graph(tmb_gpu *gpu, size_t kernels, tmb_gpu_address live) {
    tmb_gpu_graph *graph = NULL;
    tmb_gpu_recorder recorder = tmb_gpu_recording(gpu);
    const tmb_norm_rows_arguments arguments = {.live = live, .always = 1}; /* none is live: it returns at once */
    for (size_t i = 0; i < kernels; i++) {
        tmb_gpu_kernel(&recorder, TMB_KERNEL_tmb_norm_rows, (tmb_gpu_grid){1, 1, 1, 64}, &arguments);
    }
    check(tmb_gpu_recorder_end(&recorder, &graph, &error));
    return graph;
}

static void measure_copies(const bench *b, tmb_gpu_stream *stream) {
    const tmb_gpu_description *gpu = tmb_gpu_describe(b->gpu);
    size_t bytes = (size_t)(gpu->free_bytes / 8);
    bytes = bytes > (size_t)1 << 30 ? (size_t)1 << 30 : bytes / 512 * 512;
    tmb_gpu_address from = 0, to = 0;
    double seconds = 1e9;
    check(tmb_gpu_allocate(b->gpu, bytes, "a copy", &from, &error));
    check(tmb_gpu_allocate(b->gpu, bytes, "a copy", &to, &error));
    for (size_t round = 0; round < b->rounds; round++) {
        double begin = tmb_now();
        check(tmb_gpu_copy(b->gpu, stream, to, from, bytes, &error));
        check(tmb_gpu_synchronize(b->gpu, stream, &error));
        seconds = least(seconds, tmb_now() - begin);
    }
    printf("{\"what\": \"copy\", \"bytes\": %zu, \"GB/s\": %.1f}\n", bytes, 2e-9 * (double)bytes / seconds);
    tmb_gpu_free(b->gpu, from);
    tmb_gpu_free(b->gpu, to);
}

static void measure_launches(const bench *b, tmb_gpu_stream *stream) {
    tmb_gpu_address live = 0;
    int32_t *number = NULL;
    double graph_seconds = 1e9, trip_seconds = 1e9;
    check(tmb_gpu_allocate(b->gpu, sizeof *number, "a number", &live, &error));
    check(tmb_gpu_allocate_pinned(b->gpu, sizeof *number, (void **)&number, &error));
    *number = 0;
    check(tmb_gpu_upload_pinned(b->gpu, stream, live, number, sizeof *number, &error));
    check(tmb_gpu_synchronize(b->gpu, stream, &error));
    tmb_gpu_graph *many = empty_graph(b->gpu, EMPTY_KERNELS, live), *one = empty_graph(b->gpu, 1, live);
    for (size_t round = 0; round < b->rounds; round++) {
        double begin = tmb_now();
        check(tmb_gpu_graph_launch(b->gpu, many, stream, &error));
        check(tmb_gpu_synchronize(b->gpu, stream, &error));
        graph_seconds = least(graph_seconds, tmb_now() - begin);
        begin = tmb_now();
        check(tmb_gpu_upload_pinned(b->gpu, stream, live, number, sizeof *number, &error));
        check(tmb_gpu_graph_launch(b->gpu, one, stream, &error));
        check(tmb_gpu_download(b->gpu, stream, number, live, sizeof *number, &error));
        check(tmb_gpu_synchronize(b->gpu, stream, &error));
        trip_seconds = least(trip_seconds, tmb_now() - begin);
    }
    printf("{\"what\": \"empty kernel of a graph\", \"us\": %.3f}\n", 1e6 * graph_seconds / EMPTY_KERNELS);
    printf("{\"what\": \"round trip\", \"us\": %.2f}\n", 1e6 * trip_seconds);
    tmb_gpu_graph_destroy(b->gpu, &many);
    tmb_gpu_graph_destroy(b->gpu, &one);
    tmb_gpu_free(b->gpu, live);
    tmb_gpu_free_pinned(b->gpu, number);
}

static void measure_ceilings(const bench *b) {
    tmb_gpu_stream *stream = NULL;
    check(tmb_gpu_stream_create(b->gpu, false, &stream, &error));
    measure_copies(b, stream);
    measure_launches(b, stream);
    tmb_gpu_stream_destroy(b->gpu, &stream);
}

/* ---- A model ---------------------------------------------------------------------------------- */

static void load(bench *b, const char *model) {
    char folder[4096];
    tmb_team *team = NULL;
    (void)snprintf(folder, sizeof folder, "%s/speech_tokenizer", model);
    check(tmb_qwen3_config_read(model, &b->config, &error));
    check(tmb_safetensors_open(model, &b->weights, &error));
    check(tmb_safetensors_open(folder, &b->codec_weights, &error));
    check(tmb_qwen3_parse_precision(b->precision, &b->options.precisions, &error));
    check(tmb_team_create(tmb_cpu_count(), &team, &error));
    const tmb_net_files files = {&b->config, b->weights, b->codec_weights};
    double begin = tmb_now();
    check(tmb_cuda_lm_load(b->gpu, &files, &b->options, team, &b->lm, &error));
    check(tmb_cuda_codec_load(b->gpu, &files, &b->options, &b->codec, &error));
    check(tmb_cuda_codec_job_create(b->codec, b->sequences, &b->job, &error));
    print(b, "load", 1, tmb_now() - begin);
    printf("{\"what\": \"memory\", \"precision\": \"%s\", \"sequences\": %zu, \"weights and buffers\": %zu, "
           "\"an utterance of 417 positions\": %zu}\n",
           b->precision, b->sequences, tmb_gpu_allocated(b->gpu),
           tmb_cuda_sequence_device_bytes(b->lm, 417) + tmb_cuda_stream_bytes(b->codec).device);
    tmb_team_destroy(&team);
}

/* A prompt of so many rows: the whole text goes first. */
static void make_prompt(const bench *b, size_t rows, tmb_prompt *prompt) {
    int32_t text[LONG_PROMPT];
    const int32_t role[] = {b->config.im_start_id, b->config.assistant_id, 10};
    float *vector = tmb_calloc(b->config.talker.transformer.hidden_size, sizeof *vector);
    for (size_t i = 0; i < LONG_PROMPT; i++) {
        text[i] = (int32_t)(65 + i % 50);
    }
    tmb_prompt_parts parts = {
        .role = role, .text = text, .text_count = 1, .vector = vector, .language = -1, .non_streaming = true};
    check(tmb_prompt_build(&b->config, &parts, prompt, &error));
    size_t fixed = prompt->count - 1;
    tmb_prompt_free(prompt);
    parts.text_count = rows - fixed;
    check(tmb_prompt_build(&b->config, &parts, prompt, &error));
    free(vector);
}

static tmb_net_sequence *start(const bench *b, size_t rows, size_t frames) {
    tmb_net_sequence *sequence = NULL;
    tmb_prompt prompt;
    const tmb_sampling sampling = {.temperature = 0.9, .top_p = b->top_p, .top_k = 50};
    const tmb_lm_sampling both = {
        .talker = sampling, .predictor = sampling, .repetition_penalty = 1.05, .seed = 1, .max_new_tokens = frames + 2};
    make_prompt(b, rows, &prompt);
    check(tmb_cuda_sequence_create(b->lm, rows + frames + 2, &sequence, &error));
    check(tmb_cuda_prefill(b->lm, sequence, &prompt, 0, prompt.count, &error));
    check(tmb_cuda_begin(b->lm, sequence, &both, &prompt, &error));
    tmb_prompt_free(&prompt);
    return sequence;
}

static void measure_prefill(const bench *b, size_t rows) {
    tmb_prompt prompt;
    double seconds = 1e9;
    make_prompt(b, rows, &prompt);
    for (size_t round = 0; round < b->rounds; round++) {
        tmb_net_sequence *sequence = NULL;
        check(tmb_cuda_sequence_create(b->lm, rows, &sequence, &error));
        check(tmb_gpu_synchronize(b->gpu, b->lm->stream, &error));
        double begin = tmb_now();
        check(tmb_cuda_prefill(b->lm, sequence, &prompt, 0, prompt.count, &error));
        check(tmb_gpu_synchronize(b->gpu, b->lm->stream, &error));
        seconds = least(seconds, tmb_now() - begin);
        tmb_cuda_sequence_destroy(b->lm, &sequence);
    }
    print(b, "prefill", rows, seconds);
    tmb_prompt_free(&prompt);
}

/* Steps until the frames are over; an utterance that ends by itself begins anew, outside of the time. */
static void measure_frames(const bench *b) {
    tmb_net_sequence *live[SEQUENCES_MAX];
    int16_t codes[SEQUENCES_MAX * TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_lm_outcome outcomes[SEQUENCES_MAX];
    double sum = 0, fastest = 1e9, talker = 1e9, predictor = 1e9;
    for (size_t i = 0; i < b->sequences; i++) {
        live[i] = start(b, PROMPT, b->frames);
    }
    for (size_t frame = 0; frame < b->frames; frame++) {
        double begin = tmb_now();
        check(tmb_cuda_step(b->lm, live, b->sequences, codes, outcomes, &error));
        double seconds = tmb_now() - begin;
        sum += seconds;
        fastest = least(fastest, seconds);
        for (size_t i = 0; i < b->sequences; i++) {
            if (outcomes[i] != TMB_LM_FRAME) {
                tmb_cuda_sequence_destroy(b->lm, &live[i]);
                live[i] = start(b, PROMPT, b->frames);
            }
        }
    }
    print(b, "frame", b->frames, sum / (double)b->frames);
    print(b, "fastest frame", b->frames, fastest);
    /* The same graphs once more over what the last step left: nobody asks for these codes. */
    size_t bucket = tmb_cuda_bucket(b->sequences);
    for (size_t round = 0; round < b->rounds; round++) {
        check(tmb_gpu_synchronize(b->gpu, b->lm->stream, &error));
        double begin = tmb_now();
        check(tmb_gpu_graph_launch(b->gpu, b->lm->frame[bucket], b->lm->stream, &error));
        check(tmb_gpu_synchronize(b->gpu, b->lm->stream, &error));
        double middle = tmb_now();
        check(tmb_gpu_graph_launch(b->gpu, b->lm->talk[bucket], b->lm->stream, &error));
        check(tmb_gpu_synchronize(b->gpu, b->lm->stream, &error));
        predictor = least(predictor, middle - begin);
        talker = least(talker, tmb_now() - middle);
    }
    print(b, "predictor", tmb_gpu_graph_kernels(b->lm->frame[bucket]), predictor);
    print(b, "talker", tmb_gpu_graph_kernels(b->lm->talk[bucket]), talker);
    for (size_t i = 0; i < b->sequences; i++) {
        tmb_cuda_sequence_destroy(b->lm, &live[i]);
    }
}

/* Decodes `frames` of each stream and waits for it. */
static double decode(const bench *b, tmb_net_stream *const *streams, size_t count, size_t frames) {
    int16_t codes[TMB_CUDA_STREAM_FRAMES * TMB_QWEN3_CODE_GROUPS_MAX] = {0};
    tmb_decode_result result;
    double begin = tmb_now();
    for (size_t i = 0; i < count; i++) {
        tmb_cuda_decode_add(b->job, &(tmb_decode_request){.stream = streams[i], .codes = codes, .frames = frames});
    }
    tmb_cuda_decode_start(b->job);
    while (!tmb_cuda_decode_done(b->job, 1)) {
    }
    double seconds = tmb_now() - begin;
    check(tmb_cuda_decode_result(b->job, 0, &result, &error));
    tmb_cuda_decode_clear(b->job);
    return seconds;
}

static void measure_codec(const bench *b, size_t frames) {
    tmb_net_stream *streams[SEQUENCES_MAX];
    double seconds = 1e9;
    for (size_t i = 0; i < b->sequences; i++) {
        check(tmb_cuda_stream_create(b->codec, &streams[i], &error));
    }
    for (size_t round = 0; round < b->rounds; round++) {
        seconds = least(seconds, decode(b, streams, b->sequences, frames));
    }
    print(b, "codec", frames, seconds);
    for (size_t i = 0; i < b->sequences; i++) {
        tmb_cuda_stream_destroy(b->codec, &streams[i]);
    }
}

static void measure_first(const bench *b) {
    int16_t codes[TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_lm_outcome outcome;
    double seconds = 1e9;
    for (size_t round = 0; round < b->rounds; round++) {
        tmb_net_stream *stream = NULL;
        double begin = tmb_now();
        tmb_net_sequence *sequence = start(b, PROMPT, 1);
        check(tmb_cuda_stream_create(b->codec, &stream, &error));
        check(tmb_cuda_step(b->lm, &sequence, 1, codes, &outcome, &error));
        (void)decode(b, &stream, 1, 1);
        seconds = least(seconds, tmb_now() - begin);
        tmb_cuda_sequence_destroy(b->lm, &sequence);
        tmb_cuda_stream_destroy(b->codec, &stream);
    }
    print(b, "first", 1, seconds);
}

static void encode(const bench *b, tmb_cuda_encoders *encoders, const float *samples, size_t count) {
    double embedding = 1e9, encoding = 1e9;
    float *vector = tmb_calloc(b->config.speaker.embedding_size, sizeof *vector);
    for (size_t round = 0; round < b->rounds && vector != NULL; round++) {
        int16_t *codes = NULL;
        size_t frames = 0;
        double begin = tmb_now();
        check(tmb_cuda_embed_speaker(encoders, samples, count, vector, &error));
        double middle = tmb_now();
        check(tmb_cuda_encode(encoders, samples, count, &codes, &frames, &error));
        embedding = least(embedding, middle - begin);
        encoding = least(encoding, tmb_now() - middle);
        free(codes);
    }
    print(b, "embed", REFERENCE_SECONDS, embedding);
    print(b, "encode", REFERENCE_SECONDS, encoding);
    free(vector);
}

static void measure_encoders(const bench *b) {
    const tmb_net_files files = {&b->config, b->weights, b->codec_weights};
    tmb_cpu_encoders on_host = {0};
    tmb_speaker_encoder *speaker = NULL;
    tmb_cuda_encoders *encoders = NULL;
    size_t count = REFERENCE_SECONDS * (size_t)b->config.codec.sample_rate;
    float *samples = tmb_calloc(count, sizeof *samples);
    for (size_t i = 0; i < count && samples != NULL; i++) {
        samples[i] = (float)(i * 7919 % 1024) / 4096 - 0.125f;
    }
    check(tmb_cpu_encoders_open(&files, &b->options, &on_host, &error));
    check(tmb_speaker_encoder_load(&b->config.speaker, b->weights, &speaker, &error));
    on_host.speaker = speaker;
    check(tmb_cuda_encoders_load(b->gpu, &b->config, &on_host, &encoders, &error));
    encode(b, encoders, samples, count);
    tmb_cuda_encoders_destroy(&encoders);
    tmb_cpu_encoders_close(&on_host);
    tmb_speaker_encoder_destroy(&speaker);
    free(samples);
}

static void measure_model(bench *b, const char *model) {
    load(b, model);
    measure_prefill(b, PROMPT);
    measure_prefill(b, LONG_PROMPT);
    measure_frames(b);
    measure_codec(b, 1);
    measure_codec(b, 4);
    measure_first(b);
    if (b->sequences == 1 && tmb_qwen3_clones(&b->config)) {
        measure_encoders(b);
    }
    tmb_cuda_codec_job_destroy(&b->job);
    tmb_cuda_codec_destroy(&b->codec);
    tmb_cuda_lm_destroy(&b->lm);
    tmb_safetensors_close(&b->weights);
    tmb_safetensors_close(&b->codec_weights);
}

static size_t number(const char *text, size_t most) {
    size_t value = strtoul(text, NULL, 10);
    if (value < 1 || value > most) {
        fprintf(stderr, "bench_gpu: %s is not in 1 to %zu\n", text, most);
        exit(2);
    }
    return value;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"precision", required_argument, NULL, 'p'}, {"device", required_argument, NULL, 'd'},
        {"sequences", required_argument, NULL, 's'}, {"frames", required_argument, NULL, 'f'},
        {"rounds", required_argument, NULL, 'r'},    {"top-p", required_argument, NULL, 't'},
        {"ceilings", no_argument, NULL, 'c'},        {0}};
    bench b = {.precision = "bf16", .sequences = 1, .frames = 100, .rounds = 20, .top_p = 1};
    bool ceilings = false;
    int device = 0;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'p': b.precision = optarg; break;
        case 'd': device = (int)strtol(optarg, NULL, 10); break;
        case 's': b.sequences = number(optarg, SEQUENCES_MAX); break;
        case 'f': b.frames = number(optarg, 4000); break;
        case 'r': b.rounds = number(optarg, ROUNDS_MAX); break;
        case 't': b.top_p = strtod(optarg, NULL); break;
        case 'c': ceilings = true; break;
        default: return 2;
        }
    }
    if (optind + (ceilings ? 0 : 1) != argc || !(b.top_p >= 0 && b.top_p <= 1)) {
        fprintf(stderr, "bench_gpu MODEL [--precision P] [--sequences N] [--frames N] [--rounds N] [--top-p P], or "
                        "--ceilings\n");
        return 2;
    }
    b.options = (tmb_net_options){.threads = tmb_cpu_count(), .sequences = b.sequences, .device = device};
    double begin = tmb_now();
    check(tmb_gpu_open(device, &b.gpu, &error));
    check(tmb_gpu_enter(b.gpu, &error));
    const tmb_gpu_description *gpu = tmb_gpu_describe(b.gpu);
    printf("{\"what\": \"gpu\", \"name\": \"%s\", \"capability\": %d, \"driver\": %d, \"free\": %llu, \"us\": %.0f}\n",
           gpu->name, gpu->capability, gpu->driver, (unsigned long long)gpu->free_bytes, 1e6 * (tmb_now() - begin));
    if (ceilings) {
        measure_ceilings(&b);
    } else {
        measure_model(&b, argv[optind]);
    }
    tmb_gpu_leave(b.gpu);
    tmb_gpu_close(&b.gpu);
    return 0;
}
