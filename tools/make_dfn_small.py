#!/usr/bin/env python3
"""Makes tests/golden/dfn/small.tar.gz, a DeepFilterNet3 of other sizes than the official one with random weights and no
lookahead, and what ONNX Runtime makes of random features with it (small/*.npy). Needs onnx, onnxruntime and numpy."""
import gzip
import io
import pathlib
import tarfile

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FRAMES, CH, BANDS, BINS, ORDER, KERNEL = 13, 20, 24, 40, 3, 4
HIDDEN, DF_HIDDEN = 36, 28
EMB = CH * BANDS // 4
CONFIG = f"""# sizes of a test
[train]
model = deepfilternet3
[df]
sr = 16000
fft_size = 320
hop_size = 160
nb_erb = {BANDS}
nb_df = {BINS}
norm_tau = 1
lsnr_max = 30
lsnr_min = -10
min_nb_erb_freqs = 1
df_order = {ORDER}
df_lookahead = 0
[deepfilternet]
conv_lookahead = 0
conv_ch = {CH}
emb_hidden_dim = {HIDDEN}
emb_num_layers = 2
df_hidden_dim = {DF_HIDDEN}
df_num_layers = 1
df_gru_skip = none
df_pathway_kernel_size_t = {KERNEL}
"""
rng = np.random.default_rng(3)


class Graph:
    def __init__(self):
        self.nodes, self.weights, self.count = [], [], 0

    def weight(self, *shape, scale=None):
        fan = np.prod(shape[1:]) if len(shape) > 1 else 4
        value = rng.standard_normal(shape) * (scale or 1.2 / np.sqrt(fan))
        return self.constant(value.astype(np.float32))

    def constant(self, value):
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def op(self, kind, *inputs, out=None, outputs=1, **attributes):
        self.count += 1
        names = [out] if out else [f"t{self.count}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0]

    def reshape(self, x, *shape):
        return self.op("Reshape", x, self.constant(np.array(shape, np.int64)))

    def relu(self, x, out=None):
        return self.op("Relu", x, out=out)

    def causal(self, x, frames):
        return self.op("Pad", x, self.constant(np.array([0, 0, frames - 1, 0, 0, 0, 0, 0], np.int64)))

    def pointwise(self, x, inputs, outputs):
        return self.op("Conv", x, self.weight(outputs, inputs, 1, 1), self.weight(outputs), kernel_shape=[1, 1])

    def input_conv(self, x, inputs, groups, out):
        pads = {"kernel_shape": [3, 3], "pads": [0, 1, 0, 1], "group": groups}
        x = self.causal(x, 3)
        if groups == 1:
            return self.relu(self.op("Conv", x, self.weight(CH, inputs, 3, 3), self.weight(CH), **pads), out)
        x = self.op("Conv", x, self.weight(CH, inputs // groups, 3, 3), **pads)
        return self.relu(self.pointwise(x, CH, CH), out)

    def separable(self, x, stride=1, transposed=False, out=None):
        more = {"output_padding": [0, 1]} if transposed else {}
        x = self.op("ConvTranspose" if transposed else "Conv", x, self.weight(CH, 1, 1, 3, scale=0.5), group=CH,
                    kernel_shape=[1, 3], pads=[0, 1, 0, 1], strides=[1, stride], **more)
        return self.relu(self.pointwise(x, CH, CH), out)

    def linear(self, x, groups, inputs, outputs, activation="Relu", out=None):
        x = self.reshape(x, 1, -1, groups, inputs)
        x = self.op(
            "Einsum", x, self.weight(groups, inputs, outputs, scale=1 / np.sqrt(inputs)), equation="btgi,gih->btgh"
        )
        x = self.reshape(x, 1, -1, groups * outputs)
        return self.op(activation, x, out=out)

    def gru(self, x, inputs, hidden):
        x = self.op("Transpose", x, perm=[1, 0, 2])
        w, r = self.weight(1, 3 * hidden, inputs, scale=0.2), self.weight(1, 3 * hidden, hidden, scale=0.2)
        x = self.op("GRU", x, w, r, self.weight(1, 6 * hidden, scale=0.3), hidden_size=hidden, linear_before_reset=1)
        x = self.op("Squeeze", x, axes=[1])
        return self.op("Transpose", x, perm=[1, 0, 2])

    def flatten(self, x, size):
        return self.reshape(self.op("Transpose", x, perm=[0, 2, 3, 1]), 1, -1, size)

    def model(self, inputs, outputs):
        info = [
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in part.items()]
            for part in (inputs, outputs)
        ]
        graph = helper.make_graph(self.nodes, "small", info[0], info[1], self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 12)], ir_version=7)
        onnx.checker.check_model(model)
        return model.SerializeToString()


def four(channels, width):
    return [1, channels, "S", width]


def encoder():
    g = Graph()
    g.input_conv("feat_erb", 1, 1, "e0")
    for i, stride in ((1, 2), (2, 2), (3, 1)):
        g.separable(f"e{i - 1}", stride, out=f"e{i}")
    g.input_conv("feat_spec", 2, 2, "c0")
    c1 = g.flatten(g.separable("c0", 2), CH * BINS // 2)
    x = g.op("Add", g.flatten("e3", EMB), g.linear(c1, 8, CH * BINS // 16, EMB // 8))
    x = g.gru(g.linear(x, 4, EMB // 4, HIDDEN // 4), HIDDEN, HIDDEN)
    g.linear(x, 4, HIDDEN // 4, EMB // 4, out="emb")
    x = g.op("Add", g.op("MatMul", "emb", g.weight(EMB, 1, scale=0.1)), g.weight(1))
    x = g.op("Mul", g.op("Sigmoid", x), g.constant(np.float32(40)))
    g.op("Add", x, g.constant(np.float32(-10)), out="lsnr")
    widths = {"e0": BANDS, "e1": BANDS // 2, "e2": BANDS // 4, "e3": BANDS // 4, "c0": BINS}
    return g.model({"feat_erb": four(1, BANDS), "feat_spec": four(2, BINS)},
                   {k: four(CH, w) for k, w in widths.items()} | {"emb": [1, "S", EMB], "lsnr": [1, "S", 1]})


def erb_decoder():
    g = Graph()
    x = g.gru(g.linear("emb", 4, EMB // 4, HIDDEN // 4), HIDDEN, HIDDEN)
    x = g.linear(x, 4, HIDDEN // 4, EMB // 4)
    x = g.op("Transpose", g.reshape(x, 1, -1, BANDS // 4, CH), perm=[0, 3, 1, 2])
    for level, transposed in ((3, False), (2, True), (1, True), (0, None)):
        skip = g.op("Conv", f"e{level}", g.weight(CH, 1, 1, 1), g.weight(CH), group=CH, kernel_shape=[1, 1])
        x = g.op("Add", g.relu(skip), x)
        if transposed is not None:
            x = g.separable(x, 2 if transposed else 1, transposed)
    x = g.op("Conv", x, g.weight(1, CH, 1, 3, scale=0.1), g.weight(1), kernel_shape=[1, 3], pads=[0, 1, 0, 1])
    g.op("Sigmoid", x, out="m")
    widths = {"e0": BANDS, "e1": BANDS // 2, "e2": BANDS // 4, "e3": BANDS // 4}
    return g.model({"emb": [1, "S", EMB]} | {k: four(CH, w) for k, w in widths.items()}, {"m": four(1, BANDS)})


def df_decoder():
    g = Graph()
    x = g.gru(g.linear("emb", 2, EMB // 2, DF_HIDDEN // 2), DF_HIDDEN, DF_HIDDEN)
    c = g.op("Conv", g.causal("c0", KERNEL), g.weight(2 * ORDER, CH // 2, KERNEL, 1), group=2, kernel_shape=[KERNEL, 1])
    c = g.op("Transpose", g.relu(g.pointwise(c, 2 * ORDER, 2 * ORDER)), perm=[0, 2, 3, 1])
    x = g.linear(x, 4, DF_HIDDEN // 4, BINS * 2 * ORDER // 4, "Tanh")
    g.op("Add", g.reshape(x, 1, -1, BINS, 2 * ORDER), c, out="coefs")
    return g.model({"emb": [1, "S", EMB], "c0": four(CH, BINS)}, {"coefs": [1, "S", BINS, 2 * ORDER]})


def main():
    folder = pathlib.Path(__file__).parent.parent / "tests/golden/dfn"
    members = {"enc.onnx": encoder(), "erb_dec.onnx": erb_decoder(), "df_dec.onnx": df_decoder(),
               "config.ini": CONFIG.encode()}
    with open(folder / "small.tar.gz", "wb") as file, gzip.GzipFile("", "wb", 9, file, 0) as packed:
        with tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for name, data in members.items():
                entry = tarfile.TarInfo(f"tmp/export/{name}")
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    run = {name: onnxruntime.InferenceSession(data) for name, data in members.items() if name.endswith("onnx")}
    features = {
        "feat_erb": rng.standard_normal((1, 1, FRAMES, BANDS)),
        "feat_spec": rng.standard_normal((1, 2, FRAMES, BINS)),
    }
    features = {k: v.astype(np.float32) for k, v in features.items()}
    names = ["e0", "e1", "e2", "e3", "emb", "c0", "lsnr"]
    enc = dict(zip(names, run["enc.onnx"].run(names, features)))
    mask = run["erb_dec.onnx"].run(["m"], {k: enc[k] for k in ("emb", "e3", "e2", "e1", "e0")})[0]
    coefs = run["df_dec.onnx"].run(["coefs"], {k: enc[k] for k in ("emb", "c0")})[0]
    out = {
        "feat_erb": features["feat_erb"][0, 0],
        "feat_spec": features["feat_spec"][0].transpose(1, 0, 2),
        "mask": mask[0, 0],
        "emb": enc["emb"][0],
        "lsnr": enc["lsnr"].reshape(-1),
        "coefs": coefs[0],
        "e3": enc["e3"][0].transpose(1, 2, 0),
    }
    (folder / "small").mkdir(exist_ok=True)
    for name, value in out.items():
        np.save(folder / "small" / f"{name}.npy", np.ascontiguousarray(value, np.float32))


if __name__ == "__main__":
    main()
