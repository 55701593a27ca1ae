"""Names and shapes of the released models' tensors, and checkpoints of their sizes with random values.

The weights repeat one block of small random numbers: what is examined is that all of them are there and finite.
"""
import array
import itertools
import json
import pathlib
import random
import re


def transformer(prefix, layers, width, heads, inner, more=()):
    """Decoder layers with gated MLPs; `heads`: the widths of q and of k and v."""
    q, kv = heads
    rows = {
        "self_attn.q_proj.weight": [q, width],
        "self_attn.k_proj.weight": [kv, width],
        "self_attn.v_proj.weight": [kv, width],
        "self_attn.o_proj.weight": [width, q],
        "mlp.gate_proj.weight": [inner, width],
        "mlp.up_proj.weight": [inner, width],
        "mlp.down_proj.weight": [width, inner],
        "input_layernorm.weight": [width],
        "post_attention_layernorm.weight": [width],
        **dict(more),
    }
    return {f"{prefix}layers.{i}.{name}": shape for i in range(layers) for name, shape in rows.items()}


def with_bias(name, shape):
    return {f"{name}.weight": shape, f"{name}.bias": shape[:1]}


def expand(table):
    """{"a.{0-2}.b": shape} -> a.0.b, a.1.b, a.2.b"""
    out = {}
    for pattern, shape in table.items():
        parts = re.split(r"\{(\d+)-(\d+)\}", pattern)
        ranges = [range(int(parts[i]), int(parts[i + 1]) + 1) for i in range(1, len(parts), 3)]
        for numbers in itertools.product(*ranges):
            name = parts[0] + "".join(f"{n}{parts[3 * i + 3]}" for i, n in enumerate(numbers))
            out[name] = shape
    return out


def language_model(large=False):
    width, inner = (2048, 6144) if large else (1024, 3072)
    norms = {"self_attn.q_norm.weight": [128], "self_attn.k_norm.weight": [128]}.items()
    out = transformer("talker.model.", 28, width, (2048, 1024), inner, norms)
    out |= transformer("talker.code_predictor.model.", 5, 1024, (2048, 1024), 3072, norms)
    out |= with_bias("talker.text_projection.linear_fc1", [2048, 2048])
    out |= with_bias("talker.text_projection.linear_fc2", [width, 2048])
    if large:
        out |= with_bias("talker.code_predictor.small_to_mtp_projection", [1024, width])
    return out | expand({
        "talker.model.norm.weight": [width],
        "talker.model.codec_embedding.weight": [3072, width],
        "talker.model.text_embedding.weight": [151936, 2048],
        "talker.codec_head.weight": [3072, width],
        "talker.code_predictor.model.norm.weight": [1024],
        "talker.code_predictor.model.codec_embedding.{0-14}.weight": [2048, width],
        "talker.code_predictor.lm_head.{0-14}.weight": [2048, 1024],
    })


def speaker_encoder(large=False):
    out = {}
    for name, shape in {
        "blocks.0.conv": [512, 128, 5],
        "blocks.{1-3}.tdnn1.conv": [512, 512, 1],
        "blocks.{1-3}.res2net_block.blocks.{0-6}.conv": [64, 64, 3],
        "blocks.{1-3}.tdnn2.conv": [512, 512, 1],
        "blocks.{1-3}.se_block.conv1": [128, 512, 1],
        "blocks.{1-3}.se_block.conv2": [512, 128, 1],
        "mfa.conv": [1536, 1536, 1],
        "asp.tdnn.conv": [128, 4608, 1],
        "asp.conv": [1536, 128, 1],
        "fc": [2048 if large else 1024, 3072, 1],
    }.items():
        out |= expand(with_bias("speaker_encoder." + name, shape))
    return out


def codec_encoder():
    out, at, width = with_bias("encoder.layers.0.conv", [64, 1, 7]), 1, 64
    for rate in (4, 5, 6, 8):
        out |= with_bias(f"encoder.layers.{at}.block.1.conv", [width // 2, width, 3])
        out |= with_bias(f"encoder.layers.{at}.block.3.conv", [width, width // 2, 1])
        out |= with_bias(f"encoder.layers.{at + 2}.conv", [2 * width, width, 2 * rate])
        at, width = at + 3, 2 * width
    out |= with_bias("encoder.layers.14.conv", [512, 1024, 3])
    layer = {f"self_attn.{name}_proj.weight": [512, 512] for name in "qkvo"}
    layer |= {"mlp.fc1.weight": [2048, 512], "mlp.fc2.weight": [512, 2048]}
    layer |= {"self_attn_layer_scale.scale": [512], "mlp_layer_scale.scale": [512]}
    for norm in ("input_layernorm", "post_attention_layernorm"):
        layer |= with_bias(norm, [512])
    out |= expand({"encoder_transformer.layers.{0-7}." + name: shape for name, shape in layer.items()})
    out["downsample.conv.weight"] = [512, 512, 4]
    for kind, books in (("semantic", 1), ("acoustic", 31)):
        quantizer = f"quantizer.{kind}_residual_vector_quantizer."
        book = quantizer + f"layers.{{0-{books - 1}}}.codebook."
        out |= {quantizer + "input_proj.weight": [256, 512, 1], quantizer + "output_proj.weight": [512, 256, 1]}
        out |= expand({book + "initialized": [1], book + "cluster_usage": [2048], book + "embed_sum": [2048, 256]})
    return {"encoder." + name: shape for name, shape in out.items()}


def snake(name, width):
    return {f"{name}.alpha": [width], f"{name}.beta": [width]}


def codec_decoder():
    scales = {"self_attn_layer_scale.scale": [512], "mlp_layer_scale.scale": [512]}.items()
    out = transformer("pre_transformer.", 8, 512, (1024, 1024), 1024, scales)
    out["pre_transformer.norm.weight"] = [512]
    out |= with_bias("pre_transformer.input_proj", [512, 1024]) | with_bias("pre_transformer.output_proj", [1024, 512])
    for kind, books in (("first", 1), ("rest", 15)):
        quantizer = f"quantizer.rvq_{kind}."
        book = quantizer + f"vq.layers.{{0-{books - 1}}}._codebook."
        out |= {quantizer + "input_proj.weight": [256, 512, 1], quantizer + "output_proj.weight": [512, 256, 1]}
        out |= expand({book + "cluster_usage": [2048], book + "embedding_sum": [2048, 256]})
    out |= with_bias("pre_conv.conv", [1024, 512, 3])
    for i in range(2):
        out |= with_bias(f"upsample.{i}.0.conv", [1024, 1024, 2]) | {f"upsample.{i}.1.gamma": [1024]}
        out |= with_bias(f"upsample.{i}.1.dwconv.conv", [1024, 1, 7]) | with_bias(f"upsample.{i}.1.norm", [1024])
        out |= with_bias(f"upsample.{i}.1.pwconv1", [4096, 1024]) | with_bias(f"upsample.{i}.1.pwconv2", [1024, 4096])
    out |= with_bias("decoder.0.conv", [1536, 1024, 7])
    width = 1536
    for i, rate in enumerate((8, 5, 4, 3), 1):
        out |= snake(f"decoder.{i}.block.0", width)
        out |= {f"decoder.{i}.block.1.conv.weight": [width, width // 2, 2 * rate],
                f"decoder.{i}.block.1.conv.bias": [width // 2]}
        width //= 2
        for k in (2, 3, 4):
            unit = f"decoder.{i}.block.{k}."
            out |= snake(unit + "act1", width) | snake(unit + "act2", width)
            out |= with_bias(unit + "conv1.conv", [width, width, 7]) | with_bias(unit + "conv2.conv", [width, width, 1])
    out |= snake("decoder.5", width) | with_bias("decoder.6.conv", [1, width, 7])
    return {"decoder." + name: shape for name, shape in out.items()}


def write_weights(path, shapes, dtype):
    generator = random.Random(1)
    block = array.array("f", (generator.gauss(0, 0.02) for _ in range(1 << 16))).tobytes()
    if dtype == "BF16":
        block = b"".join(block[i + 2 : i + 4] for i in range(0, len(block), 4))
    header, place = {}, 0
    for name in sorted(shapes):
        size = {"BF16": 2, "F32": 4}[dtype]
        for dimension in shapes[name]:
            size *= dimension
        header[name] = {"dtype": dtype, "shape": shapes[name], "data_offsets": [place, place + size]}
        place += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for begin in range(0, place, len(block)):
            file.write(block[: place - begin])


def write_all(folder, large=False):
    """Both files of weights of the released sizes."""
    folder = pathlib.Path(folder)
    write_weights(folder / "model.safetensors", language_model(large) | speaker_encoder(large), "BF16")
    write_weights(folder / "speech_tokenizer/model.safetensors", codec_encoder() | codec_decoder(), "F32")
