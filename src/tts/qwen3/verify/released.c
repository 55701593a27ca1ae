/* Sizes and SHA-256 of the files of the revisions named here, as the hub lists them and as several projects that pin
 * them publish them. */
#include "tts/qwen3/verify/released.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* What both sizes share. */
#define SHARED_FILES                                                                                                   \
    {"generation_config.json", 245, "f1b90b4513f3b34c62851049e2492d7b4c5940daf1276f89c82b8ef04127f3aa"},               \
        {"preprocessor_config.json", 127, "efdde1022ea9d76928bf7a9cd53139138f5ba2e466e837f08f6105ab1af1c119"},         \
        {"vocab.json", 2776833, "ca10d7e9fb3ed18575dd1e277a2579c16d108e32f27439684afa0e10b1440910"},                   \
        {"merges.txt", 1671839, "599bab54075088774b1733fde865d5bd747cbcc7a547c5bc12610e874e26f5e3"},                   \
        {"tokenizer_config.json", 7344, "dc3c31c3bdaedd5016382bb3cbe07323026775ad51f5a4fb564505992ae4a670"},           \
        {"speech_tokenizer/config.json", 2336, "ee65bb901c876664ab8707c487157aa1a6ee57c65969b28fb5ec9dc211e68167"},    \
        {"speech_tokenizer/configuration.json", 76,                                                                    \
         "6bc26d64eb5024b4d1dab5a52371958b429256d6c9d59787f1f5294a54e0cebd"},                                          \
        {"speech_tokenizer/preprocessor_config.json", 234,                                                             \
         "fcb3805e597e786d4067706e602f6688524640f8d3396790e2e09b5942fcbdfb"},                                          \
    {                                                                                                                  \
        "speech_tokenizer/model.safetensors", 682293092,                                                               \
            "836b7b357f5ea43e889936a3709af68dfe3751881acefe4ecf0dbd30ba571258"                                         \
    }

static const tmb_released_file small_files[] = {
    {"config.json", 4494, "2e714c787c8edb98b05432685cddb634add2de4d4e645f653d68251ef72ba011"},
    {"model.safetensors", 1829344272, "180b3b10eb1c9f1b4db7806d5475bae3071c0243c299d49926bab1da3b6946f6"},
    SHARED_FILES,
};

static const tmb_released_file large_files[] = {
    {"config.json", 4494, "b4f01752d15a488abde3e1ab44723ae4f4b9e68a4037257b098b3737893cc1f9"},
    {"model.safetensors", 3857413744, "38fc7fc51c5e776e840414b6fd443962e9411b9654888fd7913e4da643cb857c"},
    SHARED_FILES,
};

static const tmb_released_value small_values[] = {
    {"config.json", "tts_model_size", "\"0b6\""},
    {"config.json", "speaker_encoder_config/enc_dim", "1024"},
    {"config.json", "talker_config/hidden_size", "1024"},
    {"config.json", "talker_config/intermediate_size", "3072"},
};

static const tmb_released_value large_values[] = {
    {"config.json", "tts_model_size", "\"1b7\""},
    {"config.json", "speaker_encoder_config/enc_dim", "2048"},
    {"config.json", "talker_config/hidden_size", "2048"},
    {"config.json", "talker_config/intermediate_size", "6144"},
};

static const tmb_released models[] = {
    {"qwen3-tts-0.6b", "Qwen/Qwen3-TTS-12Hz-0.6B-Base", "5d83992436eae1d760afd27aff78a71d676296fc", small_files,
     COUNT(small_files), small_values, COUNT(small_values), 478, 496},
    {"qwen3-tts-1.7b", "Qwen/Qwen3-TTS-12Hz-1.7B-Base", "fd4b254389122332181a7c3db7f27e918eec64e3", large_files,
     COUNT(large_files), large_values, COUNT(large_values), 480, 496},
};

const tmb_released *tmb_released_at(size_t index) { return index < COUNT(models) ? &models[index] : NULL; }

#define TALKER(path, value)                                                                                            \
    { "config.json", "talker_config/" path, value }
#define PREDICTOR(path, value)                                                                                         \
    { "config.json", "talker_config/code_predictor_config/" path, value }
#define DECODER(path, value)                                                                                           \
    { "speech_tokenizer/config.json", "decoder_config/" path, value }
#define ENCODER(path, value)                                                                                           \
    { "speech_tokenizer/config.json", "encoder_config/" path, value }
#define SAMPLING(path, value)                                                                                          \
    { "generation_config.json", path, value }

const tmb_released_value tmb_released_common[] = {
    {"config.json", "model_type", "\"qwen3_tts\""},
    {"config.json", "tokenizer_type", "\"qwen3_tts_tokenizer_12hz\""},
    {"config.json", "tts_model_type", "\"base\""},
    {"config.json", "im_start_token_id", "151644"},
    {"config.json", "im_end_token_id", "151645"},
    {"config.json", "assistant_token_id", "77091"},
    {"config.json", "tts_pad_token_id", "151671"},
    {"config.json", "tts_bos_token_id", "151672"},
    {"config.json", "tts_eos_token_id", "151673"},
    {"config.json", "speaker_encoder_config/sample_rate", "24000"},
    TALKER("num_hidden_layers", "28"),
    TALKER("num_attention_heads", "16"),
    TALKER("num_key_value_heads", "8"),
    TALKER("head_dim", "128"),
    TALKER("rms_norm_eps", "1e-6"),
    TALKER("rope_theta", "1000000"),
    TALKER("rope_scaling/mrope_section", "[24, 20, 20]"),
    TALKER("max_position_embeddings", "32768"),
    TALKER("vocab_size", "3072"),
    TALKER("num_code_groups", "16"),
    TALKER("text_vocab_size", "151936"),
    TALKER("text_hidden_size", "2048"),
    TALKER("codec_pad_id", "2148"),
    TALKER("codec_bos_id", "2149"),
    TALKER("codec_eos_token_id", "2150"),
    TALKER("codec_think_id", "2154"),
    TALKER("codec_nothink_id", "2155"),
    TALKER("codec_think_bos_id", "2156"),
    TALKER("codec_think_eos_id", "2157"),
    TALKER("codec_language_id/chinese", "2055"),
    TALKER("codec_language_id/english", "2050"),
    TALKER("codec_language_id/german", "2053"),
    TALKER("codec_language_id/italian", "2070"),
    TALKER("codec_language_id/portuguese", "2071"),
    TALKER("codec_language_id/spanish", "2054"),
    TALKER("codec_language_id/japanese", "2058"),
    TALKER("codec_language_id/korean", "2064"),
    TALKER("codec_language_id/french", "2061"),
    TALKER("codec_language_id/russian", "2069"),
    PREDICTOR("num_hidden_layers", "5"),
    PREDICTOR("hidden_size", "1024"),
    PREDICTOR("intermediate_size", "3072"),
    PREDICTOR("num_attention_heads", "16"),
    PREDICTOR("num_key_value_heads", "8"),
    PREDICTOR("head_dim", "128"),
    PREDICTOR("rms_norm_eps", "1e-6"),
    PREDICTOR("rope_theta", "1000000"),
    PREDICTOR("vocab_size", "2048"),
    PREDICTOR("num_code_groups", "16"),
    SAMPLING("do_sample", "true"),
    SAMPLING("temperature", "0.9"),
    SAMPLING("top_p", "1.0"),
    SAMPLING("top_k", "50"),
    SAMPLING("repetition_penalty", "1.05"),
    SAMPLING("subtalker_dosample", "true"),
    SAMPLING("subtalker_temperature", "0.9"),
    SAMPLING("subtalker_top_p", "1.0"),
    SAMPLING("subtalker_top_k", "50"),
    SAMPLING("max_new_tokens", "8192"),
    {"speech_tokenizer/config.json", "input_sample_rate", "24000"},
    {"speech_tokenizer/config.json", "output_sample_rate", "24000"},
    {"speech_tokenizer/config.json", "encode_downsample_rate", "1920"},
    {"speech_tokenizer/config.json", "decode_upsample_rate", "1920"},
    {"speech_tokenizer/config.json", "encoder_valid_num_quantizers", "16"},
    DECODER("latent_dim", "1024"),
    DECODER("codebook_dim", "512"),
    DECODER("codebook_size", "2048"),
    DECODER("num_quantizers", "16"),
    DECODER("decoder_dim", "1536"),
    DECODER("hidden_size", "512"),
    DECODER("intermediate_size", "1024"),
    DECODER("num_hidden_layers", "8"),
    DECODER("num_attention_heads", "16"),
    DECODER("num_key_value_heads", "16"),
    DECODER("head_dim", "64"),
    DECODER("sliding_window", "72"),
    DECODER("rms_norm_eps", "1e-5"),
    DECODER("rope_theta", "10000"),
    DECODER("upsample_rates", "[8, 5, 4, 3]"),
    DECODER("upsampling_ratios", "[2, 2]"),
    ENCODER("num_filters", "64"),
    ENCODER("upsampling_ratios", "[8, 6, 5, 4]"),
    ENCODER("hidden_size", "512"),
    ENCODER("intermediate_size", "2048"),
    ENCODER("num_hidden_layers", "8"),
    ENCODER("num_attention_heads", "8"),
    ENCODER("num_key_value_heads", "8"),
    ENCODER("head_dim", "64"),
    ENCODER("codebook_size", "2048"),
    ENCODER("codebook_dim", "256"),
    ENCODER("num_quantizers", "32"),
    ENCODER("norm_eps", "1e-5"),
    ENCODER("rope_theta", "10000"),
};
const size_t tmb_released_common_count = COUNT(tmb_released_common);
