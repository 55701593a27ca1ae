/* The talker's prompt in every layout, against what the official implementation fed its talker. */
#include "test.h"

#include "golden.h"
#include "tts/qwen3/cpu/lm/lm.h"
#include "tts/qwen3/prompt/prompt.h"
#include "tts/qwen3/text/language.h"
#include "tts/qwen3/text/speaker.h"
#include "tts/qwen3/text/template.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

typedef struct model {
    const char *name;
    tmb_qwen3_config config;
    tmb_safetensors *weights;
    tmb_tokenizer *tokenizer;
    tmb_lm *lm;
} model;

/* Element i of a list, or the value itself. */
static const json_t *pick(const json_t *value, size_t i) {
    return json_is_array(value) ? json_array_get(value, i) : value;
}

static void check_item(const model *m, const char *name, const json_t *info, size_t item, const golden_array *embeds,
                       const golden_array *mask, const golden_array *trailing) {
    tmb_error error = {0};
    size_t length = embeds->dims[1], hidden = embeds->dims[2];
    const char *text = json_string_value(pick(json_object_get(info, "text"), item));
    const char *reference = json_string_value(pick(json_object_get(info, "ref_text"), item));
    const json_t *by_vector = json_object_get(info, "x_vector_only_mode");
    by_vector = pick(by_vector != NULL ? by_vector : json_object_get(info, "x_vector_only"), item);
    tmb_prompt_parts parts = {.non_streaming = json_is_true(json_object_get(info, "non_streaming_mode"))};
    tmb_template_ids target = {0}, transcript = {0};
    assert_ok(tmb_template_target(m->tokenizer, text, strlen(text), &target, &error), error);
    parts.role = target.role;
    parts.text = target.text;
    parts.text_count = target.text_count;
    assert_ok(tmb_qwen3_language_id(&m->config.talker, json_string_value(pick(json_object_get(info, "language"), item)),
                                    &parts.language, &error),
              error);
    golden_array speaker = golden_load("qwen/%s/cases/%s/speaker_%zu.npy", m->name, name, item), codes = {0};
    parts.vector = speaker.f32;
    if (!json_is_true(by_vector)) {
        codes = golden_load("qwen/%s/cases/%s/ref_codes_%zu.npy", m->name, name, item);
        assert_ok(tmb_template_reference(m->tokenizer, reference, strlen(reference), &transcript, &error), error);
        parts.reference_codes = codes.i16;
        parts.reference_frames = codes.dims[0];
        parts.reference_text = transcript.text;
        parts.reference_text_count = transcript.text_count;
    }
    tmb_prompt prompt;
    assert_ok(tmb_prompt_build(&m->config, &parts, &prompt, &error), error);
    size_t padding = 0;
    while (mask->i64[item * length + padding] == 0) {
        padding++;
    }
    assert_int_equal(prompt.count, length - padding);
    assert_true(prompt.count <=
                tmb_prompt_rows_max(0, parts.text_count, parts.reference_text_count, parts.reference_frames));
    assert_true(prompt.shared >= 8 && prompt.shared < prompt.count);
    float *rows = calloc(prompt.count, hidden * sizeof *rows);
    assert_ok(tmb_lm_embed_rows(m->lm, NULL, &prompt, 0, prompt.count, rows, &error), error);
    (void)golden_assert_close("prompt", rows, embeds->f32 + (item * length + padding) * hidden, prompt.count * hidden,
                              1e-5);
    /* A part of the rows is the same as in the whole, to the bit. */
    float *part = calloc(prompt.count, hidden * sizeof *part);
    assert_ok(tmb_lm_embed_rows(m->lm, NULL, &prompt, prompt.shared, prompt.count - prompt.shared, part, &error),
              error);
    assert_memory_equal(part, rows + prompt.shared * hidden, (prompt.count - prompt.shared) * hidden * sizeof *part);
    /* Shorter texts of a batch are filled with the pad embedding. */
    for (size_t i = 0; i < trailing->dims[1]; i++) {
        const int32_t *id = i < prompt.later_count ? &prompt.later[i] : &prompt.pad;
        assert_ok(tmb_lm_embed_text(m->lm, NULL, id, 1, part, &error), error);
        (void)golden_assert_close("trailing text", part, trailing->f32 + (item * trailing->dims[1] + i) * hidden,
                                  hidden, 1e-5);
    }
    assert_true(prompt.later_count <= trailing->dims[1]);

    /* What is shared is the same for another text. */
    tmb_prompt other;
    int32_t word = 65;
    parts.text = &word;
    parts.text_count = 1;
    assert_ok(tmb_prompt_build(&m->config, &parts, &other, &error), error);
    assert_int_equal(other.shared, prompt.shared);
    assert_memory_equal(other.rows, prompt.rows, prompt.shared * sizeof *prompt.rows);
    free(rows);
    free(part);
    tmb_prompt_free(&other);
    tmb_prompt_free(&prompt);
    tmb_template_ids_free(&target);
    tmb_template_ids_free(&transcript);
    golden_free(&speaker);
    golden_free(&codes);
}

static void check_case(const model *m, const char *name) {
    tmb_error error = {0};
    json_t *info = NULL;
    assert_ok(tmb_json_read(golden_path("qwen/%s/cases/%s/case.json", m->name, name), 1 << 20, &info, &error), error);
    golden_array embeds = golden_load("qwen/%s/cases/%s/inputs_embeds.npy", m->name, name);
    golden_array mask = golden_load("qwen/%s/cases/%s/attention_mask.npy", m->name, name);
    golden_array trailing = golden_load("qwen/%s/cases/%s/trailing_text_hidden.npy", m->name, name);
    for (size_t item = 0; item < embeds.dims[0]; item++) {
        check_item(m, name, info, item, &embeds, &mask, &trailing);
    }
    golden_free(&embeds);
    golden_free(&mask);
    golden_free(&trailing);
    json_decref(info);
}

static void check_model(const char *name, const char *const *cases, size_t count,
                        void (*check)(const model *m, const char *name)) {
    tmb_error error = {0};
    model m = {.name = name};
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/%s/model", name), &m.config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/%s/model", name), &m.weights, &error), error);
    assert_ok(tmb_tokenizer_load(golden_path("qwen/%s/model", name), TMB_TEXT_PATTERN_QWEN2, &m.tokenizer, &error),
              error);
    tmb_lm_options options = {.talker = TMB_LM_F32};
    assert_ok(tmb_lm_load(&m.config, m.weights, &options, &m.lm, &error), error);
    for (size_t i = 0; i < count; i++) {
        check(&m, cases[i]);
    }
    tmb_lm_destroy(&m.lm);
    tmb_tokenizer_destroy(&m.tokenizer);
    tmb_safetensors_close(&m.weights);
}

/* Voices of the model's own: the golden lists every row as [text id, codec id or null]. */
static void check_family_item(const model *m, const char *name, const json_t *info, size_t item) {
    tmb_error error = {0};
    const char *text = json_string_value(pick(json_object_get(info, "text"), item));
    const char *instruct = json_string_value(pick(json_object_get(info, "instruct"), item));
    const json_t *whole = json_object_get(info, "non_streaming_mode");
    const json_t *expected = json_array_get(json_object_get(info, "items"), item);
    const json_t *rows = json_object_get(expected, "rows"), *later = json_object_get(expected, "later");
    const tmb_qwen3_speaker *speaker = NULL;
    tmb_template_ids target = {0}, style = {0};
    tmb_prompt_parts parts = {.speaker = -1, .non_streaming = whole == NULL || json_is_true(whole)};
    assert_ok(tmb_template_target(m->tokenizer, text, strlen(text), &target, &error), error);
    if (instruct != NULL && instruct[0] != 0 && !m->config.drops_instruct) {
        assert_ok(tmb_template_instruct(m->tokenizer, instruct, strlen(instruct), &style, &error), error);
    }
    assert_ok(tmb_qwen3_language_id(&m->config.talker, json_string_value(pick(json_object_get(info, "language"), item)),
                                    &parts.language, &error),
              error);
    assert_ok(tmb_qwen3_find_speaker(&m->config, json_string_value(pick(json_object_get(info, "speaker"), item)),
                                     &speaker, &error),
              error);
    assert_ok(tmb_qwen3_speaker_language(&m->config, speaker, &parts.language, &error), error);
    parts.instruct = style.ids;
    parts.instruct_count = style.count;
    parts.role = target.role;
    parts.text = target.text;
    parts.text_count = target.text_count;
    parts.speaker = speaker == NULL ? -1 : speaker->id;
    tmb_prompt prompt;
    assert_ok(tmb_prompt_build(&m->config, &parts, &prompt, &error), error);
    assert_int_equal(prompt.count, json_array_size(rows));
    assert_true(prompt.count <= tmb_prompt_rows_max(parts.instruct_count, parts.text_count, 0, 0));
    for (size_t i = 0; i < prompt.count; i++) {
        const json_t *pair = json_array_get(rows, i), *codec = json_array_get(pair, 1);
        assert_int_equal(prompt.rows[i].text, json_integer_value(json_array_get(pair, 0)));
        assert_int_equal(prompt.rows[i].codec, json_is_null(codec) ? TMB_PROMPT_NONE : json_integer_value(codec));
    }
    for (size_t i = 0; i < json_array_size(later) || i < prompt.later_count; i++) {
        int32_t own = i < prompt.later_count ? prompt.later[i] : prompt.pad;
        int32_t wanted =
            i < json_array_size(later) ? (int32_t)json_integer_value(json_array_get(later, i)) : prompt.pad;
        assert_int_equal(own, wanted);
    }
    golden_array embeds = golden_load("qwen/%s/cases/%s/inputs_embeds.npy", m->name, name);
    golden_array trailing = golden_load("qwen/%s/cases/%s/trailing_text_hidden.npy", m->name, name);
    size_t length = embeds.dims[1], hidden = embeds.dims[2];
    float *own = calloc(prompt.count, hidden * sizeof *own);
    assert_ok(tmb_lm_embed_rows(m->lm, NULL, &prompt, 0, prompt.count, own, &error), error);
    (void)golden_assert_close("prompt", own, embeds.f32 + (item * length + length - prompt.count) * hidden,
                              prompt.count * hidden, 1e-5);
    for (size_t i = 0; i < trailing.dims[1]; i++) {
        const int32_t *id = i < prompt.later_count ? &prompt.later[i] : &prompt.pad;
        assert_ok(tmb_lm_embed_text(m->lm, NULL, id, 1, own, &error), error);
        (void)golden_assert_close("trailing text", own, trailing.f32 + (item * trailing.dims[1] + i) * hidden, hidden,
                                  1e-5);
    }
    free(own);
    golden_free(&embeds);
    golden_free(&trailing);
    tmb_prompt_free(&prompt);
    tmb_template_ids_free(&target);
    tmb_template_ids_free(&style);
}

static void check_family_case(const model *m, const char *name) {
    tmb_error error = {0};
    json_t *info = NULL;
    assert_ok(tmb_json_read(golden_path("qwen/%s/cases/%s/case.json", m->name, name), 1 << 20, &info, &error), error);
    for (size_t item = 0; item < json_array_size(json_object_get(info, "items")); item++) {
        check_family_item(m, name, info, item);
    }
    json_decref(info);
}

static void test_family(void **state) {
    (void)state;
    static const char *const g[] = {"plain",
                                    "plain_streaming",
                                    "auto",
                                    "instruct",
                                    "instruct_streaming",
                                    "dialect_auto",
                                    "dialect_auto_streaming",
                                    "dialect_chinese_instruct",
                                    "dialect_english",
                                    "long_instruct",
                                    "batch3_instruct",
                                    "batch3_instruct_streaming",
                                    "batch2_one_speaker",
                                    "no_speaker"};
    static const char *const h[] = {"plain", "language_streaming", "instruct_ignored", "batch2"};
    static const char *const i[] = {
        "instruct_en", "instruct_zh", "instruct_en_streaming", "auto_zh_streaming", "long_instruct",
        "no_instruct", "batch3"};
    check_model("sample-g", g, sizeof g / sizeof g[0], check_family_case);
    check_model("sample-h", h, sizeof h / sizeof h[0], check_family_case);
    check_model("sample-i", i, sizeof i / sizeof i[0], check_family_case);
}

static void test_sample_c(void **state) {
    (void)state;
    static const char *const cases[] = {"icl_en",           "icl_zh", "xvec_auto",  "xvec_short", "icl_long_ref_text",
                                        "icl_nonstreaming", "batch3", "batch2_xvec"};
    check_model("sample-c", cases, sizeof cases / sizeof cases[0], check_case);
}

static void test_sample_d(void **state) {
    (void)state;
    static const char *const cases[] = {"icl", "batch2_mixed"};
    check_model("sample-d", cases, sizeof cases / sizeof cases[0], check_case);
}

static void test_sample_e(void **state) {
    (void)state;
    static const char *const cases[] = {"icl_penalty", "icl_zh_nonstreaming", "xvec_penalty", "xvec_ja_nonstreaming",
                                        "batch3_penalty"};
    check_model("sample-e", cases, sizeof cases / sizeof cases[0], check_case);
}

static void test_sample_f(void **state) {
    (void)state;
    static const char *const cases[] = {"icl_penalty", "icl_ja_nonstreaming", "xvec_penalty", "xvec_ko_nonstreaming",
                                        "batch3_penalty"};
    check_model("sample-f", cases, sizeof cases / sizeof cases[0], check_case);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sample_c), cmocka_unit_test(test_sample_d),
                                       cmocka_unit_test(test_sample_e), cmocka_unit_test(test_sample_f),
                                       cmocka_unit_test(test_family)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
