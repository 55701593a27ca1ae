/* Times the language model of a Qwen3-TTS checkpoint.
 *
 *   bench_lm MODEL [--precision P] [--threads N] [--packs DIR] [--rounds N] [--frames N] [--serve]
 *
 * P: f32, bf16, int8, int4 (talker 8 bits, code predictor 4), or one a network, as in talker=int8,predictor=int4.
 * Prints a table: least and median. The checkpoint must not end its utterances by itself (tools/make_checkpoint.py
 * makes such weights). With
 * --serve it reads commands from standard input, one a line, and answers each with seconds, for bench/qwen.py, which
 * runs the peers in turn: prefill POSITIONS          one prompt: seconds frames COUNT SEQUENCES     frames of so many
 * sequences at once: seconds of the talker, of the predictor memory                     the process's largest resident
 * size so far, in bytes
 */
#include "base/memory.h"
#include "base/team.h"
#include "base/thread.h"
#include "cpu/cpu.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/lm/lm_internal.h"
#include "weights/safetensors.h"

#include <getopt.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#define SEQUENCES_MAX 64
#define ROUNDS_MAX 64
#define PROMPT 45 /* positions before the first timed frame: two sentences of text */

static tmb_error error;

static void check(tmb_status status) {
    if (status != TMB_OK) {
        fprintf(stderr, "bench_lm: %s\n", error.message);
        exit(1);
    }
}

static void *need(void *pointer) {
    if (pointer == NULL) {
        fprintf(stderr, "bench_lm: out of memory\n");
        exit(1);
    }
    return pointer;
}

typedef struct bench {
    tmb_qwen3_config config;
    tmb_safetensors *weights;
    tmb_lm_options options;
    tmb_lm *lm;
    tmb_team *team;
    tmb_lm_context *context; /* for `sequences` */
    size_t sequences;
    double first_picked;      /* when the first code of the frame was picked */
    double talker, predictor; /* seconds of the frames of one measurement */
} bench;

/* ---- Settings --------------------------------------------------------------------------------- */

static bool kind_of(const char *word, size_t length, tmb_lm_precision *kind) {
    static const char *const names[] = {"f32", "bf16", "int8", "int4"};
    for (int i = 0; i < 4; i++) {
        if (strlen(names[i]) == length && strncmp(word, names[i], length) == 0) {
            *kind = (tmb_lm_precision)i;
            return true;
        }
    }
    return false;
}

static bool parse_precision(const char *text, tmb_lm_options *options) {
    if (kind_of(text, strlen(text), &options->talker)) {
        options->predictor = options->talker;
        if (options->talker == TMB_LM_INT4) {
            options->talker = TMB_LM_INT8;
        }
        return true;
    }
    while (*text != '\0') {
        size_t length = strcspn(text, ",");
        if (!(strncmp(text, "talker=", 7) == 0 && kind_of(text + 7, length - 7, &options->talker)) &&
            !(strncmp(text, "predictor=", 10) == 0 && kind_of(text + 10, length - 10, &options->predictor))) {
            return false;
        }
        text += text[length] == ',' ? length + 1 : length;
    }
    return true;
}

/* ---- What a frame reads ----------------------------------------------------------------------- */

static double layer_bytes(const tmb_lm_stack *stack) {
    size_t bytes = 0;
    for (size_t i = 0; i < stack->config.layers; i++) {
        const tmb_lm_layer *layer = &stack->layers[i];
        bytes += tmb_matrix_bytes(&layer->qkv) + tmb_matrix_bytes(&layer->output) + tmb_matrix_bytes(&layer->gate_up) +
                 tmb_matrix_bytes(&layer->down);
    }
    return (double)bytes;
}

static double talker_bytes(const bench *b, size_t positions) {
    return layer_bytes(&b->lm->talker) + (double)tmb_lm_entry(b->lm, b->lm->plan.entries.codec_head)->bytes +
           (double)tmb_kv_bytes(&b->lm->talker_kv, 64) / 64 * (double)positions;
}

static double predictor_bytes(const bench *b) {
    size_t passes = tmb_lm_code_groups(b->lm) - 1;
    double bytes = layer_bytes(&b->lm->predictor);
    for (size_t k = 0; k < passes; k++) {
        bytes += (double)tmb_lm_entry(b->lm, b->lm->plan.entries.heads + k)->bytes / (double)passes;
    }
    return bytes * (double)passes;
}

/* ---- Memory bandwidth ------------------------------------------------------------------------- */

typedef struct stretch {
    const uint64_t *data;
    size_t words;
    _Atomic(uint64_t) sum; /* so that the reading is not optimized away */
} stretch;

static void read_part(void *argument, int part, int parts) {
    stretch *s = argument;
    size_t end = tmb_team_begin(s->words, 32, part + 1, parts);
    uint64_t sums[32] = {0};
    for (size_t i = tmb_team_begin(s->words, 32, part, parts); i < end; i += 32) {
        for (size_t j = 0; j < 32; j++) {
            sums[j] += s->data[i + j];
        }
    }
    for (size_t j = 1; j < 32; j++) {
        sums[0] += sums[j];
    }
    atomic_fetch_add(&s->sum, sums[0]);
}

/* Bytes a second that `team` reads from `bytes` (a multiple of 256) of huge pages, over and over. */
static double bandwidth(tmb_team *team, const void *data, size_t bytes) {
    stretch s = {.data = data, .words = bytes / sizeof(uint64_t)};
    double best = 0;
    size_t passes = ((size_t)256 << 20) / bytes + 1;
    for (int round = 0; round < 6; round++) {
        double begin = tmb_now();
        for (size_t i = 0; i < passes; i++) {
            tmb_team_run(team, read_part, &s);
        }
        double rate = (double)(bytes * passes) / (tmb_now() - begin);
        best = rate > best ? rate : best;
    }
    return best;
}

/* ---- Measurements ----------------------------------------------------------------------------- */

static int note_first_pick(void *user, const tmb_lm_sequence *sequence, size_t frame, size_t book, const float *scores,
                           size_t count) {
    bench *b = user;
    (void)sequence, (void)frame, (void)scores, (void)count;
    if (book == 0) {
        b->first_picked = tmb_now(); /* of a batch, the last one's */
    }
    return -1;
}

static void load(bench *b) {
    tmb_lm_destroy(&b->lm);
    check(tmb_lm_load(&b->config, b->weights, &b->options, &b->lm, &error));
}

static void need_context(bench *b, size_t sequences) {
    if (b->context == NULL || b->sequences != sequences) {
        tmb_lm_context_destroy(&b->context);
        check(tmb_lm_context_create(b->lm, sequences, b->team, &b->context, &error));
        tmb_lm_context_watch(b->context, note_first_pick, b);
        b->sequences = sequences;
    }
}

static float *make_prompt(const bench *b, size_t positions) {
    size_t count = positions * tmb_lm_hidden_size(b->lm);
    float *rows = need(tmb_alloc_aligned(count, sizeof *rows));
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        rows[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
    return rows;
}

static double time_prefill(bench *b, size_t positions) {
    tmb_lm_sequence *sequence = NULL;
    float *rows = make_prompt(b, positions);
    need_context(b, 1);
    check(tmb_lm_sequence_create(b->lm, positions + 1, &sequence, &error));
    double begin = tmb_now();
    check(tmb_lm_prefill(b->context, sequence, rows, positions, &error));
    double seconds = tmb_now() - begin;
    tmb_lm_sequence_destroy(&sequence);
    free(rows);
    return seconds;
}

/* Steps `count` sequences for `frames` frames after one that is not counted. */
static void time_frames(bench *b, size_t frames, size_t count, double *talkers, double *predictors) {
    tmb_lm_sequence *sequences[SEQUENCES_MAX] = {0};
    tmb_lm_outcome outcomes[SEQUENCES_MAX];
    size_t hidden = tmb_lm_hidden_size(b->lm);
    float *rows = make_prompt(b, PROMPT);
    int16_t *codes = need(tmb_calloc(count * tmb_lm_code_groups(b->lm), sizeof *codes));
    tmb_sampling pick = {.temperature = 0.9, .top_k = 50, .top_p = 1.0};
    need_context(b, count);
    for (size_t i = 0; i < count; i++) {
        tmb_lm_sampling sampling = {
            .talker = pick, .predictor = pick, .repetition_penalty = 1.05, .seed = i, .max_new_tokens = frames + 4};
        check(tmb_lm_sequence_create(b->lm, PROMPT + frames + 4, &sequences[i], &error));
        if (i == 0) {
            check(tmb_lm_prefill(b->context, sequences[i], rows, PROMPT, &error));
        } else {
            check(tmb_lm_sequence_fork(sequences[i], sequences[0], PROMPT - 1, &error));
            check(tmb_lm_prefill(b->context, sequences[i], rows + (PROMPT - 1) * hidden, 1, &error));
        }
        check(tmb_lm_sequence_begin(sequences[i], &sampling, NULL, 0, rows, &error));
    }
    b->talker = b->predictor = 0;
    for (size_t frame = 0; frame < frames + 2; frame++) {
        double begin = tmb_now();
        tmb_lm_step(b->context, sequences, count, codes, outcomes);
        double end = tmb_now();
        for (size_t i = 0; i < count; i++) {
            if (outcomes[i] != TMB_LM_FRAME) {
                fprintf(stderr, "bench_lm: sequence %zu ended at frame %zu; take weights that never stop\n", i, frame);
                exit(1);
            }
        }
        if (frame >= 2) { /* the first has no talker step */
            b->talker += b->first_picked - begin;
            b->predictor += end - b->first_picked;
            if (talkers != NULL) {
                talkers[frame - 2] = b->first_picked - begin;
                predictors[frame - 2] = end - b->first_picked;
            }
        }
    }
    for (size_t i = 0; i < count; i++) {
        tmb_lm_sequence_destroy(&sequences[i]);
    }
    free(codes);
    free(rows);
}

static size_t peak_memory(void) {
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (size_t)usage.ru_maxrss * 1024 : 0;
}

/* ---- The table -------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    double x = *(const double *)a;
    double y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct spread {
    double least, median;
} spread;

static spread spread_of(double *values, size_t count) {
    qsort(values, count, sizeof *values, compare);
    return (spread){values[0] * 1e3, values[count / 2] * 1e3};
}

static void print_prefill(bench *b, size_t positions, size_t rounds) {
    double times[ROUNDS_MAX];
    (void)time_prefill(b, positions);
    for (size_t i = 0; i < rounds; i++) {
        times[i] = time_prefill(b, positions);
    }
    spread s = spread_of(times, rounds);
    printf("prefill %3zu        %8.1f / %.1f ms\n", positions, s.least, s.median);
}

/* Returns the median of a whole frame in milliseconds. */
static double print_frames(bench *b, size_t frames, size_t count) {
    double *talkers = need(tmb_calloc(3 * frames, sizeof *talkers));
    double *predictors = talkers + frames;
    double *sums = talkers + 2 * frames;
    time_frames(b, frames, count, talkers, predictors);
    for (size_t i = 0; i < frames; i++) {
        sums[i] = talkers[i] + predictors[i];
    }
    spread talker = spread_of(talkers, frames);
    spread predictor = spread_of(predictors, frames);
    spread sum = spread_of(sums, frames);
    printf("frame of %zu        talker %6.1f / %.1f   predictor %6.1f / %.1f   both %6.1f / %.1f ms   %.1f / %.1f "
           "frames/s\n",
           count, talker.least, talker.median, predictor.least, predictor.median, sum.least, sum.median,
           (double)count * 1e3 / sum.least, (double)count * 1e3 / sum.median);
    free(talkers);
    return sum.least;
}

/* The talker's weights come from the memory; the predictor's, read 15 times a frame, from a cache if one is as
 * large. */
static void print_roofline(const bench *b, double frame_ms) {
    double talker = talker_bytes(b, PROMPT);
    double predictor = predictor_bytes(b);
    double pass = predictor / (double)(tmb_lm_code_groups(b->lm) - 1);
    const size_t sizes[] = {(size_t)512 << 20, ((size_t)pass / 256 + 1) * 256};
    size_t bytes = sizes[0] > sizes[1] ? sizes[0] : sizes[1];
    double rates[2][2];
    uint8_t *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        return;
    }
    (void)madvise(memory, bytes, MADV_HUGEPAGE);
    memset(memory, 1, bytes);
    for (int i = 0; i < 2; i++) {
        rates[i][0] = bandwidth(NULL, memory, sizes[i]);
        rates[i][1] = bandwidth(b->team, memory, sizes[i]);
    }
    (void)munmap(memory, bytes);
    double least = (talker / rates[0][1] + predictor / rates[1][1]) * 1e3;
    printf("memory             %.1f GB/s with one thread, %.1f with %d (a pass of the predictor over and over: %.1f, "
           "%.1f)\n",
           rates[0][0] / 1e9, rates[0][1] / 1e9, tmb_team_threads(b->team), rates[1][0] / 1e9, rates[1][1] / 1e9);
    printf("a frame reads      %.0f MB talker + %.0f MB predictor (%.1f MB a pass): at least %.1f ms, measured %.1f: "
           "%.0f %% of the roofline\n",
           talker / 1e6, predictor / 1e6, pass / 1e6, least, frame_ms, least / frame_ms * 100);
}

static void print_table(bench *b, size_t rounds, size_t frames) {
    print_prefill(b, 45, rounds);
    print_prefill(b, 117, rounds);
    double frame_ms = print_frames(b, frames, 1);
    (void)print_frames(b, frames / 2 + 1, 4);
    (void)print_frames(b, frames / 2 + 1, 8);
    printf("memory, largest    %.0f MiB (weights %.0f MiB)\n", (double)peak_memory() / 1048576.0,
           (double)tmb_lm_bytes(b->lm) / 1048576.0);
    print_roofline(b, frame_ms);
}

static int serve(bench *b) {
    char line[256];
    while (fgets(line, sizeof line, stdin) != NULL) {
        size_t positions = 0, frames = 0, sequences = 0;
        if (sscanf(line, "prefill %zu", &positions) == 1 && positions > 0) {
            printf("%.6f\n", time_prefill(b, positions));
        } else if (sscanf(line, "frames %zu %zu", &frames, &sequences) == 2 && sequences > 0 &&
                   sequences <= SEQUENCES_MAX) {
            time_frames(b, frames, sequences, NULL, NULL);
            printf("%.6f %.6f\n", b->talker, b->predictor);
        } else if (strcmp(line, "memory\n") == 0) {
            printf("%zu\n", peak_memory());
        } else if (strcmp(line, "roofline\n") == 0) {
            print_roofline(b, print_frames(b, 8, 1));
        } else {
            fprintf(stderr, "bench_lm: what is %s", line);
            return 2;
        }
        (void)fflush(stdout);
    }
    return 0;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"precision", required_argument, NULL, 'p'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"packs", required_argument, NULL, 'd'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"frames", required_argument, NULL, 'f'},
                                            {"serve", no_argument, NULL, 's'},
                                            {NULL, 0, NULL, 0}};
    bench b = {.options = {.talker = TMB_LM_INT8, .predictor = TMB_LM_INT8}};
    const char *precision = "int8";
    int threads = tmb_cpu_count();
    size_t rounds = 5, frames = 20;
    bool serves = false, wrong = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'p': precision = optarg; break;
        case 't': threads = atoi(optarg); break;
        case 'd': b.options.pack_directory = optarg; break;
        case 'r': rounds = (size_t)atoi(optarg); break;
        case 'f': frames = (size_t)atoi(optarg); break;
        case 's': serves = true; break;
        default: wrong = true; break;
        }
    }
    if (wrong || optind + 1 != argc || !parse_precision(precision, &b.options) || rounds < 1 || rounds > ROUNDS_MAX ||
        frames < 1) {
        fprintf(
            stderr,
            "usage: bench_lm MODEL [--precision P] [--threads N] [--packs DIR] [--rounds N] [--frames N] [--serve]\n");
        return 2;
    }
    const char *model = argv[optind];
    check(tmb_team_create(threads, &b.team, &error));
    b.options.team = b.team;
    check(tmb_qwen3_config_read(model, &b.config, &error));
    check(tmb_safetensors_open(model, &b.weights, &error));
    double begin = tmb_now();
    load(&b);
    double first = tmb_now() - begin;
    begin = tmb_now();
    if (b.options.pack_directory != NULL && !serves) {
        load(&b);
    }
    double second = tmb_now() - begin;
    printf("%s %s, %s, %d threads, load %.2f s", serves ? "ready" : "timbre", precision, tmb_cpu_name(), threads,
           first);
    if (b.options.pack_directory != NULL && !serves) {
        printf(", again from the packs %.2f s", second);
    }
    printf("\n");
    (void)fflush(stdout);
    int result = 0;
    if (serves) {
        result = serve(&b);
    } else {
        print_table(&b, rounds, frames);
    }
    tmb_lm_context_destroy(&b.context);
    tmb_lm_destroy(&b.lm);
    tmb_safetensors_close(&b.weights);
    tmb_team_destroy(&b.team);
    return result;
}
