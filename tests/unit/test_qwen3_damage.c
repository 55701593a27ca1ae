/* Checkpoints with something wrong in one place: the model is refused with a message that names the place. */
#include "golden.h"
#include "test.h"

#include "tts/qwen3/batch/model.h"
#include "tts/qwen3/cpu/codec/encoder.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of sample-e (small), and the shards of sample-f. */
static const char *const files[] = {
    "config.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer_config.json",
    "model.safetensors",
    "speech_tokenizer/config.json",
    "speech_tokenizer/model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
};
enum { FILES = sizeof files / sizeof files[0] };

static char folder[64];
static const char *sample;

static const char *in_folder(const char *name) {
    static char path[256];
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static void remove_files(void) {
    for (size_t i = 0; i < FILES; i++) {
        (void)unlink(in_folder(files[i]));
    }
}

/* A sound checkpoint again. */
static void restore(const char *name) {
    sample = name;
    remove_files();
    for (size_t i = 0; i < FILES; i++) {
        const char *original = golden_path("qwen/%s/model/%s", name, files[i]);
        if (access(original, R_OK) == 0) {
            char *absolute = realpath(original, NULL);
            assert_non_null(absolute);
            assert_int_equal(symlink(absolute, in_folder(files[i])), 0);
            free(absolute);
        }
    }
}

static void write_file(const char *name, const void *bytes, size_t size) {
    (void)unlink(in_folder(name)); /* a link */
    FILE *file = fopen(in_folder(name), "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static tmb_status load(tmb_error *error) {
    tmb_qwen3_options options;
    tmb_qwen3_model model;
    tmb_qwen3_options_default(&options);
    options.model = folder;
    options.precision = "f32";
    options.pack_directory = "";
    memset(error, 0, sizeof *error);
    tmb_status status = tmb_qwen3_model_load(&options, 1, &model, error);
    if (status == TMB_OK) {
        tmb_qwen3_model_unload(&model);
    }
    return status;
}

/* Loads the damaged checkpoint, which must fail and say `words`; then repairs the file. */
static void expect(const char *file, const char *words) {
    tmb_error error;
    tmb_status status = load(&error);
    if (status == TMB_OK || status == TMB_ERROR_MEMORY || strstr(error.message, words) == NULL) {
        fail_msg("%s: \"%s\" wanted in the message, which is (%s) \"%s\"", file, words, tmb_status_name(status),
                 error.message);
    }
    char *absolute = realpath(golden_path("qwen/%s/model/%s", sample, file), NULL);
    assert_non_null(absolute);
    (void)unlink(in_folder(file));
    assert_int_equal(symlink(absolute, in_folder(file)), 0);
    free(absolute);
}

/* ---- files ---- */

static void test_sound(void **state) {
    (void)state;
    tmb_error error;
    restore("sample-f");
    assert_ok(load(&error), error);
    restore("sample-e");
    assert_ok(load(&error), error);
    (void)unlink(in_folder("generation_config.json")); /* optional */
    assert_ok(load(&error), error);
}

static void test_missing_files(void **state) {
    (void)state;
    static const char *const needed[] = {"config.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "model.safetensors",
                                         "speech_tokenizer/config.json",
                                         "speech_tokenizer/model.safetensors"};
    restore("sample-e");
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        (void)unlink(in_folder(needed[i]));
        const char *slash = strrchr(needed[i], '/');
        expect(needed[i], slash == NULL ? needed[i] : slash + 1);
        write_file(needed[i], "", 0);
        expect(needed[i], slash == NULL ? needed[i] : slash + 1);
    }
    /* Without it the special tokens are unknown. */
    (void)unlink(in_folder("tokenizer_config.json"));
    expect("tokenizer_config.json", "<|im_start|>");
    restore("sample-f");
    (void)unlink(in_folder("model-00002-of-00002.safetensors"));
    expect("model-00002-of-00002.safetensors", "model-00002-of-00002.safetensors");
    (void)unlink(in_folder("model.safetensors.index.json"));
    expect("model.safetensors.index.json", "model.safetensors");
}

static void test_truncated_files(void **state) {
    (void)state;
    restore("sample-e");
    for (size_t i = 0; i < FILES; i++) {
        if (access(in_folder(files[i]), R_OK) != 0) {
            continue;
        }
        size_t bytes = 0;
        char *text = golden_text(&bytes, "qwen/sample-e/model/%s", files[i]);
        bool is_text = strstr(files[i], ".safetensors") == NULL;
        const size_t lengths[] = {1, bytes / 3, bytes / 2, bytes - (is_text ? 3 : 1)};
        for (size_t j = 0; j < sizeof lengths / sizeof lengths[0]; j++) {
            write_file(files[i], text, lengths[j]);
            const char *slash = strrchr(files[i], '/');
            if (strcmp(files[i], "merges.txt") == 0 && j > 0) {
                tmb_error error;
                (void)load(&error); /* a list cut at a line's end is a list */
            } else {
                expect(files[i], slash == NULL ? files[i] : slash + 1);
            }
        }
        free(text);
        restore("sample-e");
    }
}

/* ---- tensors ---- */

typedef struct weights {
    const char *file;
    json_t *header;
    char *bytes;        /* the whole file */
    size_t size, start; /* of the data in it */
} weights;

static weights open_weights(const char *file) {
    weights w = {.file = file};
    w.bytes = golden_text(&w.size, "qwen/%s/model/%s", sample, file);
    uint64_t length = 0;
    memcpy(&length, w.bytes, sizeof length);
    w.header = json_loadb(w.bytes + 8, (size_t)length, 0, NULL);
    assert_non_null(w.header);
    w.start = 8 + (size_t)length;
    return w;
}

static void close_weights(weights *w) {
    json_decref(w->header);
    free(w->bytes);
}

static void write_header(const weights *w, const json_t *header) {
    char *text = json_dumps(header, JSON_COMPACT);
    assert_non_null(text);
    size_t length = (strlen(text) + 7) / 8 * 8;
    size_t size = 8 + length + w->size - w->start;
    char *bytes = malloc(size);
    assert_non_null(bytes);
    uint64_t stated = length;
    memcpy(bytes, &stated, sizeof stated);
    memset(bytes + 8, ' ', length);
    memcpy(bytes + 8, text, strlen(text));
    memcpy(bytes + 8 + length, w->bytes + w->start, w->size - w->start);
    write_file(w->file, bytes, size);
    free(bytes);
    free(text);
}

/* The file with one member of one tensor's entry replaced; NULL: the tensor under another name. */
static void damage_tensor(const weights *w, const char *tensor, const char *member, const char *value) {
    json_t *header = json_deep_copy(w->header);
    json_t *entry = json_object_get(header, tensor);
    assert_non_null(entry);
    if (member == NULL) {
        char other[256];
        (void)snprintf(other, sizeof other, "%s.lost", tensor);
        assert_int_equal(json_object_set(header, other, entry), 0);
        assert_int_equal(json_object_del(header, tensor), 0);
    } else {
        json_t *changed = json_loads(value, JSON_DECODE_ANY, NULL);
        assert_non_null(changed);
        assert_int_equal(json_object_set_new(entry, member, changed), 0);
    }
    write_header(w, header);
    json_decref(header);
}

/* What a clone does without (the codec encoder decodes nothing, the decoder encodes nothing). */
static bool is_unused(const char *name) {
    return strstr(name, ".initialized") != NULL || strstr(name, "quantizer.rvq_first.input_proj") != NULL ||
           strstr(name, "quantizer.rvq_rest.input_proj") != NULL ||
           strstr(name, "residual_vector_quantizer.output_proj") != NULL || strstr(name, "encoder.upsample.") != NULL ||
           /* sample-e's acoustic books beyond the 7 that are used */
           strstr(name, "acoustic_residual_vector_quantizer.layers.7") != NULL ||
           strstr(name, "acoustic_residual_vector_quantizer.layers.8") != NULL;
}

/* Every tensor of both files, gone; and, in turns, of another shape or type. */
static void test_tensors(void **state) {
    (void)state;
    static const char *const both[] = {"model.safetensors", "speech_tokenizer/model.safetensors"};
    restore("sample-e");
    size_t used = 0;
    for (size_t i = 0; i < 2; i++) {
        weights w = open_weights(both[i]);
        const char *name;
        json_t *entry;
        json_object_foreach(w.header, name, entry) {
            if (strcmp(name, "__metadata__") == 0 || is_unused(name)) {
                continue;
            }
            damage_tensor(&w, name, NULL, NULL);
            expect(both[i], name);
            size_t elements = 1, rank = json_array_size(json_object_get(entry, "shape"));
            for (size_t d = 0; d < rank; d++) {
                elements *= (size_t)json_integer_value(json_array_get(json_object_get(entry, "shape"), d));
            }
            char value[64];
            if (used++ % 2 == 0) {
                (void)snprintf(value, sizeof value, rank == 1 ? "[1,%zu]" : "[%zu]", elements);
                damage_tensor(&w, name, "shape", value);
            } else {
                damage_tensor(&w, name, "dtype", i == 0 ? "\"I16\"" : "\"I32\"");
            }
            expect(both[i], name);
        }
        close_weights(&w);
    }
    assert_true(used > 250);
}

/* One element of a tensor as NaN or an infinity, in the tensor's own dtype. */
static void damage_element(const weights *w, const json_t *entry, size_t turn) {
    const char *dtype = json_string_value(json_object_get(entry, "dtype"));
    const json_t *offsets = json_object_get(entry, "data_offsets");
    size_t begin = (size_t)json_integer_value(json_array_get(offsets, 0));
    size_t end = (size_t)json_integer_value(json_array_get(offsets, 1));
    static const uint32_t wide[] = {0x7fc00000u, 0x7f800000u, 0xff800000u};
    static const uint16_t brain[] = {0x7fc0u, 0x7f80u, 0xff80u}, half[] = {0x7e00u, 0x7c00u, 0xfc00u};
    size_t size = strcmp(dtype, "F32") == 0 ? 4 : 2;
    size_t count = (end - begin) / size;
    size_t element = turn % 4 == 0 ? 0 : turn % 4 == 1 ? count - 1 : turn % 4 == 2 ? count / 2 : count / 3;
    const void *value = size == 4                    ? (const void *)&wide[turn % 3]
                        : strcmp(dtype, "BF16") == 0 ? (const void *)&brain[turn % 3]
                                                     : (const void *)&half[turn % 3];
    char *bytes = malloc(w->size);
    assert_non_null(bytes);
    memcpy(bytes, w->bytes, w->size);
    memcpy(bytes + w->start + begin + element * size, value, size);
    write_file(w->file, bytes, w->size);
    free(bytes);
}

/* The codec encoder is loaded when a recording is first encoded. */
static tmb_status load_encoder(tmb_error *error) {
    char path[128];
    tmb_qwen3_config config;
    tmb_safetensors *file = NULL;
    tmb_codec_encoder *encoder = NULL;
    (void)snprintf(path, sizeof path, "%s/speech_tokenizer/model.safetensors", folder);
    assert_ok(tmb_qwen3_config_read(folder, &config, error), *error);
    assert_ok(tmb_safetensors_open(path, &file, error), *error);
    tmb_status status = tmb_codec_encoder_load(&config.codec, file, &encoder, error);
    tmb_codec_encoder_destroy(&encoder);
    tmb_safetensors_close(&file);
    return status;
}

/* One of sample-c's acoustic books behind the 15 that a frame has. */
static bool is_spare_book(const char *name) {
    static const char books[] = "encoder.quantizer.acoustic_residual_vector_quantizer.layers.";
    return strncmp(name, books, sizeof books - 1) == 0 && atoi(name + sizeof books - 1) >= 15;
}

/* NaN or an infinity in any tensor that is used, in all dtypes: the tensor is named. */
static void test_not_finite(void **state) {
    (void)state;
    static const char *const samples[] = {"sample-e", "sample-c"};
    static const char *const both[] = {"model.safetensors", "speech_tokenizer/model.safetensors"};
    size_t turn = 0;
    for (size_t i = 0; i < 4; i++) {
        restore(samples[i / 2]);
        weights w = open_weights(both[i % 2]);
        const char *name;
        json_t *entry;
        json_object_foreach(w.header, name, entry) {
            /* Of the second sample every seventh: it differs in dtypes, not in names. */
            if (strcmp(name, "__metadata__") == 0 || is_unused(name) ||
                (i >= 2 && (is_spare_book(name) || turn++ % 7 != 0))) {
                continue;
            }
            damage_element(&w, entry, turn++);
            tmb_error error = {0};
            tmb_status status = strncmp(name, "encoder.", 8) == 0 ? load_encoder(&error) : load(&error);
            if (status != TMB_ERROR_MODEL || strstr(error.message, name) == NULL ||
                (strstr(error.message, "NaN") == NULL && strstr(error.message, "infinite") == NULL)) {
                fail_msg("%s: %s, \"%s\"", name, tmb_status_name(status), error.message);
            }
        }
        close_weights(&w);
    }
    restore("sample-e");
}

static void test_offsets(void **state) {
    (void)state;
    restore("sample-e");
    weights w = open_weights("model.safetensors");
    const char *name = "talker.model.layers.1.mlp.up_proj.weight";
    const json_t *offsets = json_object_get(json_object_get(w.header, name), "data_offsets");
    json_int_t begin = json_integer_value(json_array_get(offsets, 0)),
               end = json_integer_value(json_array_get(offsets, 1));
    static const json_int_t moves[][2] = {{-2, -2}, {2, 2}, {-4, 0}, {0, 4}, {1, 1}, {0, -2}};
    char value[128];
    for (size_t i = 0; i < sizeof moves / sizeof moves[0]; i++) {
        (void)snprintf(value, sizeof value, "[%lld, %lld]", (long long)(begin + moves[i][0]),
                       (long long)(end + moves[i][1]));
        damage_tensor(&w, name, "data_offsets", value);
        expect("model.safetensors", "talker.model.layers.1.");
    }
    static const char *const absurd[] = {"[-1, 5]", "[9, 1]", "[0, 99999999999]", "[18446744073709551615, 2]",
                                         "\"0\"",   "[0]",    "[0.5, 7]"};
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; i++) {
        json_t *header = json_deep_copy(w.header);
        json_t *changed = json_loads(absurd[i], JSON_DECODE_ANY, NULL);
        if (changed != NULL) {
            (void)json_object_set_new(json_object_get(header, name), "data_offsets", changed);
            write_header(&w, header);
            expect("model.safetensors", "model.safetensors");
        }
        json_decref(header);
    }
    /* Bytes behind the last tensor, and a header that says it is longer than the file. */
    char *longer = malloc(w.size + 8);
    assert_non_null(longer);
    memcpy(longer, w.bytes, w.size);
    memset(longer + w.size, 0, 8);
    write_file("model.safetensors", longer, w.size + 8);
    expect("model.safetensors", "model.safetensors");
    memset(longer, 0xff, 8);
    write_file("model.safetensors", longer, w.size);
    expect("model.safetensors", "model.safetensors");
    free(longer);
    close_weights(&w);
    /* The index names a shard for a tensor that is in the other, or in none. */
    restore("sample-f");
    size_t bytes = 0;
    char *text = golden_text(&bytes, "qwen/sample-f/model/model.safetensors.index.json");
    json_t *index = json_loads(text, 0, NULL);
    assert_int_equal(json_object_set_new(json_object_get(index, "weight_map"), "talker.model.norm.weight",
                                         json_string("../model-00001-of-00002.safetensors")),
                     0);
    char *changed = json_dumps(index, 0);
    write_file("model.safetensors.index.json", changed, strlen(changed));
    expect("model.safetensors.index.json", "model.safetensors.index.json");
    free(changed);
    free(text);
    json_decref(index);
}

/* ---- contradictions ---- */

/* One member of a JSON file replaced; "a/b" is member b of member a. */
static void damage_json(const char *file, const char *path, const char *value) {
    size_t bytes = 0;
    char *text = golden_text(&bytes, "qwen/%s/model/%s", sample, file);
    json_t *root = json_loads(text, 0, NULL);
    assert_non_null(root);
    json_t *object = root;
    char member[64];
    for (;;) {
        size_t length = strcspn(path, "/");
        memcpy(member, path, length);
        member[length] = '\0';
        path += length;
        if (*path == '\0') {
            break;
        }
        path++;
        object = json_object_get(object, member);
        assert_non_null(object);
    }
    json_t *changed = json_loads(value, JSON_DECODE_ANY, NULL);
    assert_non_null(changed);
    assert_int_equal(json_object_set_new(object, member, changed), 0);
    char *written = json_dumps(root, 0);
    write_file(file, written, strlen(written));
    free(written);
    free(text);
    json_decref(root);
}

static void test_contradictions(void **state) {
    (void)state;
    static const struct {
        const char *file, *path, *value, *words;
    } cases[] = {
        {"config.json", "tts_model_type", "\"singing\"", "tts_model_type"},
        {"config.json", "talker_config/hidden_size", "48", "enc_dim"},
        {"config.json", "talker_config/num_hidden_layers", "4", "talker.model.layers.3."},
        {"config.json", "talker_config/intermediate_size", "96", "mlp."},
        {"config.json", "talker_config/num_attention_heads", "8", "q_proj"},
        {"config.json", "talker_config/num_attention_heads", "7", "num_key_value_heads"},
        {"config.json", "talker_config/num_key_value_heads", "3", "k_proj"},
        {"config.json", "talker_config/head_dim", "16", "_proj"},
        {"config.json", "talker_config/text_vocab_size", "470", "text_embedding"},
        {"config.json", "talker_config/text_vocab_size", "20", "text_vocab_size"},
        {"config.json", "talker_config/text_hidden_size", "30", "text"},
        {"config.json", "talker_config/vocab_size", "1100", "vocab_size"},
        {"config.json", "talker_config/num_code_groups", "9", "num_code_groups"},
        {"config.json", "talker_config/codec_eos_token_id", "5000", "codec_eos_token_id"},
        {"config.json", "talker_config/code_predictor_config/vocab_size", "32", "vocab_size"},
        {"config.json", "talker_config/code_predictor_config/hidden_size", "24", "code_predictor"},
        {"config.json", "talker_config/code_predictor_config/num_hidden_layers", "2",
         "talker.code_predictor.model.layers.1."},
        {"config.json", "tts_pad_token_id", "100000", "tts_pad_token_id"},
        {"config.json", "speaker_encoder_config/enc_dim", "64", "enc_dim"},
        {"config.json", "speaker_encoder_config/enc_res2net_scale", "2", "res2net"},
        {"config.json", "speaker_encoder_config/enc_se_channels", "9", "se_block"},
        {"config.json", "speaker_encoder_config/enc_attention_channels", "13", "asp"},
        {"speech_tokenizer/config.json", "decode_upsample_rate", "1920", "decode_upsample_rate"},
        {"speech_tokenizer/config.json", "encoder_valid_num_quantizers", "7", "num_quantizers"},
        {"speech_tokenizer/config.json", "decoder_config/upsample_rates", "[4,5,6]", "decoder.decoder.1."},
        {"speech_tokenizer/config.json", "decoder_config/latent_dim", "32", "decoder."},
        {"speech_tokenizer/config.json", "decoder_config/codebook_dim", "24", "quantizer"},
        {"speech_tokenizer/config.json", "decoder_config/codebook_size", "128", "codebook_size"},
        {"speech_tokenizer/config.json", "decoder_config/num_hidden_layers", "4", "pre_transformer.layers.3."},
        {"speech_tokenizer/config.json", "encoder_config/num_filters", "12", "encoder.encoder.layers.0."},
        {"speech_tokenizer/config.json", "encoder_config/upsampling_ratios", "[4,5,6,4]", "encoder.encoder.layers."},
        {"speech_tokenizer/config.json", "encoder_config/num_hidden_layers", "4", "encoder_transformer.layers.3."},
        {"speech_tokenizer/config.json", "encoder_config/num_quantizers", "7", "num_quantizers"},
    };
    restore("sample-e");
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        damage_json(cases[i].file, cases[i].path, cases[i].value);
        expect(cases[i].file, cases[i].words);
    }
    /* A folder whose parts come from two models. */
    char *other = realpath(golden_path("qwen/sample-f/model/speech_tokenizer/config.json"), NULL);
    (void)unlink(in_folder("speech_tokenizer/config.json"));
    assert_int_equal(symlink(other, in_folder("speech_tokenizer/config.json")), 0);
    free(other);
    expect("speech_tokenizer/config.json", "num_code_groups");
    other = realpath(golden_path("qwen/sample-f/model/speech_tokenizer/model.safetensors"), NULL);
    (void)unlink(in_folder("speech_tokenizer/model.safetensors"));
    assert_int_equal(symlink(other, in_folder("speech_tokenizer/model.safetensors")), 0);
    free(other);
    expect("speech_tokenizer/model.safetensors", "speech_tokenizer");
}

static int make_folder(void **state) {
    (void)state;
    strcpy(folder, "/tmp/timbre-damage-XXXXXX");
    return mkdtemp(folder) == NULL || mkdir(in_folder("speech_tokenizer"), 0700) != 0;
}

static int remove_folder(void **state) {
    (void)state;
    remove_files();
    (void)rmdir(in_folder("speech_tokenizer"));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sound),           cmocka_unit_test(test_missing_files),
        cmocka_unit_test(test_truncated_files), cmocka_unit_test(test_tensors),
        cmocka_unit_test(test_not_finite),      cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_contradictions),
    };
    return cmocka_run_group_tests_name("damaged checkpoints", tests, make_folder, remove_folder);
}
