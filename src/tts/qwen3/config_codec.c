/* Speaker encoder and codec. */
#include "base/error.h"
#include "tts/qwen3/config_internal.h"

#include <string.h>

#define CHANNELS_MAX 16384

/* An optional list that must have `stages` entries when it is there. */
static tmb_status read_stage_list(const char *path, const json_t *object, const char *name, size_t maximum,
                                  size_t stages, size_t *out, tmb_error *error) {
    if (json_object_get(object, name) == NULL) {
        return TMB_OK;
    }
    size_t count = 0;
    tmb_status status =
        tmb_json_read_sizes(path, object, name, 1, TMB_QWEN3_STAGES_MAX, 1, (double)maximum, out, &count, error);
    if (status == TMB_OK && count != stages) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%s: %s has %zu entries, but enc_channels has %zu", path, name, count,
                          stages);
    }
    return status;
}

static tmb_status check_speaker(const char *path, const tmb_qwen3_speaker_config *config, tmb_error *error) {
    size_t last = config->stages - 1;
    size_t blocks = 0;
    for (size_t i = 0; i < config->stages; i++) {
        if (config->kernels[i] % 2 == 0) {
            return tmb_fail(error, TMB_ERROR_MODEL, "%s: enc_kernel_sizes[%zu] is %zu, but must be odd", path, i,
                            config->kernels[i]);
        }
        if (i != 0 && i != last) {
            blocks += config->channels[i];
            if (config->channels[i] != config->channels[0]) {
                return tmb_fail(error, TMB_ERROR_MODEL, "%s: enc_channels[%zu] is %zu, but enc_channels[0] is %zu",
                                path, i, config->channels[i], config->channels[0]);
            }
        }
    }
    if (config->channels[0] % config->res2net_scale != 0) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: enc_res2net_scale %zu does not divide enc_channels %zu", path,
                        config->res2net_scale, config->channels[0]);
    }
    if (config->channels[last] != blocks) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: the last of enc_channels is %zu, but the blocks before have %zu",
                        path, config->channels[last], blocks);
    }
    return TMB_OK;
}

tmb_status tmb_qwen3_config_speaker(const char *path, const json_t *object, tmb_qwen3_speaker_config *out,
                                    tmb_error *error) {
    static const tmb_json_field fields[] = {
        {"sample_rate", TMB_JSON_INT, offsetof(tmb_qwen3_speaker_config, sample_rate), 24000, 24000, true, 24000},
        {"mel_dim", TMB_JSON_SIZE, offsetof(tmb_qwen3_speaker_config, mel_bands), 1, 512, true, 128},
        {"enc_dim", TMB_JSON_SIZE, offsetof(tmb_qwen3_speaker_config, embedding_size), 1, 65536, true, 1024},
        {"enc_attention_channels", TMB_JSON_SIZE, offsetof(tmb_qwen3_speaker_config, attention_channels), 1, 8192, true,
         128},
        {"enc_res2net_scale", TMB_JSON_SIZE, offsetof(tmb_qwen3_speaker_config, res2net_scale), 2, 64, true, 8},
        {"enc_se_channels", TMB_JSON_SIZE, offsetof(tmb_qwen3_speaker_config, se_channels), 1, 8192, true, 128},
    };
    static const size_t channels[] = {512, 512, 512, 512, 1536};
    static const size_t kernels[] = {5, 3, 3, 3, 1};
    static const size_t dilations[] = {1, 2, 3, 4, 1};
    memcpy(out->channels, channels, sizeof channels);
    memcpy(out->kernels, kernels, sizeof kernels);
    memcpy(out->dilations, dilations, sizeof dilations);
    out->stages = TMB_FIELD_COUNT(channels);
    tmb_status status = tmb_json_read_fields(path, object, fields, TMB_FIELD_COUNT(fields), out, error);
    if (status == TMB_OK && json_object_get(object, "enc_channels") != NULL) {
        status = tmb_json_read_sizes(path, object, "enc_channels", 3, TMB_QWEN3_STAGES_MAX, 1, 16384, out->channels,
                                     &out->stages, error);
    }
    if (status == TMB_OK && out->stages != TMB_FIELD_COUNT(channels) &&
        (json_object_get(object, "enc_kernel_sizes") == NULL || json_object_get(object, "enc_dilations") == NULL)) {
        status = tmb_fail(error, TMB_ERROR_MODEL,
                          "%s: enc_channels has %zu entries: enc_kernel_sizes and enc_dilations must say theirs", path,
                          out->stages);
    }
    if (status == TMB_OK) {
        status = read_stage_list(path, object, "enc_kernel_sizes", 63, out->stages, out->kernels, error);
    }
    if (status == TMB_OK) {
        status = read_stage_list(path, object, "enc_dilations", 64, out->stages, out->dilations, error);
    }
    return status == TMB_OK ? check_speaker(path, out, error) : status;
}

/* Strides of the encoder, turned into the order of the signal. */
static tmb_status read_encoder_ratios(const char *path, const json_t *object, tmb_qwen3_codec_encoder_config *out,
                                      tmb_error *error) {
    size_t ratios[TMB_QWEN3_STAGES_MAX];
    tmb_status status = tmb_json_read_sizes(path, object, "upsampling_ratios", 1, TMB_QWEN3_STAGES_MAX, 1, 64, ratios,
                                            &out->stages, error);
    if (status != TMB_OK) {
        return status;
    }
    for (size_t i = 0; i < out->stages; i++) {
        out->ratios[i] = ratios[out->stages - 1 - i];
    }
    return TMB_OK;
}

static tmb_status check_encoder(const char *path, const json_t *object, tmb_qwen3_codec_encoder_config *out,
                                tmb_error *error) {
    if (out->head_dim == 0) {
        out->head_dim = out->hidden_size / out->attention_heads;
    }
    tmb_status status =
        tmb_qwen3_config_check_heads(path, out->attention_heads, out->key_value_heads, out->head_dim, error);
    if (status == TMB_OK) {
        status = tmb_qwen3_config_expect(path, object, "hidden_act", "gelu", error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_expect(path, object, "pad_mode", "constant", error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_refuse(path, object, "attention_bias", error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_refuse(path, object, "use_conv_shortcut", error);
    }
    if (status == TMB_OK && json_is_false(json_object_get(object, "use_causal_conv"))) {
        status = tmb_fail(error, TMB_ERROR_UNSUPPORTED, "%s: use_causal_conv is false, which is not supported", path);
    }
    if (status == TMB_OK && out->filters << out->stages > CHANNELS_MAX) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%s: num_filters %zu doubled %zu times is over %d channels", path,
                          out->filters, out->stages, CHANNELS_MAX);
    }
    /* The official code rounds every width down. */
    if (status == TMB_OK && out->filters / out->compress == 0) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%s: compress %zu leaves nothing of num_filters %zu", path,
                          out->compress, out->filters);
    }
    if (status == TMB_OK && out->quantizers <= out->semantic_quantizers) {
        status =
            tmb_fail(error, TMB_ERROR_MODEL, "%s: num_quantizers %zu must be more than num_semantic_quantizers %zu",
                     path, out->quantizers, out->semantic_quantizers);
    }
    return status;
}

static tmb_status read_encoder(const char *path, const json_t *object, tmb_qwen3_codec_encoder_config *out,
                               tmb_error *error) {
#define AT(member) offsetof(tmb_qwen3_codec_encoder_config, member)
    static const tmb_json_field fields[] = {
        {"num_filters", TMB_JSON_SIZE, AT(filters), 1, 4096, false, 0},
        {"kernel_size", TMB_JSON_SIZE, AT(kernel_size), 1, 63, true, 7},
        {"last_kernel_size", TMB_JSON_SIZE, AT(last_kernel_size), 1, 63, true, 3},
        {"residual_kernel_size", TMB_JSON_SIZE, AT(residual_kernel_size), 1, 63, true, 3},
        {"num_residual_layers", TMB_JSON_SIZE, AT(residual_layers), 0, 8, true, 1},
        {"dilation_growth_rate", TMB_JSON_SIZE, AT(dilation_growth), 1, 8, true, 2},
        {"compress", TMB_JSON_SIZE, AT(compress), 1, 64, true, 2},
        {"hidden_size", TMB_JSON_SIZE, AT(hidden_size), 1, 16384, false, 0},
        {"num_hidden_layers", TMB_JSON_SIZE, AT(layers), 1, 256, false, 0},
        {"num_attention_heads", TMB_JSON_SIZE, AT(attention_heads), 1, 1024, false, 0},
        {"num_key_value_heads", TMB_JSON_SIZE, AT(key_value_heads), 1, 1024, false, 0},
        {"head_dim", TMB_JSON_SIZE, AT(head_dim), 2, 1024, true, 0},
        {"intermediate_size", TMB_JSON_SIZE, AT(intermediate_size), 1, 65536, false, 0},
        {"norm_eps", TMB_JSON_DOUBLE, AT(norm_eps), 1e-12, 1, true, 1e-5},
        {"rope_theta", TMB_JSON_DOUBLE, AT(rope_theta), 1, 1e12, true, 10000},
        {"codebook_size", TMB_JSON_SIZE, AT(codebook_size), 2, 32767, false, 0},
        {"codebook_dim", TMB_JSON_SIZE, AT(codebook_dim), 1, 8192, false, 0},
        {"num_quantizers", TMB_JSON_SIZE, AT(quantizers), 2, 256, false, 0},
        {"num_semantic_quantizers", TMB_JSON_SIZE, AT(semantic_quantizers), 1, 1, true, 1},
    };
#undef AT
    tmb_status status = tmb_json_read_fields(path, object, fields, TMB_FIELD_COUNT(fields), out, error);
    if (status == TMB_OK) {
        status = read_encoder_ratios(path, object, out, error);
    }
    const json_t *width = json_object_get(object, "vector_quantization_hidden_dimension");
    if (status == TMB_OK && width != NULL &&
        (!json_is_integer(width) || json_integer_value(width) != (json_int_t)out->codebook_dim)) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%s: vector_quantization_hidden_dimension is not codebook_dim %zu",
                          path, out->codebook_dim);
    }
    out->downsample = 2;
    return status == TMB_OK ? check_encoder(path, object, out, error) : status;
}

static tmb_status check_decoder(const char *path, const json_t *object, tmb_qwen3_codec_decoder_config *out,
                                tmb_error *error) {
    if (out->head_dim == 0) {
        out->head_dim = out->hidden_size / out->attention_heads;
    }
    tmb_status status =
        tmb_qwen3_config_check_heads(path, out->attention_heads, out->key_value_heads, out->head_dim, error);
    if (status == TMB_OK) {
        status = tmb_qwen3_config_expect(path, object, "hidden_act", "silu", error);
    }
    if (status == TMB_OK) {
        status = tmb_qwen3_config_refuse(path, object, "attention_bias", error);
    }
    if (status == TMB_OK && out->decoder_dim >> out->decoder_stages == 0) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%s: decoder_dim %zu cannot be halved %zu times", path,
                          out->decoder_dim, out->decoder_stages);
    }
    return status;
}

static tmb_status read_decoder(const char *path, const json_t *object, tmb_qwen3_codec_decoder_config *out,
                               tmb_error *error) {
#define AT(member) offsetof(tmb_qwen3_codec_decoder_config, member)
    static const tmb_json_field fields[] = {
        {"codebook_size", TMB_JSON_SIZE, AT(codebook_size), 2, 32767, false, 0},
        {"codebook_dim", TMB_JSON_SIZE, AT(codebook_dim), 2, 8192, false, 0},
        {"num_quantizers", TMB_JSON_SIZE, AT(quantizers), 2, TMB_QWEN3_CODE_GROUPS_MAX, false, 0},
        {"num_semantic_quantizers", TMB_JSON_SIZE, AT(semantic_quantizers), 1, 1, true, 1},
        {"latent_dim", TMB_JSON_SIZE, AT(latent_dim), 1, 16384, false, 0},
        {"hidden_size", TMB_JSON_SIZE, AT(hidden_size), 1, 16384, false, 0},
        {"intermediate_size", TMB_JSON_SIZE, AT(intermediate_size), 1, 65536, false, 0},
        {"num_hidden_layers", TMB_JSON_SIZE, AT(layers), 1, 256, false, 0},
        {"num_attention_heads", TMB_JSON_SIZE, AT(attention_heads), 1, 1024, false, 0},
        {"num_key_value_heads", TMB_JSON_SIZE, AT(key_value_heads), 1, 1024, false, 0},
        {"head_dim", TMB_JSON_SIZE, AT(head_dim), 2, 1024, true, 0},
        {"rms_norm_eps", TMB_JSON_DOUBLE, AT(rms_norm_eps), 1e-12, 1, true, 1e-5},
        {"rope_theta", TMB_JSON_DOUBLE, AT(rope_theta), 1, 1e12, true, 10000},
        {"sliding_window", TMB_JSON_SIZE, AT(sliding_window), 1, 65536, true, 72},
        {"decoder_dim", TMB_JSON_SIZE, AT(decoder_dim), 1, 16384, false, 0},
    };
#undef AT
    tmb_status status = tmb_json_read_fields(path, object, fields, TMB_FIELD_COUNT(fields), out, error);
    if (status == TMB_OK) {
        status = tmb_json_read_sizes(path, object, "upsample_rates", 1, TMB_QWEN3_STAGES_MAX, 1, 64, out->decoder_rates,
                                     &out->decoder_stages, error);
    }
    if (status == TMB_OK) {
        status = tmb_json_read_sizes(path, object, "upsampling_ratios", 0, TMB_QWEN3_STAGES_MAX, 1, 64,
                                     out->upsample_ratios, &out->upsample_stages, error);
    }
    return status == TMB_OK ? check_decoder(path, object, out, error) : status;
}

/* At most 8 factors up to 64 each: fits. */
static size_t product(const size_t *factors, size_t count) {
    size_t result = 1;
    for (size_t i = 0; i < count; i++) {
        result *= factors[i];
    }
    return result;
}

static tmb_status check_codec(const char *path, const tmb_qwen3_codec_config *codec, size_t encode_rate,
                              tmb_error *error) {
    const tmb_qwen3_codec_encoder_config *encoder = &codec->encoder;
    const tmb_qwen3_codec_decoder_config *decoder = &codec->decoder;
    size_t down = product(encoder->ratios, encoder->stages);
    size_t up_first = product(decoder->decoder_rates, decoder->decoder_stages);
    size_t up_second = product(decoder->upsample_ratios, decoder->upsample_stages);
    if (encode_rate != down * encoder->downsample) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: encode_downsample_rate is %zu, but the encoder's strides make %zu",
                        path, encode_rate, down * encoder->downsample);
    }
    /* Factor by factor: either product alone is at most 2^48. */
    if (up_first > codec->samples_per_frame || up_second > codec->samples_per_frame ||
        up_first * up_second != codec->samples_per_frame) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "%s: decode_upsample_rate is %zu, but upsample_rates and upsampling_ratios do not make that",
                        path, codec->samples_per_frame);
    }
    if (encode_rate != codec->samples_per_frame) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: encode_downsample_rate is %zu, but decode_upsample_rate %zu", path,
                        encode_rate, codec->samples_per_frame);
    }
    if (encoder->codebook_size != decoder->codebook_size) {
        return tmb_fail(error, TMB_ERROR_MODEL, "%s: codebook_size of encoder (%zu) and decoder (%zu) differ", path,
                        encoder->codebook_size, decoder->codebook_size);
    }
    if (codec->valid_quantizers > encoder->quantizers || codec->valid_quantizers != decoder->quantizers) {
        return tmb_fail(error, TMB_ERROR_MODEL,
                        "%s: encoder_valid_num_quantizers is %zu, but num_quantizers are %zu in the encoder and %zu in "
                        "the decoder",
                        path, codec->valid_quantizers, encoder->quantizers, decoder->quantizers);
    }
    return TMB_OK;
}

tmb_status tmb_qwen3_config_codec(const char *path, const json_t *root, tmb_qwen3_codec_config *out, tmb_error *error) {
    typedef struct rates {
        int input, output;
        size_t encode, decode, valid;
    } rates;
    static const tmb_json_field fields[] = {
        {"input_sample_rate", TMB_JSON_INT, offsetof(rates, input), 24000, 24000, true, 24000},
        {"output_sample_rate", TMB_JSON_INT, offsetof(rates, output), 24000, 24000, true, 24000},
        {"encode_downsample_rate", TMB_JSON_SIZE, offsetof(rates, encode), 1, 1 << 20, true, 1920},
        {"decode_upsample_rate", TMB_JSON_SIZE, offsetof(rates, decode), 1, 1 << 20, true, 1920},
        {"encoder_valid_num_quantizers", TMB_JSON_SIZE, offsetof(rates, valid), 2, TMB_QWEN3_CODE_GROUPS_MAX, true, 16},
    };
    rates read = {0};
    tmb_status status = tmb_qwen3_config_expect(path, root, "model_type", "qwen3_tts_tokenizer_12hz", error);
    if (status == TMB_OK) {
        status = tmb_json_read_fields(path, root, fields, TMB_FIELD_COUNT(fields), &read, error);
    }
    out->sample_rate = read.input;
    out->samples_per_frame = read.decode;
    out->valid_quantizers = read.valid;
    const json_t *encoder = json_object_get(root, "encoder_config");
    const json_t *decoder = json_object_get(root, "decoder_config");
    if (status == TMB_OK && (!json_is_object(encoder) || !json_is_object(decoder))) {
        status = tmb_fail(error, TMB_ERROR_MODEL, "%s: %s is missing or not an object", path,
                          json_is_object(encoder) ? "decoder_config" : "encoder_config");
    }
    if (status == TMB_OK) {
        status = read_encoder("speech_tokenizer/config.json: encoder_config", encoder, &out->encoder, error);
    }
    if (status == TMB_OK) {
        status = read_decoder("speech_tokenizer/config.json: decoder_config", decoder, &out->decoder, error);
    }
    return status == TMB_OK ? check_codec(path, out, read.encode, error) : status;
}
