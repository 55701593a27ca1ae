#!/usr/bin/env python3
"""Random weights of the exact size of Qwen3-TTS-12Hz Base, in the official format, for measuring speed and memory.

    tools/make_checkpoint.py OUT [--size 0.6b|1.7b] [--seed 1] [--tokenizer DIR]

Needs torch, safetensors and qwen-tts: names and shapes come from the official classes on torch's meta device.
vocab.json and merges.txt are copied from --tokenizer, which is tests/golden/qwen/tokenizer unless another folder is
named: the ids in config.json are those of Qwen's tokenizer, and a model with any other one is refused.

Each tensor has a generator of its own, seeded by its name, so that one tensor can be made again alone. Scales are those
of a network at the start of its training: products keep the variance, what is added to a residual stream is smaller the
more layers add to it, norms are near 1. An utterance never ends by itself: channel 0 of the talker's stream is positive
and no layer writes to it, and the row of the end token in the head reads nothing else, with a large negative weight. So
the number of frames is what the caller allows.
"""
import argparse
import importlib.machinery
import importlib.util
import json
import math
import shutil
import sys
import types
import zlib
from pathlib import Path

SIZES = {"0.6b": {"hidden": 1024, "mlp": 3072, "name": "0b6"}, "1.7b": {"hidden": 2048, "mlp": 6144, "name": "1b7"}}
LANGUAGES = {"chinese": 2055, "english": 2050, "german": 2053, "italian": 2070, "portuguese": 2071, "spanish": 2054,
             "japanese": 2058, "korean": 2064, "french": 2061, "russian": 2069}
END = 2150
# 151643 and up, in this order.
SPECIAL = (
    "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>"
    " <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
    " <tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
    " <tool_response> </tool_response> <think> </think> <|audio_start|> <|audio_end|> <tts_pad> <tts_text_bos>"
    " <tts_text_eod> <tts_text_bos_single> <|audio_pad|>"
).split()


def decoder_of(layers, hidden, mlp, vocabulary):
    """What talker and code predictor have in common."""
    return {
        "hidden_size": hidden,
        "intermediate_size": mlp,
        "num_hidden_layers": layers,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "vocab_size": vocabulary,
        "num_code_groups": 16,
        "rope_theta": 1000000,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0,
        "sliding_window": None,
        "use_sliding_window": False,
        "use_cache": True,
        "initializer_range": 0.02,
    }


def model_config(size):
    predictor = decoder_of(5, 1024, 3072, 2048) | {
        "model_type": "qwen3_tts_talker_code_predictor", "max_position_embeddings": 65536, "rope_scaling": None,
        "max_window_layers": 28, "layer_types": ["full_attention"] * 5, "tie_word_embeddings": False}
    talker = decoder_of(28, SIZES[size]["hidden"], SIZES[size]["mlp"], 3072) | {
        "model_type": "qwen3_tts_talker",
        "max_position_embeddings": 32768,
        "code_predictor_config": predictor,
        "rope_scaling": {"rope_type": "default", "type": "default", "interleaved": True, "mrope_section": [24, 20, 20]},
        "position_id_per_seconds": 13,
        "text_hidden_size": 2048,
        "text_vocab_size": 151936,
        "codec_language_id": LANGUAGES,
        "codec_pad_id": 2148,
        "pad_token_id": 2148,
        "codec_bos_id": 2149,
        "codec_eos_token_id": END,
        "codec_think_id": 2154,
        "codec_nothink_id": 2155,
        "codec_think_bos_id": 2156,
        "codec_think_eos_id": 2157,
        "spk_id": {},
        "spk_is_dialect": {},
    }
    return {
        "architectures": ["Qwen3TTSForConditionalGeneration"],
        "model_type": "qwen3_tts",
        "tts_model_type": "base",
        "tts_model_size": SIZES[size]["name"],
        "tokenizer_type": "qwen3_tts_tokenizer_12hz",
        "transformers_version": "4.57.3",
        "assistant_token_id": 77091,
        "im_start_token_id": 151644,
        "im_end_token_id": 151645,
        "tts_pad_token_id": 151671,
        "tts_bos_token_id": 151672,
        "tts_eos_token_id": 151673,
        "speaker_encoder_config": {"enc_dim": SIZES[size]["hidden"], "sample_rate": 24000},
        "talker_config": talker,
    }


def codec_config():
    decoder = {
        "codebook_size": 2048,
        "semantic_codebook_size": 4096,
        "codebook_dim": 512,
        "num_quantizers": 16,
        "num_semantic_quantizers": 1,
        "vector_quantization_hidden_dimension": 512,
        "latent_dim": 1024,
        "hidden_size": 512,
        "intermediate_size": 1024,
        "num_hidden_layers": 8,
        "num_attention_heads": 16,
        "num_key_value_heads": 16,
        "head_dim": 64,
        "sliding_window": 72,
        "max_position_embeddings": 8000,
        "rope_theta": 10000,
        "rms_norm_eps": 1e-5,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "layer_scale_initial_scale": 0.01,
        "decoder_dim": 1536,
        "upsample_rates": [8, 5, 4, 3],
        "upsampling_ratios": [2, 2],
    }
    encoder = {
        "sampling_rate": 24000,
        "_frame_rate": 12.5,
        "audio_channels": 1,
        "hidden_size": 512,
        "num_filters": 64,
        "num_residual_layers": 1,
        "upsampling_ratios": [8, 6, 5, 4],
        "kernel_size": 7,
        "last_kernel_size": 3,
        "residual_kernel_size": 3,
        "dilation_growth_rate": 2,
        "compress": 2,
        "use_causal_conv": True,
        "pad_mode": "constant",
        "use_conv_shortcut": False,
        "trim_right_ratio": 1.0,
        "upsample_groups": 512,
        "codebook_size": 2048,
        "codebook_dim": 256,
        "vector_quantization_hidden_dimension": 256,
        "num_quantizers": 32,
        "num_semantic_quantizers": 1,
        "num_hidden_layers": 8,
        "num_attention_heads": 8,
        "num_key_value_heads": 8,
        "head_dim": 64,
        "intermediate_size": 2048,
        "max_position_embeddings": 8000,
        "rope_theta": 10000.0,
        "sliding_window": 250,
        "norm_eps": 1e-5,
        "normalize": False,
        "hidden_act": "gelu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "layer_scale_initial_scale": 0.01,
        "initializer_range": 0.02,
        "use_cache": False,
        "use_streaming": False,
    }
    return {
        "architectures": ["Qwen3TTSTokenizerV2Model"],
        "model_type": "qwen3_tts_tokenizer_12hz",
        "input_sample_rate": 24000,
        "output_sample_rate": 24000,
        "encode_downsample_rate": 1920,
        "decode_upsample_rate": 1920,
        "encoder_valid_num_quantizers": 16,
        "decoder_config": decoder,
        "encoder_config": encoder,
        "transformers_version": "4.57.3",
    }


def stub_torchaudio():
    """qwen-tts imports it for its 25 Hz tokenizer, which is not needed here."""
    if importlib.util.find_spec("torchaudio") is None:
        for name in ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi"):
            module = types.ModuleType(name)
            module.__spec__ = importlib.machinery.ModuleSpec(name, None)
            sys.modules[name] = module


def official_shapes(size):
    stub_torchaudio()
    import torch
    from qwen_tts.core.models.configuration_qwen3_tts import Qwen3TTSConfig
    from qwen_tts.core.models.modeling_qwen3_tts import Qwen3TTSForConditionalGeneration
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Config
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Model
    with torch.device("meta"):
        models = (Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**model_config(size))),
                  Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**codec_config())))
    return [{name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} for model in models]


def spread_of(name, shape):
    """Mean and standard deviation of a tensor's elements."""
    parts = name.split(".")
    last, owner = parts[-1], parts[-2] if len(parts) > 1 else ""
    if last in ("alpha", "beta"):  # logarithms
        return 0.0, 0.1
    if last == "gamma" or "layer_scale" in name:
        return 0.1, 0.02
    if "norm" in owner and last == "weight":
        return 1.0, 0.1
    if "text_embedding" in name:
        return 0.0, 0.5
    if "codec_embedding" in name:
        return 0.0, 0.25
    if len(shape) < 2:
        return 0.0, 0.02
    inputs = math.prod(shape[1:])
    if name.startswith("decoder.upsample") and ".0.conv" in name:  # transposed, as many taps as its stride
        inputs = shape[0]
    elif name.startswith("decoder.decoder") and ".block.1.conv" in name:  # transposed, two taps an output
        inputs = 2 * shape[0]
    gain = 1.0
    if "lm_head" in name or "codec_head" in name:
        gain = 3.0  # scores as far apart as those of a trained head
    elif "layers" in name and owner in ("o_proj", "down_proj", "fc2"):
        layers = 5 if "code_predictor" in name else 28 if name.startswith("talker.") else 8
        gain = math.sqrt(2.0 / layers)
    elif name.startswith("decoder.decoder") and ".conv2.conv." in name:
        gain = 0.5
    elif name == "decoder.decoder.6.conv.weight":
        gain = 0.05  # samples stay within [-1, 1]
    return 0.0, gain / math.sqrt(inputs)


def never_end(name, tensor):
    """Keeps channel 0 of the talker's stream for the end token."""
    if not name.startswith("talker."):
        return
    if name == "talker.codec_head.weight":
        tensor[:, 0] = 0
        tensor[END] = 0
        tensor[END, 0] = -60
    elif "codec_embedding" in name:
        tensor[:, 0] = 0.25
    elif name == "talker.text_projection.linear_fc2.weight":
        tensor[0] = 0
    elif name == "talker.text_projection.linear_fc2.bias":
        tensor[0] = 1
    elif "code_predictor" not in name and name.endswith(("o_proj.weight", "down_proj.weight")):
        tensor[0] = 0


def draw(name, shape, seed):
    import torch
    generator = torch.Generator().manual_seed(seed << 32 | zlib.crc32(name.encode()))
    if name.endswith("codebook.initialized"):
        return torch.ones(shape)
    if name.endswith("cluster_usage"):
        return torch.rand(shape, generator=generator) * 1.5 + 0.5
    if name.endswith(("embed_sum", "embedding_sum")):  # an entry of a codebook is its sum divided by its usage
        usage = draw(name.rsplit(".", 1)[0] + ".cluster_usage", shape[:1], seed)
        return torch.randn(shape, generator=generator) * usage[:, None]
    mean, deviation = spread_of(name, shape)
    tensor = torch.randn(shape, generator=generator).mul_(deviation).add_(mean)
    never_end(name, tensor)
    return tensor


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def write_tokenizer(out, source):
    for name in ("vocab.json", "merges.txt"):
        shutil.copy(Path(source) / name, out / name)
    added = {
        str(151643 + i): {
            "content": text,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "single_word": False,
            "special": text.startswith(("<|im", "<|end", "<|ob", "<|bo", "<|qu", "<|vi", "<|vid", "<|au", "<tts")),
        }
        for i, text in enumerate(SPECIAL)
    }
    write_json(
        out / "tokenizer_config.json",
        {
            "tokenizer_class": "Qwen2Tokenizer",
            "added_tokens_decoder": added,
            "add_bos_token": False,
            "add_prefix_space": False,
            "bos_token": None,
            "eos_token": "<|im_end|>",
            "pad_token": "<|endoftext|>",
            "unk_token": None,
            "errors": "replace",
            "model_max_length": 131072,
            "clean_up_tokenization_spaces": False,
            "split_special_tokens": False,
        },
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", choices=SIZES, default="0.6b")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokenizer", default=Path(__file__).resolve().parent.parent / "tests/golden/qwen/tokenizer",
                        help="folder with vocab.json and merges.txt")
    arguments = parser.parse_args()
    import torch
    from safetensors.torch import save_file
    out = arguments.out
    codec = out / "speech_tokenizer"
    codec.mkdir(parents=True, exist_ok=True)
    write_json(out / "config.json", model_config(arguments.size))
    write_json(
        out / "generation_config.json",
        {
            "do_sample": True,
            "temperature": 0.9,
            "top_k": 50,
            "top_p": 1.0,
            "repetition_penalty": 1.05,
            "subtalker_dosample": True,
            "subtalker_temperature": 0.9,
            "subtalker_top_k": 50,
            "subtalker_top_p": 1.0,
            "max_new_tokens": 8192,
        },
    )
    write_json(out / "preprocessor_config.json", {"processor_class": "Qwen3TTSProcessor", "padding_side": "left",
                                                  "padding_value": 0.0, "return_attention_mask": True})
    write_json(codec / "config.json", codec_config())
    write_json(
        codec / "preprocessor_config.json",
        {
            "feature_extractor_type": "EncodecFeatureExtractor",
            "feature_size": 1,
            "sampling_rate": 24000,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
            "chunk_length_s": None,
            "overlap": None,
        },
    )
    write_tokenizer(out, arguments.tokenizer)
    model, tokenizer = official_shapes(arguments.size)
    for shapes, dtype, path in ((model, torch.bfloat16, out / "model.safetensors"),
                                (tokenizer, torch.float32, codec / "model.safetensors")):
        tensors = {name: draw(name, shape, arguments.seed).to(dtype).contiguous() for name, shape in shapes.items()}
        save_file(tensors, path, metadata={"format": "pt"})
        print(f"{path}: {len(tensors)} tensors, {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
