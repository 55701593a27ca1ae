#!/usr/bin/env python3
"""Makes tests/golden/qwen/sample-e and sample-f: tiny random checkpoints in the layout of the official Qwen3-TTS-12Hz
Base repositories, and what the official package computes from them (float32, greedy, one thread).

    make_qwen_golden.py tests/golden/qwen [--only sample-e]

Needs qwen-tts 0.1.1, transformers 4.57.3, torch, safetensors, soundfile, librosa; torchaudio is not needed (only the 25
Hz tokenizer uses it, a stub stands in). tests/golden/qwen/README.md says what the files are.

SPECS below has every dimension. They are as unlike the release and each other as the official classes allow: sample-e
has 8 codes a frame at 25 frames a second, heads in groups of three, a vocabulary of its own, float16 weights; sample-f
has one key-value head, the real vocabulary, bfloat16 weights in two shards.
"""
import argparse
import json
import math
import os
import shutil
import sys
import types
import zlib
from importlib.machinery import ModuleSpec

import numpy as np
import torch

for name in ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi"):
    if name not in sys.modules:
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__spec__ = ModuleSpec(name, None)
sys.modules["torchaudio"].compliance = sys.modules["torchaudio.compliance"]
sys.modules["torchaudio.compliance"].kaldi = sys.modules["torchaudio.compliance.kaldi"]

LANGUAGES = [
    "chinese",
    "english",
    "german",
    "italian",
    "portuguese",
    "spanish",
    "japanese",
    "korean",
    "french",
    "russian",
]
SHORT = "ref_en_short.wav"  # cut from ref_en.wav: a length that no stride divides
EN = "The clouds drifted over the quiet harbour; nobody answered."
ZH = "今天下午三点开会，别忘了。"
JA = "窓を開けてください。風が気持ちいい！"
KO = "오늘은 날씨가 참 좋네요."

SPECS = {
    "sample-e": dict(
        seed=7,
        books=64,
        groups=8,
        dtype="float16",
        shards=1,
        eos_gain=0.7,
        vocabulary=200,
        talker=dict(
            hidden_size=40,
            intermediate_size=88,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=12,
            rope_theta=50000,
            rms_norm_eps=1e-5,
            text_hidden_size=28,
            rope_scaling=dict(interleaved=True, mrope_section=[2, 2, 2], rope_type="default", type="default"),
        ),
        predictor=dict(
            hidden_size=40,
            intermediate_size=56,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=20,
            rope_theta=10000,
            rms_norm_eps=1e-6,
        ),
        speaker=dict(
            enc_channels=[24, 24, 24, 48],
            enc_kernel_sizes=[7, 3, 5, 1],
            enc_dilations=[1, 2, 3, 1],
            enc_attention_channels=12,
            enc_se_channels=8,
            enc_res2net_scale=3,
        ),
        codec=dict(encode_downsample_rate=960, decode_upsample_rate=960, dtype="float32"),
        decoder=dict(
            hidden_size=20,
            intermediate_size=36,
            num_hidden_layers=3,
            num_attention_heads=6,
            num_key_value_heads=2,
            head_dim=8,
            latent_dim=28,
            codebook_dim=20,
            decoder_dim=48,
            sliding_window=7,
            rope_theta=5000,
            upsample_rates=[6, 5, 4],
            upsampling_ratios=[4, 2],
        ),
        encoder=dict(
            hidden_size=24,
            intermediate_size=52,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=6,
            num_filters=6,
            codebook_dim=12,
            sliding_window=9,
            num_quantizers=10,
            compress=3,
            kernel_size=5,
            last_kernel_size=5,
            residual_kernel_size=5,
            num_residual_layers=2,
            dilation_growth_rate=3,
            upsampling_ratios=[6, 5, 4, 4],
            _frame_rate=25,
            rope_theta=20000.0,
        ),
        encode=[SHORT, "ref_es.wav"],
        decode=[5, 310],
        cases=[
            dict(
                name="icl_penalty",
                text=EN,
                language="English",
                ref_audio=["ref_es.wav"],
                ref_text=["Una frase breve."],
                x_vector_only=[False],
                options=dict(repetition_penalty=1.7),
            ),
            dict(
                name="icl_zh_nonstreaming",
                text=ZH,
                language="Chinese",
                ref_audio=[SHORT],
                ref_text=["参考文字。"],
                x_vector_only=[False],
                non_streaming_mode=True,
            ),
            dict(
                name="xvec_penalty",
                text=EN,
                language="Auto",
                ref_audio=[SHORT],
                x_vector_only=[True],
                options=dict(repetition_penalty=2.5),
            ),
            dict(
                name="xvec_ja_nonstreaming",
                text=JA,
                language="Japanese",
                ref_audio=["ref_es.wav"],
                x_vector_only=[True],
                non_streaming_mode=True,
                options=dict(repetition_penalty=1.3),
            ),
            dict(
                name="batch3_penalty",
                text=["Yes.", KO, EN],
                language=["English", "Korean", "Auto"],
                ref_audio=[SHORT, "ref_fr_44k_stereo.wav", SHORT],
                ref_text=["A rather long transcript of a clip of one second.", "Une phrase.", "unused"],
                x_vector_only=[False, False, True],
                options=dict(repetition_penalty=1.4),
            ),
        ],
    ),
    "sample-f": dict(
        seed=11,
        books=32,
        groups=16,
        dtype="bfloat16",
        shards=2,
        eos_gain=0.9,
        vocabulary=None,
        talker=dict(
            hidden_size=72,
            intermediate_size=104,
            num_hidden_layers=5,
            num_attention_heads=8,
            num_key_value_heads=1,
            head_dim=10,
            rope_theta=1000000,
            rms_norm_eps=1e-6,
            text_hidden_size=4,
            rope_scaling=dict(interleaved=False, mrope_section=[2, 2, 1], rope_type="default", type="default"),
        ),
        predictor=dict(
            hidden_size=24,
            intermediate_size=64,
            num_hidden_layers=3,
            num_attention_heads=8,
            num_key_value_heads=4,
            head_dim=6,
            rope_theta=1000000,
            rms_norm_eps=1e-6,
        ),
        speaker=dict(
            enc_channels=[16, 16, 16, 16, 16, 64],
            enc_kernel_sizes=[5, 3, 3, 3, 3, 1],
            enc_dilations=[1, 2, 3, 4, 5, 1],
            enc_attention_channels=20,
            enc_se_channels=12,
            enc_res2net_scale=2,
        ),
        codec=dict(encode_downsample_rate=1920, decode_upsample_rate=1920, dtype="bfloat16"),
        decoder=dict(
            hidden_size=48,
            intermediate_size=40,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=14,
            latent_dim=20,
            codebook_dim=24,
            decoder_dim=32,
            sliding_window=5,
            rope_theta=10000,
            upsample_rates=[4, 5, 3, 8],
            upsampling_ratios=[2, 2],
        ),
        encoder=dict(
            hidden_size=40,
            intermediate_size=24,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=20,
            num_filters=2,
            codebook_dim=8,
            sliding_window=9,
            num_quantizers=16,
            compress=1,
            kernel_size=7,
            last_kernel_size=3,
            residual_kernel_size=3,
            num_residual_layers=1,
            dilation_growth_rate=2,
            upsampling_ratios=[4, 5, 6, 8],
            _frame_rate=12.5,
            rope_theta=10000.0,
        ),
        encode=[SHORT, "ref_fr_44k_stereo.wav"],
        decode=[4, 40],
        cases=[
            dict(
                name="icl_penalty",
                text=ZH,
                language="Chinese",
                ref_audio=["ref_fr_44k_stereo.wav"],
                ref_text=["Une phrase de référence."],
                x_vector_only=[False],
                options=dict(repetition_penalty=1.6),
            ),
            dict(
                name="icl_ja_nonstreaming",
                text=JA,
                language="Japanese",
                ref_audio=[SHORT],
                ref_text=["参照のテキストです。"],
                x_vector_only=[False],
                non_streaming_mode=True,
                options=dict(repetition_penalty=2.0),
            ),
            dict(
                name="xvec_penalty",
                text=EN,
                language="English",
                ref_audio=[SHORT],
                x_vector_only=[True],
                options=dict(repetition_penalty=3.0),
            ),
            dict(
                name="xvec_ko_nonstreaming",
                text=KO,
                language="Korean",
                ref_audio=["ref_es.wav"],
                x_vector_only=[True],
                non_streaming_mode=True,
            ),
            dict(
                name="batch3_penalty",
                text=["Oui.", JA, EN],
                language=["French", "Japanese", "Auto"],
                ref_audio=[SHORT, "ref_fr_44k_stereo.wav", SHORT],
                ref_text=["The same clip with a transcript.", "unused", "A sentence."],
                x_vector_only=[False, True, False],
                options=dict(repetition_penalty=1.5),
            ),
        ],
    ),
}
MAX_NEW_TOKENS = 20


# ---- configuration ----

def configurations(name):
    spec = SPECS[name]
    books, special = spec["books"], spec["books"] + 40
    base = special_ids(spec)
    common = dict(
        attention_bias=False,
        attention_dropout=0,
        hidden_act="silu",
        use_cache=True,
        use_sliding_window=False,
        sliding_window=None,
        num_code_groups=spec["groups"],
        max_position_embeddings=4096,
    )
    predictor = dict(common, model_type="qwen3_tts_talker_code_predictor", rope_scaling=None, vocab_size=books,
                     layer_types=["full_attention"] * spec["predictor"]["num_hidden_layers"], **spec["predictor"])
    talker = dict(
        common,
        model_type="qwen3_tts_talker",
        position_id_per_seconds=13,
        text_vocab_size=base["rows"],
        vocab_size=books + 1024,
        codec_pad_id=special,
        codec_bos_id=special + 1,
        codec_eos_token_id=special + 2,
        codec_think_id=special + 6,
        codec_nothink_id=special + 7,
        codec_think_bos_id=special + 8,
        codec_think_eos_id=special + 9,
        pad_token_id=special,
        spk_id={},
        spk_is_dialect={},
        codec_language_id={language: books + 2 * i for i, language in enumerate(LANGUAGES)},
        code_predictor_config=predictor,
        **spec["talker"],
    )
    main = dict(
        architectures=["Qwen3TTSForConditionalGeneration"],
        model_type="qwen3_tts",
        tts_model_size=name,
        tokenizer_type="qwen3_tts_tokenizer_12hz",
        tts_model_type="base",
        transformers_version="4.57.1",  # from 4.57.3 on a local folder gets another split pattern
        assistant_token_id=base["assistant"],
        im_start_token_id=base["im_start"],
        im_end_token_id=base["im_end"],
        tts_pad_token_id=base["tts_pad"],
        tts_bos_token_id=base["tts_bos"],
        tts_eos_token_id=base["tts_eos"],
        talker_config=talker,
        speaker_encoder_config=dict(enc_dim=spec["talker"]["hidden_size"], sample_rate=24000, **spec["speaker"]),
    )
    decoder = dict(attention_bias=False, attention_dropout=0.0, hidden_act="silu", layer_scale_initial_scale=0.01,
                   max_position_embeddings=8000, rms_norm_eps=1e-05, num_semantic_quantizers=1, codebook_size=books,
                   num_quantizers=spec["groups"])
    decoder.update(spec["decoder"])
    encoder = dict(
        attention_bias=False,
        attention_dropout=0.0,
        audio_channels=1,
        hidden_act="gelu",
        norm_eps=1e-05,
        layer_scale_initial_scale=0.01,
        max_position_embeddings=8000,
        normalize=False,
        num_semantic_quantizers=1,
        pad_mode="constant",
        sampling_rate=24000,
        trim_right_ratio=1.0,
        use_cache=False,
        use_causal_conv=True,
        use_conv_shortcut=False,
        use_streaming=False,
        codebook_size=books,
    )
    encoder.update(spec["encoder"])
    encoder.update(upsample_groups=encoder["hidden_size"], vector_quantization_hidden_dimension=encoder["codebook_dim"])
    codec = dict(
        architectures=["Qwen3TTSTokenizerV2Model"],
        model_type="qwen3_tts_tokenizer_12hz",
        input_sample_rate=24000,
        output_sample_rate=24000,
        encoder_valid_num_quantizers=spec["groups"],
        decoder_config=decoder,
        encoder_config=encoder,
        **{k: v for k, v in spec["codec"].items() if k != "dtype"},
    )
    return main, codec


# ---- text ----

SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tts_pad>", "<tts_text_bos>", "<tts_text_eod>")


def special_ids(spec):
    if spec["vocabulary"] is None:
        return dict(rows=151936, assistant=77091, im_start=151644, im_end=151645, tts_pad=151671, tts_bos=151672,
                    tts_eos=151673)
    vocabulary, _ = small_vocabulary(spec)
    first = len(vocabulary)
    return dict(rows=first + len(SPECIALS) + 3, assistant=vocabulary["assistant"], im_start=first + 1, im_end=first + 2,
                tts_pad=first + 3, tts_bos=first + 4, tts_eos=first + 5)


def small_vocabulary(spec):
    """The 256 bytes and as many merges as the spec says, learnt from the cases' texts: { token: id }, [merge]."""
    texts = ["assistant"] * 4
    for case in spec["cases"]:
        texts += [case["text"]] if isinstance(case["text"], str) else case["text"]
        texts += case.get("ref_text") or []
    keep = [b for b in range(256) if 33 <= b < 127 or 161 <= b < 173 or 174 <= b]
    letters = {b: chr(b) for b in keep}
    letters.update({b: chr(256 + i) for i, b in enumerate(b for b in range(256) if b not in letters)})
    words = {}
    for text in texts:
        for word in text.replace(" ", "\0 ").split("\0"):
            pieces = tuple(letters[b] for b in word.encode())
            words[pieces] = words.get(pieces, 0) + 1
    merges = []
    while len(merges) < spec["vocabulary"]:
        pairs = {}
        for pieces, count in words.items():
            for pair in zip(pieces, pieces[1:]):
                pairs[pair] = pairs.get(pair, 0) + count
        if not pairs:
            break
        best = max(pairs, key=lambda pair: (pairs[pair], pair))
        merges.append(best)
        joined = {}
        for pieces, count in words.items():
            out = []
            for piece in pieces:
                if out and (out[-1], piece) == best:
                    out[-1] += piece
                else:
                    out.append(piece)
            joined[tuple(out)] = joined.get(tuple(out), 0) + count
        words = joined
    tokens = list(dict.fromkeys([letters[b] for b in range(256)] + [a + b for a, b in merges]))
    return {token: i for i, token in enumerate(tokens)}, [f"{a} {b}" for a, b in merges]


def write_text(spec, folder):
    if spec["vocabulary"] is None:
        for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
            os.symlink(os.path.join("..", "..", "tokenizer", name), os.path.join(folder, name))
        return
    vocabulary, merges = small_vocabulary(spec)
    assert "assistant" in vocabulary
    dump(vocabulary, folder, "vocab.json")
    with open(os.path.join(folder, "merges.txt"), "w", encoding="utf-8") as file:
        file.write("#version: 0.2\n" + "\n".join(merges) + "\n")
    added = {
        str(len(vocabulary) + i): dict(
            content=token, lstrip=False, normalized=False, rstrip=False, single_word=False, special=True
        )
        for i, token in enumerate(SPECIALS)
    }
    dump(
        dict(
            add_prefix_space=False,
            added_tokens_decoder=added,
            bos_token=None,
            clean_up_tokenization_spaces=False,
            eos_token="<|im_end|>",
            errors="replace",
            model_max_length=131072,
            pad_token="<|endoftext|>",
            split_special_tokens=False,
            tokenizer_class="Qwen2Tokenizer",
            unk_token=None,
        ),
        folder,
        "tokenizer_config.json",
    )


# ---- weights ----

def draw(name, shape, seed):
    """One tensor from a generator of its own (seed and name), scaled so that every network's signal keeps its size."""
    generator = torch.Generator().manual_seed((seed << 32) ^ zlib.crc32(name.encode()))
    parts = name.split(".")
    end, parent = parts[-1], parts[-2] if len(parts) > 1 else ""

    def normal(std, mean=0.0):
        return torch.randn(shape, generator=generator) * std + mean

    if end == "initialized":
        return torch.ones(shape)
    if end == "cluster_usage":
        return torch.rand(shape, generator=generator) + 0.5
    if end in ("embed_sum", "embedding_sum"):  # an entry is sum / usage
        usage = draw(".".join(parts[:-1] + ["cluster_usage"]), shape[:1], seed)
        book = int(next(b for a, b in zip(parts, parts[1:]) if a == "layers"))
        return normal(0.9 ** book) * usage[:, None]
    if end in ("alpha", "beta"):
        return normal(0.1)
    if end == "gamma":
        return normal(0.02, 0.1)
    if end == "scale":
        return normal(0.05, 0.5)
    if end == "weight" and "norm" in parent:
        return normal(0.1, 1.0)
    if parent == "text_embedding":
        return normal(0.5)
    if "codec_embedding" in name:
        return normal(0.25)
    if len(shape) < 2:
        return normal(0.03)
    inputs = math.prod(shape[1:])
    if "decoder.upsample" in name and parts[-3] == "0":
        inputs = shape[0]
    elif name.startswith("decoder.decoder") and ".block.1.conv" in name:
        inputs = 2 * shape[0]  # a transposed convolution: two taps reach each output
    gain = 1.0
    if "lm_head" in name or "codec_head" in name:
        gain = 3.0
    elif parent in ("o_proj", "down_proj", "fc2") or (name.startswith("decoder.decoder") and ".conv2.conv" in name):
        gain = 0.5
    elif name.startswith("decoder.decoder.") and name.endswith(".conv.weight") and shape[0] == 1:
        gain = 0.015  # the waveform stays inside [-1, 1]
    elif name == "encoder.encoder.layers.0.conv.weight":
        gain = 6.0  # speech is quiet
    elif name.startswith("encoder.encoder.layers"):
        gain = 1.3
    return normal(gain / math.sqrt(inputs))


def dump(value, *path):
    with open(os.path.join(*path), "w", encoding="utf-8") as file:
        json.dump(value, file, indent=1, ensure_ascii=False)
        file.write("\n")


def save_shards(tensors, folder, count):
    from safetensors.torch import save_file
    meta = {"format": "pt"}
    if count == 1:
        save_file(tensors, os.path.join(folder, "model.safetensors"), metadata=meta)
        return
    names, weight_map = sorted(tensors), {}
    for i in range(count):
        shard = f"model-{i + 1:05d}-of-{count:05d}.safetensors"
        mine = names[i::count]
        save_file({n: tensors[n] for n in mine}, os.path.join(folder, shard), metadata=meta)
        weight_map.update({n: shard for n in mine})
    total = sum(t.numel() * t.element_size() for t in tensors.values())
    dump(dict(metadata=dict(total_size=total), weight_map=dict(sorted(weight_map.items()))), folder,
         "model.safetensors.index.json")


def write_model(name, folder):
    from qwen_tts.core.models.configuration_qwen3_tts import Qwen3TTSConfig
    from qwen_tts.core.models.modeling_qwen3_tts import Qwen3TTSForConditionalGeneration
    from qwen_tts.core.tokenizer_12hz.configuration_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Config
    from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Model
    spec = SPECS[name]
    main, codec = configurations(name)
    os.makedirs(os.path.join(folder, "speech_tokenizer"))
    dump(main, folder, "config.json")
    dump(codec, folder, "speech_tokenizer", "config.json")
    dump(dict(do_sample=True, repetition_penalty=1.05, temperature=0.9, top_p=1.0, top_k=50, subtalker_dosample=True,
              subtalker_temperature=0.9, subtalker_top_p=1.0, subtalker_top_k=50, max_new_tokens=2048), folder,
         "generation_config.json")
    dump(dict(chunk_length_s=None, feature_extractor_type="EncodecFeatureExtractor", feature_size=1, overlap=None,
              padding_side="right", padding_value=0.0, return_attention_mask=True, sampling_rate=24000), folder,
         "speech_tokenizer", "preprocessor_config.json")
    dump(dict(padding_side="left", padding_value=0.0, processor_class="Qwen3TTSProcessor", return_attention_mask=True),
         folder, "preprocessor_config.json")
    write_text(spec, folder)
    with torch.device("meta"):
        shapes = Qwen3TTSForConditionalGeneration(Qwen3TTSConfig(**main)).state_dict()
        codec_shapes = Qwen3TTSTokenizerV2Model(Qwen3TTSTokenizerV2Config(**codec)).state_dict()
    tensors = {k: draw(k, tuple(v.shape), spec["seed"]) for k, v in shapes.items()}
    head = tensors["talker.codec_head.weight"]
    head[main["talker_config"]["codec_eos_token_id"]] *= spec["eos_gain"]
    head[:6] *= 1.8  # some codes win again and again, so that the repetition penalty has something to do
    dtype, codec_dtype = getattr(torch, spec["dtype"]), getattr(torch, spec["codec"]["dtype"])
    save_shards({k: v.to(dtype).contiguous() for k, v in tensors.items()}, folder, spec["shards"])
    save_shards(
        {k: draw(k, tuple(v.shape), spec["seed"]).to(codec_dtype).contiguous() for k, v in codec_shapes.items()},
        os.path.join(folder, "speech_tokenizer"),
        1,
    )


# ---- the official package, watched ----

class Watched:
    """The official model; `seen` has what it passed around inside since it was cleared."""

    def __init__(self, folder, groups):
        from qwen_tts import Qwen3TTSModel
        from transformers import LogitsProcessor, LogitsProcessorList
        import qwen_tts.core.models.modeling_qwen3_tts as module
        self.model, self.seen = Qwen3TTSModel.from_pretrained(folder, device_map="cpu", dtype=torch.float32), {}
        seen, inner = self.seen, self.model.model
        talker, predictor = inner.talker, inner.talker.code_predictor

        class Margin(LogitsProcessor):  # comes last: sees the scores that argmax sees
            def __init__(self, key):
                self.key = key

            def __call__(self, ids, scores):
                top = torch.topk(scores.double(), 2, dim=-1).values
                seen.setdefault(self.key, []).append((top[:, 0] - top[:, 1]).numpy())
                return scores

        def wrap(owner, name, before=None, after=None, **extra):
            original = getattr(owner, name)

            def call(*args, **kwargs):
                if before:
                    before(*args, **kwargs)
                result = original(*args, **kwargs, **extra)
                if after:
                    after(result)
                return result
            setattr(owner, name, call)

        def prompt(**kwargs):
            for key in ("inputs_embeds", "attention_mask", "trailing_text_hidden"):
                seen[key] = kwargs[key].detach().numpy().copy()
            seen["tts_pad_embed"] = kwargs["tts_pad_embed"].detach().numpy().reshape(-1).copy()

        def keep(key, most):
            def after(scores):
                if len(seen.setdefault(key, [])) < most:
                    seen[key].append(scores[:, -1].detach().numpy().copy())
            return after

        wrap(talker, "generate", before=prompt, logits_processor=LogitsProcessorList([Margin("first")]))
        wrap(
            predictor,
            "generate",
            before=lambda **kw: seen.setdefault("cp_in", kw["inputs_embeds"].detach().numpy().copy()),
            logits_processor=LogitsProcessorList([Margin("others")]),
        )
        wrap(talker.codec_head, "forward", after=keep("logits", 4))
        for head in predictor.lm_head:
            wrap(head, "forward", after=keep("cp_logits", groups - 1))
        wrap(inner.speech_tokenizer, "decode",
             before=lambda x: seen.__setitem__("decoded", [i["audio_codes"].numpy().copy() for i in x]))
        tokenize = self.model._tokenize_texts

        def tokenized(texts):
            result = tokenize(texts)
            seen.setdefault("ids", []).extend(dict(text=t, ids=i[0].tolist()) for t, i in zip(texts, result))
            return result
        self.model._tokenize_texts = tokenized
        mel = getattr(module, "unwatched_mel_spectrogram", module.mel_spectrogram)
        module.unwatched_mel_spectrogram = mel

        def watched_mel(*args, **kwargs):
            result = mel(*args, **kwargs)
            seen.setdefault("mel", []).append(result[0].numpy().copy())
            return result
        module.mel_spectrogram = watched_mel


def run_case(watched, case, references, groups, **changed):
    """One dict an item. References are encoded one call each: a list of equal rates would be padded to one batch."""
    watched.seen.clear()
    items = []
    texts = case.get("ref_text") or [None] * len(case["ref_audio"])
    for path, text, by_vector in zip(case["ref_audio"], texts, case["x_vector_only"]):
        items += watched.model.create_voice_clone_prompt(ref_audio=os.path.join(references, path), ref_text=text,
                                                         x_vector_only_mode=by_vector)
    options = dict(case.get("options", {}), **changed)
    waves, rate = watched.model.generate_voice_clone(
        text=case["text"],
        language=case["language"],
        voice_clone_prompt=items,
        do_sample=False,
        subtalker_dosample=False,
        max_new_tokens=MAX_NEW_TOKENS,
        non_streaming_mode=case.get("non_streaming_mode", False),
        **options,
    )
    assert rate == 24000
    first = np.stack(watched.seen["first"])
    others = np.stack(watched.seen["others"]).reshape(-1, groups - 1, len(waves))
    results = []
    for i, (item, wave) in enumerate(zip(items, waves)):
        reference = None if item.ref_code is None else item.ref_code.numpy().astype(np.int16)
        codes = watched.seen["decoded"][i][0 if reference is None else len(reference):].astype(np.int16)
        gaps = np.concatenate([first[:len(codes), i, None], others[:len(codes), :, i]], 1).astype(np.float32)
        results.append(dict(wave=wave.astype(np.float32), codes=codes, speaker=item.ref_spk_embedding.numpy(),
                            ref_codes=reference, gaps=gaps))
    return results


def encode(watched, samples):
    """Codes of one clip, how far the runner-up of each was, and the latent before the quantizer."""
    import transformers.models.mimi.modeling_mimi as mimi
    margins, latent = [], []
    quantizer = watched.model.model.speech_tokenizer.model.encoder.quantizer
    quantize, outer = mimi.MimiEuclideanCodebook.quantize, quantizer.encode

    def watched_quantize(self, hidden):
        nearest = torch.topk(-torch.cdist(hidden[None].double(), self.embed[None].double())[0], 2).values
        margins.append((nearest[:, 0] - nearest[:, 1]).float().numpy())
        return quantize(self, hidden)

    def watched_encode(embeddings, *args):
        latent.append(embeddings[0].detach().numpy().T.copy())
        return outer(embeddings, *args)
    mimi.MimiEuclideanCodebook.quantize, quantizer.encode = watched_quantize, watched_encode
    codes = watched.model.model.speech_tokenizer.encode(samples, sr=24000).audio_codes[0].numpy()
    mimi.MimiEuclideanCodebook.quantize, quantizer.encode = quantize, outer
    return codes, np.stack(margins[:codes.shape[1]], 1)[:len(codes)], latent[0][:len(codes)]


def record_cases(name, watched, out, references):
    groups = SPECS[name]["groups"]
    for case in SPECS[name]["cases"]:
        folder = os.path.join(out, "cases", case["name"])
        os.makedirs(folder)

        def put(what, values):
            np.save(os.path.join(folder, what + ".npy"), values)
        results = run_case(watched, case, references, groups)
        seen = watched.seen
        put("inputs_embeds", seen["inputs_embeds"])
        put("attention_mask", seen["attention_mask"].astype(np.int8))
        put("trailing_text_hidden", seen["trailing_text_hidden"])
        put("tts_pad_embed", seen["tts_pad_embed"])
        put("logits_first4", np.stack(seen["logits"]))
        put("cp_inputs_first", seen["cp_in"])
        put("cp_logits_first", np.stack(seen["cp_logits"]))
        info = dict(case, ids=seen["ids"], max_new_tokens=MAX_NEW_TOKENS, sample_rate=24000, items=[])
        for i, result in enumerate(results):
            for key, values in result.items():
                if values is not None:
                    put(f"{key}_{i}", values)
            frames = len(result["codes"])
            info["items"].append(dict(
                frames=frames, ref_frames=0 if result["ref_codes"] is None else len(result["ref_codes"]),
                samples=len(result["wave"]), stopped_by_eos=frames < MAX_NEW_TOKENS - 1,
                distinct_first_codes=len(set(result["codes"][:, 0].tolist())), min_gap=float(result["gaps"].min()),
                peak=float(np.abs(result["wave"]).max()), rms=float(np.sqrt((result["wave"] ** 2).mean()))))
        penalty = case.get("options", {}).get("repetition_penalty")
        if penalty is not None:  # a case of the penalty in which it changes nothing proves nothing
            plain = run_case(watched, case, references, groups, repetition_penalty=1.0)
            changed = [not np.array_equal(a["codes"], b["codes"]) for a, b in zip(results, plain)]
            info["penalty_matters"] = changed
            assert any(changed) or "penalty" not in case["name"], (name, case["name"], "the penalty changes nothing")
        dump(info, folder, "case.json")
        print(name, case["name"], [(x["frames"], x["ref_frames"], x["distinct_first_codes"], round(x["min_gap"], 5),
                                    round(x["rms"], 3), round(x["peak"], 3)) for x in info["items"]],
              info.get("penalty_matters"), "prompt", seen["inputs_embeds"].shape, flush=True)


def record_modules(name, watched, out, references):
    import librosa
    spec, info = SPECS[name], dict(encode=[], decode=[])
    folder = os.path.join(out, "modules")
    os.makedirs(folder)
    for reference in spec["encode"]:
        def put(what, values):
            np.save(os.path.join(folder, f"{os.path.splitext(reference)[0]}.{what}.npy"), values)
        watched.seen.clear()
        samples, rate = watched.model._load_audio_to_np(os.path.join(references, reference))
        at_24k = samples if rate == 24000 else librosa.resample(y=samples, orig_sr=rate, target_sr=24000)
        speaker = watched.model.model.extract_speaker_embedding(at_24k, 24000).numpy()
        codes, margins, latent = encode(watched, at_24k)
        put("speaker", speaker)
        put("codes", codes.astype(np.int16))
        put("code_gaps", margins)
        put("latent", latent)
        if reference == SHORT:
            put("mel", watched.seen["mel"][0].T)
        info["encode"].append(dict(ref=reference, sample_rate=rate, samples=len(samples), samples_24k=len(at_24k),
                                   frames=len(codes), min_code_gap=float(margins.min()),
                                   distinct=[len(set(codes[:, i].tolist())) for i in range(codes.shape[1])]))
        print(name, info["encode"][-1], flush=True)
    generator = np.random.default_rng(spec["seed"])
    for count in spec["decode"]:
        codes = generator.integers(0, spec["books"], size=(count, spec["groups"]))
        wave = watched.model.model.speech_tokenizer.decode([{"audio_codes": torch.from_numpy(codes)}])[0][0]
        np.save(os.path.join(folder, f"decode_{count}.codes.npy"), codes.astype(np.int16))
        np.save(
            os.path.join(folder, f"decode_{count}.wave.npy"), wave.astype(np.float16 if count > 100 else np.float32)
        )
        info["decode"].append(dict(frames=count, samples=len(wave), rms=float(np.sqrt((wave ** 2).mean())),
                                   peak=float(np.abs(wave).max())))
        print(name, info["decode"][-1], flush=True)
    dump(info, folder, "modules.json")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", help="tests/golden/qwen")
    parser.add_argument("--only", choices=SPECS)
    arguments = parser.parse_args()
    import soundfile
    torch.set_num_threads(1)
    torch.manual_seed(0)
    references = os.path.join(arguments.out, "references")
    short = os.path.join(references, SHORT)
    if not os.path.exists(short):
        samples, rate = soundfile.read(os.path.join(references, "ref_en.wav"), dtype="int16")
        soundfile.write(short, samples[12000:12000 + 23717], rate, subtype="PCM_16")
    for name in SPECS:
        if arguments.only in (None, name):
            out = os.path.join(arguments.out, name)
            shutil.rmtree(out, ignore_errors=True)
            write_model(name, os.path.join(out, "model"))
            watched = Watched(os.path.join(out, "model"), SPECS[name]["groups"])
            record_cases(name, watched, out, references)
            record_modules(name, watched, out, references)


if __name__ == "__main__":
    main()
