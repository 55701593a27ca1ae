/* What reduced precisions cost: a Qwen3-TTS checkpoint in f32 and in another precision, compared.
 *
 *   bench_precision MODEL [--precision int8|int4|bf16] [--threads N] [--frames N] [--layers]
 *
 * Language model: cosine of each layer's output and of what the layer adds (the layer alone, with f32's input), and for
 * every pick of N frames, made in f32 and repeated in the other precision with f32's codes, how often the highest score
 * is that of the same code, and the scores' error over their spread. Codec decoder: the wave's signal-to-noise ratio
 * with 16-bit products over N frames. --layers lists every layer; otherwise the least and the mean are printed.
 */
#include "base/memory.h"
#include "base/team.h"
#include "base/thread.h"
#include "cpu/cpu.h"
#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/lm/lm_internal.h"
#include "weights/safetensors.h"

#include <getopt.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POSITIONS 45
#define BOOKS_MAX 64

static tmb_error error;

static void check(tmb_status status) {
    if (status != TMB_OK) {
        fprintf(stderr, "bench_precision: %s\n", error.message);
        exit(1);
    }
}

static void *need(void *pointer) {
    if (pointer == NULL) {
        fprintf(stderr, "bench_precision: out of memory\n");
        exit(1);
    }
    return pointer;
}

static float *floats(size_t count) { return need(tmb_alloc_aligned(count, sizeof(float))); }

typedef struct bench {
    tmb_qwen3_config config;
    tmb_team *team;
    tmb_lm *exact, *reduced;
    size_t frames;
    bool list_layers;
} bench;

/* ---- Layers ----------------------------------------------------------------------------------- */

static void fill_random(float *values, size_t count) {
    uint32_t state = 1;
    for (size_t i = 0; i < count; i++) {
        state = state * 1664525u + 1013904223u;
        values[i] = (float)(state >> 8) / 8388608.0f - 1.0f;
    }
}

/* x [positions, stride] through one layer. */
static void run_layer(const bench *b, const tmb_lm_stack *stack, const tmb_kv_shape *shape, size_t layer,
                      size_t positions, float *x, size_t stride) {
    tmb_lm_stack one = *stack;
    const tmb_lm_stack *list[] = {&one};
    tmb_lm_workspace *workspace = NULL;
    one.layers += layer;
    one.config.layers = 1;
    tmb_kv kv = {.shape = *shape};
    kv.shape.layers = 1;
    check(tmb_lm_workspace_create(list, 1, positions, b->team, &workspace, &error));
    check(tmb_kv_reserve(&kv, positions, &error));
    tmb_lm_run run = {.kv = &kv, .first = 0, .count = positions};
    tmb_lm_stack_forward(&one, workspace, &run, 1, x, stride);
    tmb_kv_free(&kv);
    tmb_lm_workspace_destroy(&workspace);
}

/* The cosine of a - from and b - from (NULL: of a and b), over all positions. */
static double cosine(const float *a, const float *b, const float *from, size_t count) {
    double ab = 0, aa = 0, bb = 0;
    for (size_t i = 0; i < count; i++) {
        double x = (double)a[i] - (from != NULL ? (double)from[i] : 0);
        double y = (double)b[i] - (from != NULL ? (double)from[i] : 0);
        ab += x * y;
        aa += x * x;
        bb += y * y;
    }
    return ab / sqrt(aa * bb);
}

static void compare_layers(const bench *b, const char *name, const tmb_lm_stack *exact, const tmb_kv_shape *exact_kv,
                           const tmb_lm_stack *reduced, const tmb_kv_shape *reduced_kv) {
    size_t stride = tmb_lm_round16(exact->config.hidden_size);
    /* The predictor sees no more than a frame's codes. */
    size_t positions = exact_kv->page_positions < POSITIONS ? exact_kv->page_positions : POSITIONS;
    size_t count = positions * stride;
    float *before = floats(count), *x = floats(count), *y = floats(count), *alone = floats(count);
    double least_alone = 1, sum_alone = 0, last = 1;
    fill_random(x, count);
    memcpy(y, x, count * sizeof *x);
    for (size_t layer = 0; layer < exact->config.layers; layer++) {
        memcpy(before, x, count * sizeof *x);
        memcpy(alone, x, count * sizeof *x);
        run_layer(b, exact, exact_kv, layer, positions, x, stride);
        run_layer(b, reduced, reduced_kv, layer, positions, y, stride);
        run_layer(b, reduced, reduced_kv, layer, positions, alone, stride);
        double of_layer = cosine(x, alone, before, count);
        last = cosine(x, y, NULL, count);
        least_alone = of_layer < least_alone ? of_layer : least_alone;
        sum_alone += of_layer;
        if (b->list_layers) {
            printf("%s layer %2zu: what it adds %.6f, its output %.6f\n", name, layer, of_layer, last);
        }
    }
    printf("%-10s cosine of what a layer adds, alone: least %.6f, mean %.6f; of the last layer's output: %.6f\n", name,
           least_alone, sum_alone / (double)exact->config.layers, last);
    free(before);
    free(x);
    free(y);
    free(alone);
}

/* ---- Scores ----------------------------------------------------------------------------------- */

typedef struct picks {
    size_t books, width; /* scores kept of each pick */
    float *scores;       /* [frames, books, width] of f32 */
    int *codes;          /* [frames, books] */
    size_t *counts;      /* [books] */
    bool compare;
    size_t same[BOOKS_MAX], picked[BOOKS_MAX];
    double error[BOOKS_MAX], spread[BOOKS_MAX];
} picks;

static size_t highest(const float *scores, size_t count) {
    size_t best = 0;
    for (size_t i = 1; i < count; i++) {
        best = scores[i] > scores[best] ? i : best;
    }
    return best;
}

/* f32 takes its highest score, below the special codes; the other precision what f32 took. */
static int on_pick(void *user, const tmb_lm_sequence *sequence, size_t frame, size_t book, const float *scores,
                   size_t count) {
    picks *p = user;
    (void)sequence;
    size_t real = count < p->width ? count : p->width;
    float *kept = p->scores + (frame * p->books + book) * p->width;
    int *code = &p->codes[frame * p->books + book];
    if (!p->compare) {
        memcpy(kept, scores, real * sizeof *kept);
        p->counts[book] = real;
        *code = (int)highest(scores, real);
        return *code;
    }
    double mean = 0, square = 0, error_square = 0;
    for (size_t i = 0; i < real; i++) {
        mean += (double)kept[i] / (double)real;
    }
    for (size_t i = 0; i < real; i++) {
        square += ((double)kept[i] - mean) * ((double)kept[i] - mean);
        error_square += ((double)scores[i] - (double)kept[i]) * ((double)scores[i] - (double)kept[i]);
    }
    p->same[book] += highest(scores, real) == (size_t)*code;
    p->picked[book]++;
    p->error[book] += error_square;
    p->spread[book] += square;
    return *code;
}

static void speak(const bench *b, const tmb_lm *lm, picks *p) {
    tmb_lm_context *context = NULL;
    tmb_lm_sequence *sequence = NULL;
    size_t hidden = tmb_lm_hidden_size(lm);
    float *rows = floats(POSITIONS * hidden);
    int16_t codes[BOOKS_MAX];
    tmb_lm_outcome outcome = TMB_LM_FRAME;
    tmb_lm_sampling sampling = {.talker = {.temperature = 1, .top_p = 1},
                                .predictor = {.temperature = 1, .top_p = 1},
                                .repetition_penalty = 1,
                                .max_new_tokens = b->frames + 1};
    fill_random(rows, POSITIONS * hidden);
    check(tmb_lm_context_create(lm, 1, b->team, &context, &error));
    tmb_lm_context_watch(context, on_pick, p);
    check(tmb_lm_sequence_create(lm, POSITIONS + b->frames + 2, &sequence, &error));
    check(tmb_lm_prefill(context, sequence, rows, POSITIONS, &error));
    check(tmb_lm_sequence_begin(sequence, &sampling, NULL, 0, rows, &error));
    for (size_t frame = 0; frame < b->frames && outcome == TMB_LM_FRAME; frame++) {
        tmb_lm_step(context, &sequence, 1, codes, &outcome);
    }
    tmb_lm_sequence_destroy(&sequence);
    tmb_lm_context_destroy(&context);
    free(rows);
}

static void print_picks(const picks *p, const char *name, size_t first, size_t end) {
    size_t same = 0, picked = 0;
    double error_square = 0, square = 0;
    for (size_t book = first; book < end; book++) {
        same += p->same[book];
        picked += p->picked[book];
        error_square += p->error[book];
        square += p->spread[book];
    }
    printf("%-10s same highest score in %.1f %% of %zu picks; error of the scores %.4f of their spread\n", name,
           100.0 * (double)same / (double)picked, picked, sqrt(error_square / square));
}

static void compare_scores(const bench *b) {
    picks p = {.books = tmb_lm_code_groups(b->exact), .width = b->config.codec.decoder.codebook_size};
    if (p.books > BOOKS_MAX) {
        fprintf(stderr, "bench_precision: %zu codes a frame are too many\n", p.books);
        exit(1);
    }
    p.scores = floats((b->frames + 1) * p.books * p.width);
    p.codes = need(tmb_calloc((b->frames + 1) * p.books, sizeof *p.codes));
    p.counts = need(tmb_calloc(p.books, sizeof *p.counts));
    speak(b, b->exact, &p);
    p.compare = true;
    speak(b, b->reduced, &p);
    print_picks(&p, "talker", 0, 1);
    print_picks(&p, "predictor", 1, p.books);
    free(p.scores);
    free(p.codes);
    free(p.counts);
}

/* ---- Codec ------------------------------------------------------------------------------------ */

static float *decode(const bench *b, const tmb_safetensors *weights, tmb_codec_precision precision,
                     const int16_t *codes, size_t *count) {
    tmb_codec_decoder *decoder = NULL;
    tmb_codec_workspace *workspace = NULL;
    tmb_codec_state *state = NULL;
    check(tmb_codec_decoder_load(&b->config.codec, weights, precision, &decoder, &error));
    check(tmb_codec_workspace_create(decoder, 16, b->team, &workspace, &error));
    check(tmb_codec_state_create(decoder, &state, &error));
    *count = b->frames * tmb_codec_samples_per_frame(decoder);
    float *samples = floats(*count);
    for (size_t done = 0; done < b->frames; done += 16) {
        size_t here = b->frames - done < 16 ? b->frames - done : 16;
        tmb_codec_piece piece = {state, codes + done * tmb_codec_decoder_books(decoder), here,
                                 samples + done * tmb_codec_samples_per_frame(decoder)};
        check(tmb_codec_decode(workspace, &piece, 1, &error));
    }
    tmb_codec_state_destroy(&state);
    tmb_codec_workspace_destroy(&workspace);
    tmb_codec_decoder_destroy(&decoder);
    return samples;
}

static void compare_codec(const bench *b, const char *model) {
    char path[4096];
    tmb_safetensors *weights = NULL;
    (void)snprintf(path, sizeof path, "%s/speech_tokenizer", model);
    check(tmb_safetensors_open(path, &weights, &error));
    size_t books = tmb_lm_code_groups(b->exact);
    int16_t *codes = need(tmb_calloc(b->frames * books, sizeof *codes));
    uint32_t state = 1;
    for (size_t i = 0; i < b->frames * books; i++) {
        state = state * 1664525u + 1013904223u;
        codes[i] = (int16_t)((state >> 8) % b->config.codec.decoder.codebook_size);
    }
    size_t count = 0;
    float *exact = decode(b, weights, TMB_CODEC_F32, codes, &count);
    float *reduced = decode(b, weights, TMB_CODEC_BF16, codes, &count);
    double signal = 0, noise = 0;
    for (size_t i = 0; i < count; i++) {
        signal += (double)exact[i] * (double)exact[i];
        noise += ((double)reduced[i] - (double)exact[i]) * ((double)reduced[i] - (double)exact[i]);
    }
    printf("codec      16-bit products: %.1f dB from f32 over %zu frames\n", 10 * log10(signal / noise), b->frames);
    free(exact);
    free(reduced);
    free(codes);
    tmb_safetensors_close(&weights);
}

/* ----------------------------------------------------------------------------------------------- */

static bool parse_precision(const char *name, tmb_lm_options *options) {
    static const struct {
        const char *name;
        tmb_lm_precision talker, predictor;
    } known[] = {
        {"bf16", TMB_LM_BF16, TMB_LM_BF16}, {"int8", TMB_LM_INT8, TMB_LM_INT8}, {"int4", TMB_LM_INT8, TMB_LM_INT4}};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(name, known[i].name) == 0) {
            options->talker = known[i].talker;
            options->predictor = known[i].predictor;
            return true;
        }
    }
    return false;
}

int main(int argc, char **argv) {
    static const struct option options[] = {{"precision", required_argument, NULL, 'p'},
                                            {"threads", required_argument, NULL, 't'},
                                            {"frames", required_argument, NULL, 'f'},
                                            {"layers", no_argument, NULL, 'l'},
                                            {NULL, 0, NULL, 0}};
    bench b = {.frames = 60};
    tmb_lm_options f32 = {.talker = TMB_LM_F32, .predictor = TMB_LM_F32};
    tmb_lm_options reduced = f32;
    const char *precision = "int8";
    int threads = tmb_cpu_count();
    bool wrong = false;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 'p': precision = optarg; break;
        case 't': threads = atoi(optarg); break;
        case 'f': b.frames = (size_t)atoi(optarg); break;
        case 'l': b.list_layers = true; break;
        default: wrong = true; break;
        }
    }
    if (wrong || optind + 1 != argc || !parse_precision(precision, &reduced) || b.frames < 1 || b.frames > 1000) {
        fprintf(stderr,
                "usage: bench_precision MODEL [--precision int8|int4|bf16] [--threads N] [--frames N] [--layers]\n");
        return 2;
    }
    const char *model = argv[optind];
    tmb_safetensors *weights = NULL;
    check(tmb_team_create(threads, &b.team, &error));
    f32.team = reduced.team = b.team;
    check(tmb_qwen3_config_read(model, &b.config, &error));
    check(tmb_safetensors_open(model, &weights, &error));
    check(tmb_lm_load(&b.config, weights, &f32, &b.exact, &error));
    check(tmb_lm_load(&b.config, weights, &reduced, &b.reduced, &error));
    printf("%s against f32, %s\n", precision, tmb_cpu_name());
    compare_layers(&b, "talker", &b.exact->talker, &b.exact->talker_kv, &b.reduced->talker, &b.reduced->talker_kv);
    compare_layers(&b, "predictor", &b.exact->predictor, &b.exact->predictor_kv, &b.reduced->predictor,
                   &b.reduced->predictor_kv);
    compare_scores(&b);
    compare_codec(&b, model);
    tmb_lm_destroy(&b.exact);
    tmb_lm_destroy(&b.reduced);
    tmb_safetensors_close(&weights);
    tmb_team_destroy(&b.team);
    return 0;
}
