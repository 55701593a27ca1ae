/* Any three texts as a checkpoint's configuration files: refused with a message, or figures that hold together. */
#include "fuzz_parts.h"

#include "tts/qwen3/config.h"
#include "tts/qwen3/cpu/codec/decoder.h"
#include "tts/qwen3/cpu/codec/encoder.h"
#include "tts/qwen3/text/language.h"

static void check_transformer(const tmb_qwen3_transformer_config *t) {
    fuzz_check(t->layers > 0 && t->hidden_size > 0 && t->intermediate_size > 0 && t->max_positions >= 16);
    fuzz_check(t->key_value_heads > 0 && t->attention_heads % t->key_value_heads == 0 && t->head_dim % 2 == 0);
    fuzz_check(t->head_dim > 0 && t->rms_norm_eps > 0 && t->rope_theta >= 1);
}

static void check(const tmb_qwen3_config *config) {
    const tmb_qwen3_codec_config *codec = &config->codec;
    check_transformer(&config->talker.transformer);
    check_transformer(&config->predictor.transformer);
    fuzz_check(config->talker.code_groups == config->predictor.code_groups);
    fuzz_check(config->talker.code_groups == codec->valid_quantizers &&
               codec->valid_quantizers <= TMB_QWEN3_CODE_GROUPS_MAX);
    fuzz_check(config->predictor.vocab_size == codec->decoder.codebook_size);
    fuzz_check(config->talker.vocab_size >= config->predictor.vocab_size + TMB_QWEN3_SUPPRESSED_CODES);
    fuzz_check(config->talker.codec_eos_id >= 0 && (size_t)config->talker.codec_eos_id < config->talker.vocab_size);
    fuzz_check(config->speaker.embedding_size == config->talker.transformer.hidden_size);
    size_t down = codec->encoder.downsample, up = 1;
    for (size_t i = 0; i < codec->encoder.stages; i++) {
        down *= codec->encoder.ratios[i];
    }
    for (size_t i = 0; i < codec->decoder.decoder_stages; i++) {
        up *= codec->decoder.decoder_rates[i];
    }
    for (size_t i = 0; i < codec->decoder.upsample_stages; i++) {
        up *= codec->decoder.upsample_ratios[i];
    }
    fuzz_check(down == codec->samples_per_frame && up == codec->samples_per_frame);
    fuzz_check(config->generation.max_new_tokens >= 2 && config->generation.repetition_penalty > 0);
    for (size_t i = 0; i < config->talker.language_count; i++) {
        int32_t id = -1;
        tmb_error error = {0};
        fuzz_check((size_t)config->talker.languages[i].id < config->talker.vocab_size);
        (void)tmb_qwen3_language_id(&config->talker, config->talker.languages[i].name, &id, &error);
    }
    (void)tmb_codec_decoder_estimate(codec, TMB_CODEC_F32);
    (void)tmb_codec_decoder_estimate(codec, TMB_CODEC_BF16);
    (void)tmb_codec_encoder_estimate(codec);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_part parts[3];
    fuzz_split(data, size, parts, 3);
    tmb_qwen3_config_texts texts = {.config = parts[0].text,
                                    .codec = parts[1].text,
                                    .generation = parts[2].text,
                                    .config_bytes = parts[0].size,
                                    .codec_bytes = parts[1].size,
                                    .generation_bytes = parts[2].size};
    tmb_qwen3_config config;
    tmb_error error = {0};
    if (parts[1].text != NULL) {
        if (tmb_qwen3_config_parse(&texts, &config, &error) == TMB_OK) {
            check(&config);
        } else {
            fuzz_check(error.status != TMB_OK && error.message[0] != '\0');
        }
    }
    fuzz_free_parts(parts, 3);
    return 0;
}
