#include "tts/qwen3/config.h"

#include "base/error.h"
#include "base/file.h"
#include "base/memory.h"
#include "tts/qwen3/config_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONFIG_BYTES_MAX (4u << 20)

tmb_status tmb_qwen3_config_expect(const char *path, const json_t *object, const char *name, const char *wanted,
                                   tmb_error *error) {
    const json_t *value = json_object_get(object, name);
    const char *text = json_string_value(value);
    if (value != NULL && (text == NULL || strcmp(text, wanted) != 0)) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "%s: %s is \"%.40s\", but only \"%s\" is supported", path, name,
                        text == NULL ? "(not a string)" : text, wanted);
    }
    return TMB_OK;
}

tmb_status tmb_qwen3_config_refuse(const char *path, const json_t *object, const char *name, tmb_error *error) {
    const json_t *value = json_object_get(object, name);
    if (value != NULL && !json_is_null(value) && !json_is_false(value)) {
        return tmb_fail(error, TMB_ERROR_UNSUPPORTED, "%s: %s is set, which is not supported", path, name);
    }
    return TMB_OK;
}

tmb_status tmb_qwen3_config_check_heads(const char *path, size_t heads, size_t key_value_heads, size_t head_dim,
                                        tmb_error *error) {
    if (heads % key_value_heads != 0) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: num_key_value_heads %zu does not divide num_attention_heads %zu",
                        path, key_value_heads, heads);
    }
    if (head_dim == 0 || head_dim % 2 != 0) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: head_dim %zu is not even", path, head_dim);
    }
    return TMB_OK;
}

static tmb_status require_object(const char *path, const json_t *parent, const char *name, const json_t **out,
                                 tmb_error *error) {
    *out = json_object_get(parent, name);
    if (!json_is_object(*out)) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is missing or not an object", path, name);
    }
    return TMB_OK;
}

/* What kind of checkpoint this is. */
static tmb_status read_kind(const json_t *root, tmb_qwen3_kind *kind, tmb_error *error) {
    static const char *const kinds[] = {"base", "custom_voice", "voice_design"}; /* as tmb_qwen3_kind */
    const char *path = "config.json";
    tmb_status status = tmb_qwen3_config_expect(path, root, "model_type", "qwen3_tts", error);
    if (status == TMB_OK) {
        status = tmb_qwen3_config_expect(path, root, "tokenizer_type", "qwen3_tts_tokenizer_12hz", error);
    }
    const char *type = json_string_value(json_object_get(root, "tts_model_type"));
    if (status == TMB_OK && type == NULL) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: tts_model_type is missing", path);
    }
    for (size_t i = 0; status == TMB_OK && i < TMB_FIELD_COUNT(kinds); i++) {
        if (strcmp(type, kinds[i]) == 0) {
            *kind = (tmb_qwen3_kind)i;
            return TMB_OK;
        }
    }
    return status != TMB_OK
               ? status
               : tmb_fail(error, TMB_ERROR_UNSUPPORTED,
                          "%s: tts_model_type is \"%.40s\", but only base, custom_voice and voice_design are known",
                          path, type);
}

/* Whether the official implementation drops instructions: generate_custom_voice() does if "0b6" contains the size's
 * name, which the empty name satisfies too. */
static bool drops_instruct(const json_t *root, const tmb_qwen3_config *config) {
    const char *size = json_string_value(json_object_get(root, "tts_model_size"));
    return config->kind == TMB_QWEN3_CUSTOM_VOICE && size != NULL && strstr("0b6", size) != NULL;
}

static tmb_status read_main(const json_t *root, tmb_qwen3_config *out, tmb_error *error) {
    static const tmb_json_field ids[] = {
        {"im_start_token_id", TMB_JSON_ID, offsetof(tmb_qwen3_config, im_start_id), 0, INT32_MAX, false, 0},
        {"im_end_token_id", TMB_JSON_ID, offsetof(tmb_qwen3_config, im_end_id), 0, INT32_MAX, false, 0},
        {"assistant_token_id", TMB_JSON_ID, offsetof(tmb_qwen3_config, assistant_id), 0, INT32_MAX, true, 77091},
        {"tts_pad_token_id", TMB_JSON_ID, offsetof(tmb_qwen3_config, tts_pad_id), 0, INT32_MAX, false, 0},
        {"tts_bos_token_id", TMB_JSON_ID, offsetof(tmb_qwen3_config, tts_bos_id), 0, INT32_MAX, false, 0},
        {"tts_eos_token_id", TMB_JSON_ID, offsetof(tmb_qwen3_config, tts_eos_id), 0, INT32_MAX, false, 0},
    };
    tmb_status status = read_kind(root, &out->kind, error);
    if (status == TMB_OK) {
        status = tmb_json_read_fields("config.json", root, ids, TMB_FIELD_COUNT(ids), out, error);
    }
    const char *size_name = json_string_value(json_object_get(root, "tts_model_size"));
    if (size_name != NULL && strlen(size_name) < sizeof out->size_name) {
        strcpy(out->size_name, size_name);
    }
    out->drops_instruct = drops_instruct(root, out);
    const json_t *talker = NULL;
    const json_t *predictor = NULL;
    const json_t *speaker = NULL;
    if (status == TMB_OK) {
        status = require_object("config.json", root, "talker_config", &talker, error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_talker("config.json: talker_config", talker, &out->talker, error);
    }
    if (status == TMB_OK) {
        status = require_object("config.json: talker_config", talker, "code_predictor_config", &predictor, error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_predictor("config.json: code_predictor_config", predictor, &out->predictor, error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_speakers("config.json: talker_config", talker, out, error);
    }
    /* A fine-tuned model keeps the settings of a speaker encoder that it no longer has. */
    if (status != TMB_OK || !tmb_qwen3_clones(out)) {
        return status;
    }
    status = require_object("config.json", root, "speaker_encoder_config", &speaker, error);
    if (status == TMB_OK) {
        status = tmb_qwen3_config_speaker("config.json: speaker_encoder_config", speaker, &out->speaker, error);
    }
    return status;
}

/* Two figures of different places that must be one. */
static tmb_status check_equal(const char *a_name, size_t a, const char *b_name, size_t b, tmb_error *error) {
    if (a != b) {
        return tmb_fail(error, TMB_ERROR_MODEL, "contradiction: %s is %zu, but %s is %zu", a_name, a, b_name, b);
    }
    return TMB_OK;
}

static tmb_status check_text_id(const char *name, int32_t id, size_t vocab_size, tmb_error *error) {
    if ((size_t)id >= vocab_size) {
        return tmb_fail(error, TMB_ERROR_MODEL, "contradiction: %s is %d, but talker_config.text_vocab_size is %zu",
                        name, id, vocab_size);
    }
    return TMB_OK;
}

static tmb_status check_text_ids(const tmb_qwen3_config *config, tmb_error *error) {
    const struct {
        const char *name;
        int32_t id;
    } ids[] = {
        {"im_start_token_id", config->im_start_id},   {"im_end_token_id", config->im_end_id},
        {"assistant_token_id", config->assistant_id}, {"tts_pad_token_id", config->tts_pad_id},
        {"tts_bos_token_id", config->tts_bos_id},     {"tts_eos_token_id", config->tts_eos_id},
    };
    tmb_status status = TMB_OK;
    for (size_t i = 0; i < TMB_FIELD_COUNT(ids) && status == TMB_OK; i++) {
        status = check_text_id(ids[i].name, ids[i].id, config->talker.text_vocab_size, error);
    }
    return status;
}

/* Do the networks fit each other? */
static tmb_status check_together(const tmb_qwen3_config *config, tmb_error *error) {
    const tmb_qwen3_codec_config *codec = &config->codec;
    const struct {
        const char *a_name;
        size_t a;
        const char *b_name;
        size_t b;
    } pairs[] = {
        {"code_predictor_config.num_code_groups", config->predictor.code_groups, "talker_config.num_code_groups",
         config->talker.code_groups},
        {"talker_config.num_code_groups", config->talker.code_groups, "the codec's encoder_valid_num_quantizers",
         codec->valid_quantizers},
        {"code_predictor_config.vocab_size", config->predictor.vocab_size, "the codec's codebook_size",
         codec->decoder.codebook_size},
        /* of those that clone */
        {"speaker_encoder_config.enc_dim", config->speaker.embedding_size, "talker_config.hidden_size",
         config->talker.transformer.hidden_size},
        {"speaker_encoder_config.sample_rate", (size_t)config->speaker.sample_rate, "the codec's input_sample_rate",
         (size_t)codec->sample_rate},
    };
    size_t pair_count = tmb_qwen3_clones(config) ? TMB_FIELD_COUNT(pairs) : TMB_FIELD_COUNT(pairs) - 2;
    tmb_status status = check_text_ids(config, error);
    for (size_t i = 0; i < pair_count && status == TMB_OK; i++) {
        status = check_equal(pairs[i].a_name, pairs[i].a, pairs[i].b_name, pairs[i].b, error);
    }
    size_t first_codes = config->talker.vocab_size - TMB_QWEN3_SUPPRESSED_CODES;
    if (status == TMB_OK && first_codes > codec->decoder.codebook_size) {
        status = tmb_fail(error, TMB_ERROR_MODEL,
                          "contradiction: talker_config.vocab_size %zu allows codes up to %zu, but the codec's "
                          "codebook_size is %zu",
                          config->talker.vocab_size, first_codes - 1, codec->decoder.codebook_size);
    }
    return status;
}

tmb_status tmb_qwen3_config_parse(const tmb_qwen3_config_texts *texts, tmb_qwen3_config *out, tmb_error *error) {
    memset(out, 0, sizeof *out);
    json_t *root = NULL;
    json_t *generation = NULL;
    json_t *codec = NULL;
    tmb_status status = tmb_json_parse("config.json", texts->config, texts->config_bytes, &root, error);
    if (status == TMB_OK && texts->generation != NULL) {
        status =
            tmb_json_parse("generation_config.json", texts->generation, texts->generation_bytes, &generation, error);
    }
    if (status == TMB_OK) {
        status = tmb_json_parse("speech_tokenizer/config.json", texts->codec, texts->codec_bytes, &codec, error);
    }
    if (status == TMB_OK) {
        status = read_main(root, out, error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_generation("generation_config.json", generation, &out->generation, error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_codec("speech_tokenizer/config.json", codec, &out->codec, error);
    }
    if (status == TMB_OK) {
        status = check_together(out, error);
    }
    json_decref(root);
    json_decref(generation);
    json_decref(codec);
    if (status == TMB_ERROR_FORMAT && error != NULL) {
        error->status = TMB_ERROR_MODEL;
    }
    return status == TMB_ERROR_FORMAT ? TMB_ERROR_MODEL : status;
}

/* *text NULL if the file does not exist. */
/* *text stays NULL if the file is optional and not there. */
static tmb_status read_text(const char *folder, const char *name, bool optional, char **text, size_t *bytes,
                            tmb_error *error) {
    char *path = tmb_asprintf("%s/%s", folder, name);
    if (path == NULL) {
        return tmb_fail_memory(error, "a path", 0);
    }
    if (optional && access(path, F_OK) != 0 && errno == ENOENT) {
        free(path);
        return TMB_OK;
    }
    tmb_status status = tmb_file_read(path, CONFIG_BYTES_MAX, text, bytes, error);
    if (status == TMB_ERROR_IO) {
        /* Not there, not readable: the folder is not a whole checkpoint. */
        status = TMB_ERROR_MODEL;
        if (error != NULL) {
            error->status = status;
        }
    }
    free(path);
    return status;
}

tmb_status tmb_qwen3_config_read(const char *folder, tmb_qwen3_config *out, tmb_error *error) {
    memset(out, 0, sizeof *out);
    char *config = NULL;
    char *generation = NULL;
    char *codec = NULL;
    tmb_qwen3_config_texts texts = {0};
    tmb_status status = read_text(folder, "config.json", false, &config, &texts.config_bytes, error);
    if (status == TMB_OK) {
        status = read_text(folder, "speech_tokenizer/config.json", false, &codec, &texts.codec_bytes, error);
    }
    if (status == TMB_OK) {
        status = read_text(folder, "generation_config.json", true, &generation, &texts.generation_bytes, error);
    }
    if (status == TMB_OK) {
        texts.config = config;
        texts.generation = generation;
        texts.codec = codec;
        status = tmb_qwen3_config_parse(&texts, out, error);
        if (status != TMB_OK) {
            tmb_error_prefix(error, "%s", folder);
        }
    }
    free(config);
    free(generation);
    free(codec);
    return status;
}
