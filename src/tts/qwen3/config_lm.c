/* Talker, code predictor and generation defaults. */
#include "base/error.h"
#include "tts/qwen3/config_internal.h"

#include <string.h>

#define POSITIONS_MAX (1 << 24)

static const tmb_json_field transformer_fields[] = {
    {"num_hidden_layers", TMB_JSON_SIZE, offsetof(tmb_qwen3_transformer_config, layers), 1, 256, false, 0},
    {"hidden_size", TMB_JSON_SIZE, offsetof(tmb_qwen3_transformer_config, hidden_size), 1, 65536, false, 0},
    {"intermediate_size", TMB_JSON_SIZE, offsetof(tmb_qwen3_transformer_config, intermediate_size), 1, 262144, false,
     0},
    {"num_attention_heads", TMB_JSON_SIZE, offsetof(tmb_qwen3_transformer_config, attention_heads), 1, 1024, false, 0},
    {"num_key_value_heads", TMB_JSON_SIZE, offsetof(tmb_qwen3_transformer_config, key_value_heads), 1, 1024, false, 0},
    {"head_dim", TMB_JSON_SIZE, offsetof(tmb_qwen3_transformer_config, head_dim), 2, 1024, true, 0},
    {"rms_norm_eps", TMB_JSON_DOUBLE, offsetof(tmb_qwen3_transformer_config, rms_norm_eps), 1e-12, 1, true, 1e-6},
    {"rope_theta", TMB_JSON_DOUBLE, offsetof(tmb_qwen3_transformer_config, rope_theta), 1, 1e12, true, 10000},
    {"max_position_embeddings", TMB_JSON_SIZE, offsetof(tmb_qwen3_transformer_config, max_positions), 16, POSITIONS_MAX,
     true, 32768},
};

/* Only the released kinds of RoPE and attention are there. */
static tmb_status check_features(const char *path, const json_t *object, tmb_error *error) {
    tmb_status status = tmb_qwen3_config_expect(path, object, "hidden_act", "silu", error);
    if (status == TMB_OK) {
        status = tmb_qwen3_config_refuse(path, object, "attention_bias", error);
    }
    if (status == TMB_OK && json_is_true(json_object_get(object, "use_sliding_window"))) {
        status = tmb_qwen3_config_refuse(path, object, "sliding_window", error);
    }
    const json_t *types = json_object_get(object, "layer_types");
    for (size_t i = 0; status == TMB_OK && i < json_array_size(types); i++) {
        const char *type = json_string_value(json_array_get(types, i));
        if (type == NULL || strcmp(type, "full_attention") != 0) {
            status = tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                              "%s: layer_types[%zu] is \"%.40s\", but only "
                              "\"full_attention\" is supported",
                              path, i, type == NULL ? "(not a string)" : type);
        }
    }
    /* With three equal position rows the multimodal sections and their interleaving change nothing. */
    const json_t *scaling = json_object_get(object, "rope_scaling");
    if (status == TMB_OK && json_is_object(scaling)) {
        status = tmb_qwen3_config_expect(path, scaling, "rope_type", "default", error);
        if (status == TMB_OK) {
            status = tmb_qwen3_config_expect(path, scaling, "type", "default", error);
        }
    }
    return status;
}

static tmb_status read_transformer(const char *path, const json_t *object, tmb_qwen3_transformer_config *out,
                                   tmb_error *error) {
    tmb_status status =
        tmb_json_read_fields(path, object, transformer_fields, TMB_FIELD_COUNT(transformer_fields), out, error);
    if (status == TMB_OK && out->head_dim == 0) {
        out->head_dim = out->hidden_size / out->attention_heads;
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_check_heads(path, out->attention_heads, out->key_value_heads, out->head_dim, error);
    }
    return status == TMB_OK ? check_features(path, object, error) : status;
}

static tmb_status check_codec_id(const char *path, const char *name, int32_t id, size_t vocab_size, tmb_error *error) {
    if ((size_t)id >= vocab_size) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is %d, but vocab_size is %zu", path, name, id, vocab_size);
    }
    return TMB_OK;
}

static tmb_status read_languages(const char *path, const json_t *object, tmb_qwen3_talker_config *out,
                                 tmb_error *error) {
    json_t *languages = json_object_get(object, "codec_language_id");
    if (!json_is_object(languages)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: codec_language_id is missing or not an object", path);
    }
    const char *name = NULL;
    json_t *id = NULL;
    json_object_foreach(languages, name, id) {
        bool is_dialect = strstr(name, "dialect") != NULL;
        size_t *count = is_dialect ? &out->dialect_count : &out->language_count;
        if (*count == TMB_QWEN3_LANGUAGES_MAX) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: more than %d languages", path, TMB_QWEN3_LANGUAGES_MAX);
        }
        tmb_qwen3_language *language = is_dialect ? &out->dialects[*count] : &out->languages[*count];
        if (!json_is_integer(id) || json_integer_value(id) < 0 || (uint64_t)json_integer_value(id) >= out->vocab_size ||
            strlen(name) >= sizeof language->name) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: codec_language_id of \"%.40s\" is not a token below %zu", path,
                            name, out->vocab_size);
        }
        size_t i = 0;
        for (; name[i] != '\0'; i++) {
            /* A speaker names a dialect as the file spells it. */
            bool lower = !is_dialect && name[i] >= 'A' && name[i] <= 'Z';
            language->name[i] = (char)(lower ? name[i] + ('a' - 'A') : name[i]);
        }
        language->name[i] = '\0';
        language->id = (int32_t)json_integer_value(id);
        (*count)++;
    }
    return TMB_OK;
}

/* What spk_is_dialect says of a speaker: false, or a dialect's name. */
static int dialect_of(const tmb_qwen3_talker_config *talker, const json_t *value) {
    if (json_is_false(value)) {
        return TMB_QWEN3_NO_DIALECT;
    }
    const char *name = json_string_value(value);
    for (size_t i = 0; name != NULL && i < talker->dialect_count; i++) {
        if (strcmp(talker->dialects[i].name, name) == 0) {
            return (int)i;
        }
    }
    return TMB_QWEN3_BROKEN_DIALECT;
}

/* tts_model_type decides whether a model speaks with its speakers: other kinds may list some, which mean nothing. */
tmb_status tmb_qwen3_config_speakers(const char *path, const json_t *talker, tmb_qwen3_config *out, tmb_error *error) {
    json_t *ids = json_object_get(talker, "spk_id");
    const json_t *dialects = json_object_get(talker, "spk_is_dialect");
    if (out->kind != TMB_QWEN3_CUSTOM_VOICE) {
        return TMB_OK;
    }
    if (!json_is_object(ids)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: spk_id is missing or not an object", path);
    }
    const char *name = NULL;
    json_t *id = NULL;
    json_object_foreach(ids, name, id) {
        if (out->speaker_count == TMB_QWEN3_SPEAKERS_MAX) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: spk_id has more than %d speakers", path,
                            TMB_QWEN3_SPEAKERS_MAX);
        }
        tmb_qwen3_speaker *speaker = &out->speakers[out->speaker_count];
        if (name[0] == '\0') { /* no request can mean it */
            continue;
        }
        if (strlen(name) >= sizeof speaker->name) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: spk_id has a name of %zu bytes, more than %zu", path,
                            strlen(name), sizeof speaker->name - 1);
        }
        /* The official implementation takes a list of one, too. */
        const json_t *number = json_is_array(id) && json_array_size(id) == 1 ? json_array_get(id, 0) : id;
        if (!json_is_integer(number) || json_integer_value(number) < 0 ||
            (uint64_t)json_integer_value(number) >= out->talker.vocab_size) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: spk_id of \"%.60s\" is not a token below %zu", path, name,
                            out->talker.vocab_size);
        }
        strcpy(speaker->name, name);
        speaker->id = (int32_t)json_integer_value(number);
        speaker->dialect = dialect_of(&out->talker, json_object_get(dialects, name));
        out->speaker_count++;
    }
    return TMB_OK;
}

tmb_status tmb_qwen3_config_talker(const char *path, const json_t *object, tmb_qwen3_talker_config *out,
                                   tmb_error *error) {
    static const tmb_json_field fields[] = {
        {"vocab_size", TMB_JSON_SIZE, offsetof(tmb_qwen3_talker_config, vocab_size), TMB_QWEN3_SUPPRESSED_CODES + 1,
         1 << 20, false, 0},
        {"num_code_groups", TMB_JSON_SIZE, offsetof(tmb_qwen3_talker_config, code_groups), 2, TMB_QWEN3_CODE_GROUPS_MAX,
         false, 0},
        {"text_vocab_size", TMB_JSON_SIZE, offsetof(tmb_qwen3_talker_config, text_vocab_size), 1, 1 << 24, false, 0},
        {"text_hidden_size", TMB_JSON_SIZE, offsetof(tmb_qwen3_talker_config, text_hidden_size), 1, 65536, false, 0},
        {"codec_bos_id", TMB_JSON_ID, offsetof(tmb_qwen3_talker_config, codec_bos_id), 0, INT32_MAX, false, 0},
        {"codec_eos_token_id", TMB_JSON_ID, offsetof(tmb_qwen3_talker_config, codec_eos_id), 0, INT32_MAX, false, 0},
        {"codec_pad_id", TMB_JSON_ID, offsetof(tmb_qwen3_talker_config, codec_pad_id), 0, INT32_MAX, false, 0},
        {"codec_think_id", TMB_JSON_ID, offsetof(tmb_qwen3_talker_config, codec_think_id), 0, INT32_MAX, false, 0},
        {"codec_nothink_id", TMB_JSON_ID, offsetof(tmb_qwen3_talker_config, codec_nothink_id), 0, INT32_MAX, false, 0},
        {"codec_think_bos_id", TMB_JSON_ID, offsetof(tmb_qwen3_talker_config, codec_think_bos_id), 0, INT32_MAX, false,
         0},
        {"codec_think_eos_id", TMB_JSON_ID, offsetof(tmb_qwen3_talker_config, codec_think_eos_id), 0, INT32_MAX, false,
         0},
    };
    tmb_status status = read_transformer(path, object, &out->transformer, error);
    if (status == TMB_OK) {
        status = tmb_json_read_fields(path, object, fields, TMB_FIELD_COUNT(fields), out, error);
    }
    /* Every field of the table that is an id must be a row of the codec embedding. */
    for (size_t i = 0; i < TMB_FIELD_COUNT(fields) && status == TMB_OK; i++) {
        if (fields[i].kind == TMB_JSON_ID) {
            int32_t id = *(const int32_t *)(const void *)((const char *)out + fields[i].offset);
            status = check_codec_id(path, fields[i].name, id, out->vocab_size, error);
        }
    }
    return status == TMB_OK ? read_languages(path, object, out, error) : status;
}

tmb_status tmb_qwen3_config_predictor(const char *path, const json_t *object, tmb_qwen3_predictor_config *out,
                                      tmb_error *error) {
    static const tmb_json_field fields[] = {
        {"vocab_size", TMB_JSON_SIZE, offsetof(tmb_qwen3_predictor_config, vocab_size), 2, 32767, false, 0},
        {"num_code_groups", TMB_JSON_SIZE, offsetof(tmb_qwen3_predictor_config, code_groups), 2,
         TMB_QWEN3_CODE_GROUPS_MAX, false, 0},
    };
    tmb_status status = read_transformer(path, object, &out->transformer, error);
    if (status == TMB_OK) {
        status = tmb_json_read_fields(path, object, fields, TMB_FIELD_COUNT(fields), out, error);
    }
    if (status == TMB_OK && out->transformer.max_positions < out->code_groups) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%s: max_position_embeddings %zu is less than num_code_groups %zu",
                          path, out->transformer.max_positions, out->code_groups);
    }
    return status;
}

tmb_status tmb_qwen3_config_generation(const char *path, const json_t *object, tmb_qwen3_generation_config *out,
                                       tmb_error *error) {
    static const tmb_json_field fields[] = {
        {"do_sample", TMB_JSON_BOOL, offsetof(tmb_qwen3_generation_config, talker.do_sample), 0, 1, true, 1},
        {"temperature", TMB_JSON_DOUBLE, offsetof(tmb_qwen3_generation_config, talker.temperature), 1e-3, 100, true,
         0.9},
        {"top_p", TMB_JSON_DOUBLE, offsetof(tmb_qwen3_generation_config, talker.top_p), 0, 1, true, 1},
        {"top_k", TMB_JSON_SIZE, offsetof(tmb_qwen3_generation_config, talker.top_k), 0, 1 << 20, true, 50},
        {"subtalker_dosample", TMB_JSON_BOOL, offsetof(tmb_qwen3_generation_config, predictor.do_sample), 0, 1, true,
         1},
        {"subtalker_temperature", TMB_JSON_DOUBLE, offsetof(tmb_qwen3_generation_config, predictor.temperature), 1e-3,
         100, true, 0.9},
        {"subtalker_top_p", TMB_JSON_DOUBLE, offsetof(tmb_qwen3_generation_config, predictor.top_p), 0, 1, true, 1},
        {"subtalker_top_k", TMB_JSON_SIZE, offsetof(tmb_qwen3_generation_config, predictor.top_k), 0, 1 << 20, true,
         50},
        {"repetition_penalty", TMB_JSON_DOUBLE, offsetof(tmb_qwen3_generation_config, repetition_penalty), 1e-3, 100,
         true, 1.05},
        {"max_new_tokens", TMB_JSON_SIZE, offsetof(tmb_qwen3_generation_config, max_new_tokens), 2, POSITIONS_MAX, true,
         2048},
    };
    return tmb_json_read_fields(path, object, fields, TMB_FIELD_COUNT(fields), out, error);
}
