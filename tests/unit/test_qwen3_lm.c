/* The language model against what the official implementation computed, from prompt embeddings on. */
#include "test.h"

#include "golden.h"
#include "tts/qwen3/cpu/lm/lm.h"
#include "weights/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_ITEMS 4

typedef struct model {
    const char *name;
    size_t max_new_tokens;
    tmb_qwen3_config config;
    tmb_safetensors *weights;
    tmb_lm *lm;
} model;

static void open_model(model *m, const char *name, size_t max_new_tokens, tmb_lm_precision talker,
                       tmb_lm_precision predictor, tmb_team *team) {
    tmb_error error = {0};
    memset(m, 0, sizeof *m);
    m->name = name;
    m->max_new_tokens = max_new_tokens;
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/%s/model", name), &m->config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/%s/model", name), &m->weights, &error), error);
    tmb_lm_options options = {.talker = talker, .predictor = predictor, .team = team};
    assert_ok(tmb_lm_load(&m->config, m->weights, &options, &m->lm, &error), error);
}

static void close_model(model *m) {
    tmb_lm_destroy(&m->lm);
    tmb_safetensors_close(&m->weights);
}

/* A case's prompts as sequences. */
typedef struct prompts {
    golden_array embeds, mask, trailing, pad;
    size_t items, length, hidden, trailing_length;
} prompts;

static void load_prompts(prompts *p, const model *m, const char *name) {
    memset(p, 0, sizeof *p);
    p->embeds = golden_load("qwen/%s/cases/%s/inputs_embeds.npy", m->name, name);
    p->mask = golden_load("qwen/%s/cases/%s/attention_mask.npy", m->name, name);
    p->trailing = golden_load("qwen/%s/cases/%s/trailing_text_hidden.npy", m->name, name);
    p->items = p->embeds.dims[0];
    p->length = p->embeds.dims[1];
    p->hidden = p->embeds.dims[2];
    p->trailing_length = p->trailing.dims[1];
    assert_int_equal(p->hidden, tmb_lm_hidden_size(m->lm));
}

static void free_prompts(prompts *p) {
    golden_free(&p->embeds);
    golden_free(&p->mask);
    golden_free(&p->trailing);
}

static tmb_lm_sequence *start(const model *m, tmb_lm_context *context, const prompts *p, size_t item,
                              const tmb_lm_sampling *sampling) {
    tmb_error error = {0};
    tmb_lm_sequence *sequence = NULL;
    size_t padding = 0;
    while (p->mask.i64[item * p->length + padding] == 0) {
        padding++;
    }
    const float *rows = p->embeds.f32 + (item * p->length + padding) * p->hidden;
    float *pad = calloc(p->hidden, sizeof *pad);
    int32_t id = m->config.tts_pad_id;
    assert_ok(tmb_lm_embed_text(m->lm, NULL, &id, 1, pad, &error), error);
    assert_ok(tmb_lm_sequence_create(m->lm, p->length - padding + sampling->max_new_tokens, &sequence, &error), error);
    assert_ok(tmb_lm_prefill(context, sequence, rows, p->length - padding, &error), error);
    assert_ok(tmb_lm_sequence_begin(sequence, sampling, p->trailing.f32 + item * p->trailing_length * p->hidden,
                                    p->trailing_length, pad, &error),
              error);
    free(pad);
    return sequence;
}

static tmb_lm_sampling greedy(const model *m) {
    return (tmb_lm_sampling){.talker = {.greedy = true},
                             .predictor = {.greedy = true},
                             .repetition_penalty = m->config.generation.repetition_penalty,
                             .max_new_tokens = m->max_new_tokens};
}

/* Frames that a sequence makes; codes: [limit, groups]. */
typedef struct generated {
    int16_t *codes;
    size_t frames;
    tmb_lm_outcome outcome;
} generated;

/* Steps `count` sequences together until all have finished; each is destroyed. */
static void run(const model *m, tmb_lm_context *context, tmb_lm_sequence **sequences, size_t count,
                generated *results) {
    size_t groups = tmb_lm_code_groups(m->lm);
    size_t which[MOST_ITEMS];
    tmb_lm_sequence *live[MOST_ITEMS];
    int16_t codes[MOST_ITEMS * 64];
    tmb_lm_outcome outcomes[MOST_ITEMS];
    size_t live_count = count;
    for (size_t i = 0; i < count; i++) {
        which[i] = i;
        live[i] = sequences[i];
        results[i] = (generated){.codes = calloc(m->max_new_tokens * groups, sizeof(int16_t))};
    }
    while (live_count > 0) {
        tmb_lm_step(context, live, live_count, codes, outcomes);
        size_t kept = 0;
        for (size_t i = 0; i < live_count; i++) {
            generated *result = &results[which[i]];
            if (outcomes[i] == TMB_LM_FRAME) {
                assert_true(result->frames < m->max_new_tokens);
                memcpy(result->codes + result->frames++ * groups, codes + i * groups, groups * sizeof *codes);
                live[kept] = live[i];
                which[kept++] = which[i];
            } else {
                result->outcome = outcomes[i];
                tmb_lm_sequence_destroy(&live[i]);
            }
        }
        live_count = kept;
    }
}

static void free_results(generated *results, size_t count) {
    for (size_t i = 0; i < count; i++) {
        free(results[i].codes);
    }
}

/* Compares scores with the goldens' as they are made. */
typedef struct watcher {
    golden_array logits, first; /* [4, B, V], [15, B, codes] */
    tmb_lm_sequence *const *sequences;
    size_t items;
    double largest;
} watcher;

static int watch(void *user, const tmb_lm_sequence *sequence, size_t frame, size_t book, const float *scores,
                 size_t count) {
    watcher *w = user;
    size_t item = 0;
    while (w->sequences[item] != sequence) {
        item++;
    }
    double difference = 0;
    if (book == 0 && frame < w->logits.dims[0]) {
        difference =
            golden_assert_close("logits", scores, w->logits.f32 + (frame * w->items + item) * count, count, 1e-4);
    } else if (book > 0 && frame == 0 && w->first.f32 != NULL) {
        difference = golden_assert_close("predictor's logits", scores,
                                         w->first.f32 + ((book - 1) * w->items + item) * count, count, 1e-4);
    }
    w->largest = fmax(w->largest, difference);
    return -1;
}

static void check_codes(const model *m, const char *name, size_t item, const generated *result) {
    golden_array codes = golden_load("qwen/%s/cases/%s/codes_%zu.npy", m->name, name, item);
    assert_int_equal(result->frames, codes.dims[0]);
    assert_memory_equal(result->codes, codes.i16, codes.count * sizeof *codes.i16);
    bool full = codes.dims[0] == m->max_new_tokens - 1;
    assert_true(full || result->outcome == TMB_LM_END);
    golden_free(&codes);
}

/* What the case was generated with. */
static double penalty_of(const model *m, const char *name) {
    tmb_error error = {0};
    json_t *info = NULL;
    assert_ok(tmb_json_read(golden_path("qwen/%s/cases/%s/case.json", m->name, name), 1 << 20, &info, &error), error);
    const json_t *penalty = json_object_get(json_object_get(info, "options"), "repetition_penalty");
    double value = penalty != NULL ? json_number_value(penalty) : m->config.generation.repetition_penalty;
    json_decref(info);
    return value;
}

/* All items of a case together, then each alone. */
static void check_case(const model *m, const char *name, tmb_team *team) {
    tmb_error error = {0};
    tmb_lm_context *context = NULL;
    assert_ok(tmb_lm_context_create(m->lm, MOST_ITEMS, team, &context, &error), error);
    prompts p;
    load_prompts(&p, m, name);
    tmb_lm_sampling sampling = greedy(m);
    sampling.repetition_penalty = penalty_of(m, name);
    tmb_lm_sequence *sequences[MOST_ITEMS] = {0};
    generated together[MOST_ITEMS], alone[MOST_ITEMS];
    for (size_t i = 0; i < p.items; i++) {
        sequences[i] = start(m, context, &p, i, &sampling);
    }
    watcher w = {.sequences = sequences, .items = p.items};
    w.logits = golden_load("qwen/%s/cases/%s/logits_first4.npy", m->name, name);
    if (strcmp(m->name, "sample-c") != 0) {
        w.first = golden_load("qwen/%s/cases/%s/cp_logits_first.npy", m->name, name);
    }
    tmb_lm_context_watch(context, watch, &w);
    run(m, context, sequences, p.items, together);
    tmb_lm_context_watch(context, NULL, NULL);
    for (size_t i = 0; i < p.items; i++) {
        check_codes(m, name, i, &together[i]);
        tmb_lm_sequence *one = start(m, context, &p, i, &sampling);
        run(m, context, &one, 1, &alone[i]);
        check_codes(m, name, i, &alone[i]);
    }
    print_message("%s %s: logits within %.2g\n", m->name, name, w.largest);
    free_results(together, p.items);
    free_results(alone, p.items);
    golden_free(&w.logits);
    golden_free(&w.first);
    free_prompts(&p);
    tmb_lm_context_destroy(&context);
}

static const char *const cases_c[] = {"icl_en",           "icl_zh", "xvec_auto",  "xvec_short", "icl_long_ref_text",
                                      "icl_nonstreaming", "batch3", "batch2_xvec"};
static const char *const cases_d[] = {"icl", "batch2_mixed"};
static const char *const cases_e[] = {"icl_penalty", "icl_zh_nonstreaming", "xvec_penalty", "xvec_ja_nonstreaming",
                                      "batch3_penalty"};
static const char *const cases_f[] = {"icl_penalty", "icl_ja_nonstreaming", "xvec_penalty", "xvec_ko_nonstreaming",
                                      "batch3_penalty"};

static void check_model(const char *name, size_t max_new_tokens, const char *const *cases, size_t count,
                        tmb_team *team) {
    model m;
    open_model(&m, name, max_new_tokens, TMB_LM_F32, TMB_LM_F32, team);
    for (size_t i = 0; i < count; i++) {
        check_case(&m, cases[i], team);
    }
    close_model(&m);
}

static void test_goldens(void **state) {
    check_model("sample-c", 32, cases_c, sizeof cases_c / sizeof cases_c[0], *state);
    check_model("sample-d", 24, cases_d, sizeof cases_d / sizeof cases_d[0], *state);
    check_model("sample-e", 20, cases_e, sizeof cases_e / sizeof cases_e[0], *state);
    check_model("sample-f", 20, cases_f, sizeof cases_f / sizeof cases_f[0], *state);
}

/* At every precision, sampled or not: a sequence's codes are the same in any company. */
static void test_batch_equals_alone(void **state) {
    tmb_team *team = *state;
    tmb_error error = {0};
    for (int precision = TMB_LM_F32; precision <= TMB_LM_INT4; precision++) {
        model m;
        open_model(&m, "sample-c", 20, (tmb_lm_precision)precision, (tmb_lm_precision)precision, team);
        tmb_lm_context *context = NULL;
        assert_ok(tmb_lm_context_create(m.lm, MOST_ITEMS, team, &context, &error), error);
        prompts p;
        load_prompts(&p, &m, "batch3");
        tmb_lm_sequence *sequences[MOST_ITEMS];
        generated together[MOST_ITEMS], alone[MOST_ITEMS];
        tmb_lm_sampling sampling[MOST_ITEMS];
        for (size_t i = 0; i < p.items; i++) {
            sampling[i] = (tmb_lm_sampling){.talker = {.temperature = 0.9, .top_k = 50, .top_p = i == 1 ? 0.8 : 1.0},
                                            .predictor = {.temperature = 1.1, .top_k = 0, .top_p = 0.95},
                                            .repetition_penalty = 1.05,
                                            .seed = 100 + i,
                                            .max_new_tokens = m.max_new_tokens};
            sequences[i] = start(&m, context, &p, i, &sampling[i]);
        }
        run(&m, context, sequences, p.items, together);
        for (size_t i = 0; i < p.items; i++) {
            tmb_lm_sequence *one = start(&m, context, &p, i, &sampling[i]);
            run(&m, context, &one, 1, &alone[i]);
            assert_int_equal(alone[i].frames, together[i].frames);
            assert_memory_equal(alone[i].codes, together[i].codes,
                                alone[i].frames * tmb_lm_code_groups(m.lm) * sizeof(int16_t));
        }
        free_results(together, p.items);
        free_results(alone, p.items);
        free_prompts(&p);
        tmb_lm_context_destroy(&context);
        close_model(&m);
    }
}

/* A prompt whose beginning was prefilled for another sequence gives the same codes. */
static void test_fork(void **state) {
    tmb_team *team = *state;
    tmb_error error = {0};
    model m;
    open_model(&m, "sample-c", 32, TMB_LM_F32, TMB_LM_F32, team);
    tmb_lm_context *context = NULL;
    assert_ok(tmb_lm_context_create(m.lm, 1, team, &context, &error), error);
    prompts p;
    load_prompts(&p, &m, "icl_en");
    tmb_lm_sampling sampling = greedy(&m);
    float *pad = calloc(p.hidden, sizeof *pad);
    int32_t id = m.config.tts_pad_id;
    assert_ok(tmb_lm_embed_text(m.lm, NULL, &id, 1, pad, &error), error);
    static const size_t shared[] = {1, 9, 33};
    for (size_t i = 0; i < 3; i++) {
        tmb_lm_sequence *first = NULL, *second = NULL;
        assert_ok(tmb_lm_sequence_create(m.lm, shared[i], &first, &error), error);
        assert_ok(tmb_lm_prefill(context, first, p.embeds.f32, shared[i], &error), error);
        assert_ok(tmb_lm_sequence_create(m.lm, p.length, &second, &error), error);
        assert_ok(tmb_lm_sequence_fork(second, first, shared[i], &error), error);
        tmb_lm_sequence_destroy(&first);
        assert_ok(tmb_lm_prefill(context, second, p.embeds.f32 + shared[i] * p.hidden, p.length - shared[i], &error),
                  error);
        assert_ok(tmb_lm_sequence_begin(second, &sampling, p.trailing.f32, p.trailing_length, pad, &error), error);
        generated result;
        run(&m, context, &second, 1, &result);
        check_codes(&m, "icl_en", 0, &result);
        free(result.codes);
    }
    free(pad);
    free_prompts(&p);
    tmb_lm_context_destroy(&context);
    close_model(&m);
}

static void test_limits(void **state) {
    tmb_team *team = *state;
    tmb_error error = {0};
    model m;
    open_model(&m, "sample-c", 32, TMB_LM_F32, TMB_LM_F32, team);
    tmb_lm_sequence *sequence = NULL;
    tmb_lm_context *context = NULL;
    assert_ok(tmb_lm_context_create(m.lm, 1, team, &context, &error), error);
    assert_ok(tmb_lm_sequence_create(m.lm, 1, &sequence, &error), error);
    tmb_lm_sampling sampling = greedy(&m);
    float row[64] = {0};
    assert_int_equal(tmb_lm_sequence_begin(sequence, &sampling, NULL, 0, row, &error), TMB_ERROR_ARGUMENT);
    assert_int_equal(tmb_lm_prefill(context, sequence, row, tmb_lm_max_positions(m.lm), &error), TMB_ERROR_LIMIT);
    assert_ok(tmb_lm_prefill(context, sequence, row, 1, &error), error);
    sampling.max_new_tokens = 1;
    assert_int_equal(tmb_lm_sequence_begin(sequence, &sampling, NULL, 0, row, &error), TMB_ERROR_ARGUMENT);
    int32_t bad = (int32_t)m.config.talker.text_vocab_size;
    assert_int_equal(tmb_lm_embed_text(m.lm, team, &bad, 1, row, &error), TMB_ERROR_ARGUMENT);
    bad = -1;
    assert_int_equal(tmb_lm_embed_text(m.lm, team, &bad, 1, row, &error), TMB_ERROR_ARGUMENT);
    tmb_lm_sequence_destroy(&sequence);
    tmb_lm_context_destroy(&context);
    close_model(&m);
}

static int one_thread(void **state) {
    *state = NULL;
    return 0;
}

static int three_threads(void **state) {
    tmb_team *team = NULL;
    int failed = tmb_team_create(3, &team, NULL) != TMB_OK;
    *state = team;
    return failed;
}

static int end_team(void **state) {
    tmb_team *team = *state;
    if (team != NULL) {
        tmb_team_destroy(&team);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_goldens, one_thread, end_team),
        cmocka_unit_test_setup_teardown(test_goldens, three_threads, end_team),
        cmocka_unit_test_setup_teardown(test_batch_equals_alone, one_thread, end_team),
        cmocka_unit_test_setup_teardown(test_batch_equals_alone, three_threads, end_team),
        cmocka_unit_test_setup_teardown(test_fork, one_thread, end_team),
        cmocka_unit_test_setup_teardown(test_limits, one_thread, end_team),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
