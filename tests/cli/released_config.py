"""Configuration files with the values of the released Qwen3-TTS-12Hz Base checkpoints that timbre reads."""

LANGUAGES = {"chinese": 2055, "english": 2050, "german": 2053, "italian": 2070, "portuguese": 2071, "spanish": 2054,
             "japanese": 2058, "korean": 2064, "french": 2061, "russian": 2069}


def main_config(large=False):
    predictor = {"num_hidden_layers": 5, "hidden_size": 1024, "intermediate_size": 3072, "num_attention_heads": 16,
                 "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-06, "rope_theta": 1000000, "vocab_size": 2048,
                 "num_code_groups": 16, "max_position_embeddings": 65536, "hidden_act": "silu", "rope_scaling": None}
    talker = {"num_hidden_layers": 28, "hidden_size": 2048 if large else 1024, "intermediate_size": 6144 if large else 3072,
              "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128, "rms_norm_eps": 1e-06, "rope_theta": 1000000,
              "max_position_embeddings": 32768, "vocab_size": 3072, "num_code_groups": 16, "text_vocab_size": 151936,
              "text_hidden_size": 2048, "hidden_act": "silu", "sliding_window": None, "use_sliding_window": False,
              "rope_scaling": {"interleaved": True, "mrope_section": [24, 20, 20], "rope_type": "default", "type": "default"},
              "codec_pad_id": 2148, "codec_bos_id": 2149, "codec_eos_token_id": 2150, "codec_think_id": 2154,
              "codec_nothink_id": 2155, "codec_think_bos_id": 2156, "codec_think_eos_id": 2157, "codec_language_id": LANGUAGES,
              "spk_id": {}, "spk_is_dialect": {}, "code_predictor_config": predictor}
    return {"model_type": "qwen3_tts", "tokenizer_type": "qwen3_tts_tokenizer_12hz", "tts_model_type": "base",
            "tts_model_size": "1b7" if large else "0b6", "im_start_token_id": 151644, "im_end_token_id": 151645,
            "assistant_token_id": 77091, "tts_pad_token_id": 151671, "tts_bos_token_id": 151672, "tts_eos_token_id": 151673,
            "speaker_encoder_config": {"enc_dim": 2048 if large else 1024, "sample_rate": 24000}, "talker_config": talker}


def generation_config():
    return {"do_sample": True, "repetition_penalty": 1.05, "temperature": 0.9, "top_p": 1.0, "top_k": 50, "subtalker_dosample": True,
            "subtalker_temperature": 0.9, "subtalker_top_p": 1.0, "subtalker_top_k": 50, "max_new_tokens": 8192}


def codec_config():
    decoder = {"latent_dim": 1024, "codebook_dim": 512, "codebook_size": 2048, "num_quantizers": 16, "num_semantic_quantizers": 1,
               "decoder_dim": 1536, "hidden_size": 512, "intermediate_size": 1024, "num_hidden_layers": 8, "num_attention_heads": 16,
               "num_key_value_heads": 16, "head_dim": 64, "sliding_window": 72, "rms_norm_eps": 1e-05, "rope_theta": 10000,
               "upsample_rates": [8, 5, 4, 3], "upsampling_ratios": [2, 2], "hidden_act": "silu"}
    encoder = {"num_filters": 64, "upsampling_ratios": [8, 6, 5, 4], "hidden_size": 512, "intermediate_size": 2048,
               "num_hidden_layers": 8, "num_attention_heads": 8, "num_key_value_heads": 8, "head_dim": 64, "codebook_size": 2048,
               "codebook_dim": 256, "num_quantizers": 32, "num_semantic_quantizers": 1, "norm_eps": 1e-05, "rope_theta": 10000.0,
               "kernel_size": 7, "last_kernel_size": 3, "residual_kernel_size": 3, "num_residual_layers": 1,
               "dilation_growth_rate": 2, "compress": 2, "hidden_act": "gelu", "pad_mode": "constant", "use_causal_conv": True}
    return {"model_type": "qwen3_tts_tokenizer_12hz", "input_sample_rate": 24000, "output_sample_rate": 24000,
            "encode_downsample_rate": 1920, "decode_upsample_rate": 1920, "encoder_valid_num_quantizers": 16,
            "decoder_config": decoder, "encoder_config": encoder}
