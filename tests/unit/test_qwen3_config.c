#include "golden.h"
#include "test.h"

#include "tts/qwen3/config.h"
#include "tts/qwen3/text/speaker.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

static void test_sample_c(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_qwen3_config config;
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-c/model"), &config, &error), error);
    assert_int_equal(config.talker.transformer.hidden_size, 64);
    assert_int_equal(config.talker.transformer.layers, 4);
    assert_int_equal(config.talker.transformer.head_dim, 16);
    assert_true(config.talker.transformer.rms_norm_eps == 1e-6);
    assert_true(config.talker.transformer.rope_theta == 1e6);
    assert_int_equal(config.talker.vocab_size, 1280);
    assert_int_equal(config.talker.codec_think_eos_id, 1165);
    assert_int_equal(config.talker.language_count, 10);
    assert_string_equal(config.talker.languages[1].name, "english");
    assert_int_equal(config.talker.languages[1].id, 1051);
    assert_int_equal(config.predictor.transformer.hidden_size, 48);
    assert_int_equal(config.predictor.vocab_size, 256);
    assert_int_equal(config.speaker.mel_bands, 128);
    assert_int_equal(config.speaker.channels[4], 96);
    assert_int_equal(config.speaker.dilations[3], 4);
    assert_int_equal(config.speaker.res2net_scale, 4);
    assert_int_equal(config.codec.samples_per_frame, 1920);
    assert_int_equal(config.codec.encoder.ratios[0], 4);
    assert_int_equal(config.codec.encoder.ratios[3], 8);
    assert_int_equal(config.codec.decoder.sliding_window, 12);
    assert_int_equal(config.codec.decoder.decoder_rates[3], 3);
    assert_int_equal(config.generation.max_new_tokens, 8192);
    assert_true(config.generation.predictor.temperature == 0.9);
    assert_int_equal(config.im_start_id, 151644);
    assert_string_equal(config.size_name, "sample-c");
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-d/model"), &config, &error), error);
    assert_int_equal(config.talker.transformer.hidden_size, 48);
    assert_int_equal(tmb_qwen3_config_read(golden_path("qwen"), &config, &error), TMB_ERROR_MODEL);
    assert_non_null(strstr(error.message, "qwen/config.json: No such file"));
}

/* The three files of a sample with one member of one of them replaced. `path` is "file/member/member": file c,
 * g or t (the codec); `value` is JSON, NULL removes the member. */
static tmb_status parse_changed_of(const char *sample, const char *path, const char *value, bool with_generation,
                                   tmb_qwen3_config *config, tmb_error *error) {
    static const char *const names[] = {"config.json", "generation_config.json", "speech_tokenizer/config.json"};
    char *texts[3];
    for (size_t i = 0; i < 3; i++) {
        size_t bytes = 0;
        char *text = golden_text(&bytes, "qwen/%s/model/%s", sample, names[i]);
        json_t *root = json_loads(text, 0, NULL);
        assert_non_null(root);
        free(text);
        if (path != NULL && path[0] == "cgt"[i]) {
            json_t *object = root;
            char member[64];
            const char *position = path + 2;
            for (;;) {
                size_t length = strcspn(position, "/");
                memcpy(member, position, length);
                member[length] = '\0';
                position += length;
                if (*position == '\0') {
                    break;
                }
                position++;
                object = json_object_get(object, member);
                assert_non_null(object);
            }
            if (value == NULL) {
                assert_int_equal(json_object_del(object, member), 0);
            } else {
                json_t *changed = json_loads(value, JSON_DECODE_ANY, NULL);
                assert_non_null(changed);
                assert_int_equal(json_object_set_new(object, member, changed), 0);
            }
        }
        texts[i] = json_dumps(root, 0);
        json_decref(root);
    }
    tmb_qwen3_config_texts all = {.config = texts[0],
                                  .generation = with_generation ? texts[1] : NULL,
                                  .codec = texts[2],
                                  .config_bytes = strlen(texts[0]),
                                  .generation_bytes = strlen(texts[1]),
                                  .codec_bytes = strlen(texts[2])};
    tmb_status status = tmb_qwen3_config_parse(&all, config, error);
    for (size_t i = 0; i < 3; i++) {
        free(texts[i]);
    }
    return status;
}

static tmb_status parse_changed(const char *path, const char *value, bool with_generation, tmb_qwen3_config *config,
                                tmb_error *error) {
    return parse_changed_of("sample-c", path, value, with_generation, config, error);
}

static void test_defaults(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_qwen3_config config;
    assert_ok(parse_changed(NULL, NULL, false, &config, &error), error);
    assert_int_equal(config.generation.max_new_tokens, 2048);
    assert_true(config.generation.talker.do_sample);
    assert_true(config.generation.repetition_penalty == 1.05);
    assert_int_equal(config.generation.predictor.top_k, 50);
    /* As the released files: the speaker encoder's figures are the class defaults. */
    assert_ok(
        parse_changed("c/speaker_encoder_config", "{\"enc_dim\": 64, \"sample_rate\": 24000}", true, &config, &error),
        error);
    assert_int_equal(config.speaker.stages, 5);
    assert_int_equal(config.speaker.channels[4], 1536);
    assert_int_equal(config.speaker.se_channels, 128);
    assert_ok(parse_changed("c/talker_config/codec_language_id", "{\"English\": 5, \"beijing_dialect\": 6}", true,
                            &config, &error),
              error);
    assert_int_equal(config.talker.language_count, 1);
    assert_string_equal(config.talker.languages[0].name, "english");
    /* Unknown keys, and known ones that change nothing. */
    assert_ok(parse_changed("c/talker_config/id2label", "{\"0\": \"x\"}", true, &config, &error), error);
    assert_ok(parse_changed("c/talker_config/code_predictor_config/sliding_window", "4096", true, &config, &error),
              error);
    assert_ok(parse_changed("t/encoder_config/sliding_window", "1", true, &config, &error), error);
}

static void test_refusals(void **state) {
    (void)state;
    static const struct {
        const char *path, *value, *message;
    } cases[] = {
        {"c/talker_config", NULL, "talker_config is missing"},
        {"c/talker_config", "[]", "talker_config is missing or not an object"},
        {"c/tts_model_type", NULL, "tts_model_type is missing"},
        {"c/tts_model_type", "\"singing\"", "only base, custom_voice and voice_design are known"},
        {"c/tokenizer_type", "\"qwen3_tts_tokenizer_25hz\"", "only \"qwen3_tts_tokenizer_12hz\" is supported"},
        {"c/im_start_token_id", NULL, "im_start_token_id is missing"},
        {"c/im_end_token_id", "151936", "im_end_token_id is 151936"},
        {"c/speaker_encoder_config", NULL, "speaker_encoder_config is missing"},
        {"c/speaker_encoder_config/enc_dim", "65", "enc_dim is 65, but talker_config.hidden_size is 64"},
        {"c/speaker_encoder_config/sample_rate", "16000", "sample_rate is 16000"},
        {"c/speaker_encoder_config/enc_channels", "[32, 32, 32, 32, 97]", "the last of enc_channels"},
        {"c/speaker_encoder_config/enc_channels", "[32, 16, 32, 32, 80]", "enc_channels[1] is 16"},
        {"c/speaker_encoder_config/enc_channels", "[32, 32, 32, 64]", "must say theirs"},
        {"c/speaker_encoder_config/enc_channels", "[1, 1, 1, 1, 1, 1, 1, 1, 1]", "9 entries"},
        {"c/speaker_encoder_config/enc_channels", "\"x\"", "enc_channels is missing or not a list"},
        {"c/speaker_encoder_config/enc_kernel_sizes", "[5, 2, 3, 3, 1]", "must be odd"},
        {"c/speaker_encoder_config/enc_dilations", "[1, 2]", "2 entries"},
        {"c/speaker_encoder_config/enc_dilations", "[1, 2, 3, 4, 0]", "enc_dilations[4]"},
        {"c/speaker_encoder_config/enc_res2net_scale", "5", "enc_res2net_scale 5 does not divide"},
        {"c/talker_config/num_hidden_layers", NULL, "talker_config: num_hidden_layers is missing"},
        {"c/talker_config/num_hidden_layers", "0", "num_hidden_layers is 0, outside 1 to 256"},
        {"c/talker_config/num_hidden_layers", "1000000000", "outside 1 to 256"},
        {"c/talker_config/num_hidden_layers", "4.0", "not a whole number"},
        {"c/talker_config/num_hidden_layers", "\"4\"", "not a whole number"},
        {"c/talker_config/num_hidden_layers", "true", "not a whole number"},
        {"c/talker_config/num_key_value_heads", "3", "does not divide num_attention_heads 4"},
        {"c/talker_config/head_dim", "15", "not even"},
        {"c/talker_config/rope_theta", "0", "rope_theta is 0"},
        {"c/talker_config/rope_theta", "-1e6", "rope_theta is -1000000"},
        {"c/talker_config/rms_norm_eps", "0", "rms_norm_eps is 0"},
        {"c/talker_config/rope_scaling", "{\"rope_type\": \"yarn\"}", "rope_type is \"yarn\""},
        {"c/talker_config/hidden_act", "\"gelu\"", "hidden_act is \"gelu\""},
        {"c/talker_config/attention_bias", "true", "attention_bias is set"},
        {"c/talker_config/code_predictor_config/layer_types", "[\"full_attention\", \"sliding_attention\"]",
         "layer_types[1]"},
        {"c/talker_config/vocab_size", "1024", "vocab_size is 1024"},
        {"c/talker_config/vocab_size", "1160", "codec_think_id is 1162, but vocab_size is 1160"},
        {"c/talker_config/vocab_size", "1281", "allows codes up to 256, but the codec's codebook_size is 256"},
        {"c/talker_config/codec_bos_id", "-1", "codec_bos_id is -1"},
        {"c/talker_config/codec_language_id", NULL, "codec_language_id is missing"},
        {"c/talker_config/codec_language_id", "{\"english\": 1280}", "\"english\" is not a token below 1280"},
        {"c/talker_config/codec_language_id", "{\"english\": \"5\"}", "\"english\" is not a token"},
        {"c/talker_config/num_code_groups", "15", "num_code_groups is 16, but talker_config.num_code_groups is 15"},
        {"c/talker_config/code_predictor_config", NULL, "code_predictor_config is missing"},
        {"c/talker_config/code_predictor_config/vocab_size", "255", "vocab_size is 255, but the codec's"},
        {"g/temperature", "0", "temperature is 0"},
        {"g/temperature", "\"hot\"", "temperature is not a number"},
        {"g/do_sample", "1", "do_sample is neither true nor false"},
        {"g/top_p", "1.5", "top_p is 1.5, outside 0 to 1"},
        {"g/max_new_tokens", "1", "max_new_tokens is 1"},
        {"t/model_type", "\"encodec\"", "model_type is \"encodec\""},
        {"t/encoder_config", NULL, "encoder_config is missing"},
        {"t/decoder_config", "7", "decoder_config is missing"},
        {"t/input_sample_rate", "16000", "input_sample_rate is 16000"},
        {"t/decode_upsample_rate", "1921", "decode_upsample_rate is 1921"},
        {"t/encode_downsample_rate", "960", "encode_downsample_rate is 960"},
        {"t/encoder_valid_num_quantizers", "15", "encoder_valid_num_quantizers is 15"},
        {"t/encoder_config/upsampling_ratios", "[64, 64, 64, 64, 64, 64, 64, 64]", "encode_downsample_rate is 1920"},
        {"t/decoder_config/upsample_rates", "[64, 64, 64, 64, 64, 64, 64, 64]", "decoder_dim"},
        {"t/decoder_config/upsample_rates", "[1, 1]", "decode_upsample_rate is 1920"},
        {"t/encoder_config/num_filters", NULL, "encoder_config: num_filters is missing"},
        {"t/encoder_config/num_filters", "1", "compress 2 leaves nothing of num_filters 1"},
        {"t/encoder_config/num_filters", "4096", "num_filters 4096"},
        {"t/encoder_config/codebook_size", "512", "codebook_size of encoder (512) and decoder (256) differ"},
        {"t/encoder_config/vector_quantization_hidden_dimension", "17", "vector_quantization_hidden_dimension"},
        {"t/encoder_config/use_causal_conv", "false", "use_causal_conv"},
        {"t/encoder_config/pad_mode", "\"reflect\"", "pad_mode"},
        {"t/encoder_config/num_quantizers", "12", "num_quantizers are 12"},
        {"t/decoder_config/decoder_dim", "15", "decoder_dim 15 cannot be halved 4 times"},
        {"t/decoder_config/num_attention_heads", "6", "num_key_value_heads 4 does not divide"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_error error = {0};
        tmb_qwen3_config config;
        tmb_status status = parse_changed(cases[i].path, cases[i].value, true, &config, &error);
        if ((status != TMB_ERROR_MODEL && status != TMB_ERROR_UNSUPPORTED) || error.status != status ||
            strstr(error.message, cases[i].message) == NULL) {
            fail_msg("%s = %s: status %d, \"%s\"", cases[i].path, cases[i].value, status, error.message);
        }
    }
}

static void find(const tmb_qwen3_config *config, const char *name, int32_t id) {
    tmb_error error = {0};
    const tmb_qwen3_speaker *speaker = NULL;
    tmb_status status = tmb_qwen3_find_speaker(config, name, &speaker, &error);
    if (id < 0 ? status != TMB_ERROR_ARGUMENT : status != TMB_OK || speaker == NULL || speaker->id != id) {
        fail_msg("\"%s\": status %d, %s", name, status, error.message);
    }
}

/* Names of speakers are compared without case on both sides, in any script and normalization form. */
static void test_speakers(void **state) {
    (void)state;
    tmb_error error = {0};
    static tmb_qwen3_config config;
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-g/model"), &config, &error), error);
    assert_int_equal(config.kind, TMB_QWEN3_CUSTOM_VOICE);
    assert_false(config.drops_instruct);
    assert_int_equal(config.speaker_count, 3);
    find(&config, "Lin_Bei", 955);
    find(&config, "mira ", -1);
    find(&config, "MIR\xff", -1);
    assert_ok(parse_changed_of("sample-g", "c/talker_config/spk_id",
                               "{\"Test_Man\": 5, \"\u00c4nne\": [6], \"Anna\": 7, \"ANNA\": 8, \"\u674e\u5317\": 9, "
                               "\"Stra\u00dfe\": 10, \"My Voice\": 11, \"\u0130pek\": 12, \"\": 13}",
                               true, &config, &error),
              error);
    assert_int_equal(config.speaker_count, 8);
    find(&config, "Test_Man", 5);
    find(&config, "test_man", 5);
    find(&config, "\u00e4NNE", 6);
    find(&config, "a\u0308nne", 6);
    find(&config, "Anna", 7);
    find(&config, "ANNA", 8);
    find(&config, "anna", 7);
    find(&config, "\u674e\u5317", 9);
    find(&config, "my voice", 11);
    find(&config, "i\u0307PEK", 12);
    find(&config, "my_voice", -1);
    /* A broken dialect matters for auto and Chinese alone. */
    static const char *const broken[] = {"{}", "{\"mira\": true}", "{\"mira\": null}", "{\"mira\": \"no_dialect\"}",
                                         "[]"};
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        const tmb_qwen3_speaker *mira = NULL;
        assert_ok(parse_changed_of("sample-g", "c/talker_config/spk_is_dialect", broken[i], true, &config, &error),
                  error);
        assert_ok(tmb_qwen3_find_speaker(&config, "mira", &mira, &error), error);
        int32_t language = -1, chinese = 130, english = 133;
        assert_int_equal(tmb_qwen3_speaker_language(&config, mira, &language, &error), TMB_ERROR_ARGUMENT);
        assert_int_equal(tmb_qwen3_speaker_language(&config, mira, &chinese, &error), TMB_ERROR_ARGUMENT);
        assert_ok(tmb_qwen3_speaker_language(&config, mira, &english, &error), error);
        assert_int_equal(english, 133);
    }
    static const char *const refused[] = {
        "{\"a\": [1, 2]}", "{\"a\": 1152}", "{\"a\": -1}", "{\"a\": \"1\"}", "[]", "null"};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        assert_int_equal(parse_changed_of("sample-g", "c/talker_config/spk_id", refused[i], true, &config, &error),
                         TMB_ERROR_MODEL);
        assert_non_null(strstr(error.message, "spk_id"));
    }
    /* Which sizes drop instructions: the official test is whether "0b6" contains the name. */
    static const struct {
        const char *size;
        bool drops;
    } sizes[] = {{"\"0b6\"", true},  {"\"\"", true},      {"\"b6\"", true},
                 {"\"1b7\"", false}, {"\"0b66\"", false}, {"null", false}};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        assert_ok(parse_changed_of("sample-g", "c/tts_model_size", sizes[i].size, true, &config, &error), error);
        assert_int_equal(config.drops_instruct, sizes[i].drops);
        assert_ok(parse_changed_of("sample-i", "c/tts_model_size", sizes[i].size, true, &config, &error), error);
        assert_false(config.drops_instruct);
    }
    /* The type decides, not what else is in the file. */
    assert_ok(parse_changed("c/talker_config/spk_id", "{\"someone\": 5}", true, &config, &error), error);
    assert_int_equal(config.kind, TMB_QWEN3_BASE);
    assert_int_equal(config.speaker_count, 0);
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-h/model"), &config, &error), error);
    assert_true(config.kind == TMB_QWEN3_CUSTOM_VOICE && config.drops_instruct);
    assert_ok(tmb_qwen3_config_read(golden_path("qwen/sample-i/model"), &config, &error), error);
    assert_int_equal(config.kind, TMB_QWEN3_VOICE_DESIGN);
}

/* Widths that do not divide are rounded down, as the official code does. */
static void test_odd_widths(void **state) {
    (void)state;
    static const struct {
        const char *path, *value;
    } cases[] = {
        {"t/encoder_config/num_filters", "5"},   {"t/encoder_config/compress", "3"},
        {"t/decoder_config/codebook_dim", "33"}, {"t/decoder_config/decoder_dim", "104"},
        {"t/decoder_config/decoder_dim", "31"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_error error = {0};
        tmb_qwen3_config config;
        assert_ok(parse_changed(cases[i].path, cases[i].value, true, &config, &error), error);
    }
}

static void test_broken_json(void **state) {
    (void)state;
    tmb_error error = {0};
    tmb_qwen3_config config;
    static const struct {
        const char *config, *message;
    } cases[] = {{"{\"a\": NaN}", "config.json: not valid JSON: line 1"},
                 {"[]", "config.json: the JSON is not an object"},
                 {"{\"a\": 1, \"a\": 2}", "duplicate"},
                 {"", "not valid JSON"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        tmb_qwen3_config_texts texts = {.config = cases[i].config, .config_bytes = strlen(cases[i].config)};
        assert_int_equal(tmb_qwen3_config_parse(&texts, &config, &error), TMB_ERROR_MODEL);
        assert_non_null(strstr(error.message, cases[i].message));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sample_c), cmocka_unit_test(test_defaults),   cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_speakers), cmocka_unit_test(test_odd_widths), cmocka_unit_test(test_broken_json),
    };
    return cmocka_run_group_tests_name("qwen3-config", tests, NULL, NULL);
}
