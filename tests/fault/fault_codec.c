#include "fault.h"

#include "golden.h"

#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/cpu/speaker/speaker.h"
#include "weights/safetensors.h"

#include <stdlib.h>
#include <string.h>

enum { SAMPLES = 4000, FRAMES = 3 };

typedef struct model {
    tmb_qwen3_config config;
    tmb_safetensors *weights, *codec_weights;
    float samples[SAMPLES];
    int16_t codes[FRAMES * TMB_QWEN3_CODE_GROUPS_MAX];
    tmb_codec_precision precision;
} model;

static tmb_status decode(void *user, tmb_error *error) {
    model *m = user;
    tmb_team *team = NULL;
    tmb_codec_decoder *decoder = NULL;
    tmb_codec_workspace *workspace = NULL;
    tmb_codec_state *state = NULL;
    tmb_codec_state *clone = NULL;
    static float samples[FRAMES * 1920];
    tmb_status status = tmb_team_create(2, &team, error);
    if (status == TMB_OK) {
        status = tmb_codec_decoder_load(&m->config.codec, m->codec_weights, m->precision, &decoder, error);
    }
    if (status == TMB_OK) {
        status = tmb_codec_workspace_create(decoder, 2, team, &workspace, error);
    }
    if (status == TMB_OK) {
        status = tmb_codec_state_create(decoder, &state, error);
    }
    if (status == TMB_OK) {
        status = tmb_codec_state_clone(state, &clone, error);
    }
    if (status == TMB_OK) {
        assert_true(tmb_codec_samples_per_frame(decoder) <= 1920);
        tmb_codec_piece piece = {clone, m->codes, FRAMES, samples};
        status = tmb_codec_decode(workspace, &piece, 1, error);
    }
    tmb_codec_state_destroy(&clone);
    tmb_codec_state_destroy(&state);
    tmb_codec_workspace_destroy(&workspace);
    tmb_codec_decoder_destroy(&decoder);
    tmb_team_destroy(&team);
    return status;
}

static tmb_status encode(void *user, tmb_error *error) {
    model *m = user;
    tmb_codec_encoder *encoder = NULL;
    int16_t *codes = NULL;
    size_t frames = 0;
    tmb_status status = tmb_codec_encoder_load(&m->config.codec, m->codec_weights, &encoder, error);
    if (status == TMB_OK) {
        status = tmb_codec_encode(encoder, NULL, m->samples, SAMPLES, &codes, &frames, error);
    }
    assert_true((codes != NULL) == (status == TMB_OK));
    free(codes);
    tmb_codec_encoder_destroy(&encoder);
    return status;
}

static tmb_status embed(void *user, tmb_error *error) {
    model *m = user;
    tmb_speaker_encoder *encoder = NULL;
    float embedding[1024];
    tmb_status status = tmb_speaker_encoder_load(&m->config.speaker, m->weights, &encoder, error);
    if (status == TMB_OK) {
        assert_true(tmb_speaker_size(encoder) <= 1024);
        status = tmb_speaker_embed(encoder, NULL, m->samples, SAMPLES, embedding, error);
    }
    tmb_speaker_encoder_destroy(&encoder);
    return status;
}

static model shared;

static void test_decode(void **state) {
    (void)state;
    shared.precision = TMB_CODEC_F32;
    fault_check(decode, &shared, false);
}

static void test_decode_bf16(void **state) {
    (void)state;
    shared.precision = TMB_CODEC_BF16;
    fault_check(decode, &shared, false);
}

static void test_encode(void **state) {
    (void)state;
    fault_check(encode, &shared, false);
}

static void test_embed(void **state) {
    (void)state;
    fault_check(embed, &shared, false);
}

static int set_up(void **state) {
    (void)state;
    tmb_error error = {0};
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-d/model"), &shared.config, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/sample-d/model"), &shared.weights, &error), error);
    assert_ok(tmb_safetensors_open(golden_path("qwen/sample-d/model/speech_tokenizer"), &shared.codec_weights, &error),
              error);
    for (size_t i = 0; i < SAMPLES; i++) {
        shared.samples[i] = (float)(i * 7919 % 1000) / 1000 - 0.5f;
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tmb_safetensors_close(&shared.weights);
    tmb_safetensors_close(&shared.codec_weights);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_decode_bf16),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_embed),
    };
    return cmocka_run_group_tests_name("fault: codec", tests, set_up, tear_down);
}
