"""A checkpoint whose codec hums.

Random weights make steady noise, which nobody takes for speech, so that no voice can be made of it. Here every frame's
first code says how loud a voiced sound of 100 Hz is, which is speech enough for the judge of references: syllables and
pauses, as the codes come. The language model stays as it was.
"""
import array
import json
import math
import pathlib
import shutil

LOG_OF_NOTHING = -20.0  # of a Snake's alpha: it lets everything through


def read(path):
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size]), bytearray(data[8 + size :])


def write(path, header, data):
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def put(header, data, name, values):
    """`values`: {index: value}, everything else is 0."""
    begin, end = header[name]["data_offsets"]
    shape = header[name]["shape"]
    whole = array.array("f", bytes(end - begin))
    for index, value in values.items():
        at = 0
        for size, i in zip(shape, index):
            assert i < size, (name, shape, index)
            at = at * size + i
        whole[at] = value
    data[begin:end] = whole.tobytes()


def loudness(code):
    """Of a code of the first codebook: half of them are pauses."""
    return 0.0 if code % 2 else 0.4 + 0.6 * (code % 7) / 6


def humming(checkpoint, folder):
    """A copy of `checkpoint` in `folder` with such a codec."""
    shutil.copytree(checkpoint, folder)
    path = pathlib.Path(folder) / "speech_tokenizer/model.safetensors"
    header, data = read(path)
    of_decoder = [name for name in header if name.startswith("decoder.") and not name.endswith("cluster_usage")]
    rates = json.loads((path.parent / "config.json").read_text())["decoder_config"]["upsample_rates"]
    for name in of_decoder:
        shape = header[name]["shape"]
        if name.endswith((".alpha", ".beta")):
            value = LOG_OF_NOTHING if name.endswith("alpha") else 0.0
            put(header, data, name, {(i,): value for i in range(shape[0])})
        elif name.endswith("norm.weight"):
            put(header, data, name, {(i,): 1.0 for i in range(shape[0])})
        else:
            put(header, data, name, {})
    first = "decoder.quantizer.rvq_first."
    books = first + "vq.layers.0._codebook.embedding_sum"
    usage = first + "vq.layers.0._codebook.cluster_usage"
    codes = header[books]["shape"][0]
    put(header, data, usage, {(code,): 1.0 for code in range(codes)})
    loud = {(code, 0): loudness(code) for code in range(codes)}
    soft = {(code, 1): math.sqrt(1 - loudness(code) ** 2) for code in range(codes)}
    put(header, data, books, loud | soft)
    # Two channels carry it: the sound, and what is left of the norm's 1.
    both = {(0, 0, 0): 1.0, (1, 1, 0): 1.0}
    put(header, data, first + "output_proj.weight", both)
    put(header, data, "decoder.pre_conv.conv.weight", {(0, 0, 2): 1.0, (1, 1, 2): 1.0})
    put(header, data, "decoder.pre_transformer.input_proj.weight", {(0, 0): 1.0, (1, 1): 1.0})
    put(header, data, "decoder.pre_transformer.output_proj.weight", {(0, 0): 0.1})
    for i in range(2):
        put(header, data, f"decoder.upsample.{i}.0.conv.weight", {(0, 0, 0): 1.0, (0, 0, 1): 1.0})
    put(header, data, "decoder.decoder.0.conv.weight", {(0, 0, 6): 1.0})
    # Two pulses of each latent of 20 ms, then a decay, then straight lines.
    put(header, data, "decoder.decoder.1.block.1.conv.weight", {(0, 0, 0): 1.0, (0, 0, rates[0] // 2): 1.0})
    decay = {(0, 0, k): math.exp(-k / 3) * math.cos(k * 1.5) for k in range(2 * rates[1])}
    put(header, data, "decoder.decoder.2.block.1.conv.weight", decay)
    for i in (2, 3):
        line = {(0, 0, k): 1 - abs(k + 0.5 - rates[i]) / rates[i] for k in range(2 * rates[i])}
        put(header, data, f"decoder.decoder.{i + 1}.block.1.conv.weight", line)
    put(header, data, "decoder.decoder.6.conv.weight", {(0, 0, 6): 1.0})
    write(path, header, data)
    return pathlib.Path(folder)
