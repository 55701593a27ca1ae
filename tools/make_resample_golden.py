#!/usr/bin/env python3
"""Makes tests/golden/resample again from its inputs (*.in.wav), or compares with --check.

Needs numpy, scipy, soxr, soundfile and torch. torchaudio itself is not needed: sinc() below is the
formula of torchaudio.functional.resample with its defaults, evaluated as it does it, the kernel in the
waveform's own type; float32 costs it accuracy where the ratio is no integer, and that is what users get.
"""
import argparse
import json
import math
import pathlib
import sys

import numpy as np
import scipy.signal
import soundfile
import soxr
import torch

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "golden" / "resample"


def ratio(rate_in, rate_out):
    divisor = math.gcd(rate_in, rate_out)
    return rate_out // divisor, rate_in // divisor


def resample_soxr(x, rate_in, rate_out):
    return soxr.resample(x, rate_in, rate_out, quality="VHQ")


def resample_poly(x, rate_in, rate_out):
    return scipy.signal.resample_poly(x, *ratio(rate_in, rate_out))


def resample_sinc(x, rate_in, rate_out, width_in_crossings=6, rolloff=0.99):
    up, down = ratio(rate_in, rate_out)
    x = torch.from_numpy(x)
    base = min(up, down) * rolloff
    width = math.ceil(width_in_crossings * down / base)
    places = torch.arange(-width, width + down, dtype=x.dtype)[None] / down
    t = torch.arange(0, -up, -1, dtype=x.dtype)[:, None] / up + places
    t = (t * base).clamp(-width_in_crossings, width_in_crossings)
    window = torch.cos(t * math.pi / width_in_crossings / 2) ** 2
    t = t * math.pi
    kernel = torch.where(t == 0, torch.ones_like(t), t.sin() / t) * window * (base / down)
    padded = torch.nn.functional.pad(x[None, None], (width, width + down))
    out = torch.nn.functional.conv1d(padded, kernel[:, None], stride=down)
    return out.transpose(1, 2).reshape(-1)[: -(-len(x) * up // down)].numpy()


METHODS = {"soxr": resample_soxr, "poly": resample_poly, "sinc": resample_sinc}


def decibels(signal, noise):
    return float(10 * np.log10(np.sum(signal**2) / np.sum(noise**2)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with the files instead of writing them")
    check = parser.parse_args().check
    manifest = {}
    worst = 0.0
    for path in sorted(FOLDER.glob("*.in.wav")):
        name = path.name[: -len(".in.wav")]
        rate_in, rate_out = (int(rate) for rate in name.split("_")[1:])
        x, rate = soundfile.read(path, dtype="float32")
        if rate != rate_in:
            sys.exit(f"{path}: {rate} Hz")
        for method, resample in METHODS.items():
            single = resample(x, rate_in, rate_out)
            double = resample(x.astype(np.float64), rate_in, rate_out)
            difference = single - double
            manifest[f"{name}.{method}"] = {
                "n_in": len(x),
                "n_out": len(single),
                "f32_vs_f64_max_abs": float(np.max(np.abs(difference))),
                "f32_vs_f64_snr_db": decibels(double, difference),
            }
            target = FOLDER / f"{name}.{method}.wav"
            if check:
                old, _ = soundfile.read(target, dtype="float32")
                distance = float(np.max(np.abs(old - single))) if len(old) == len(single) else math.inf
                worst = max(worst, distance)
                print(f"{name}.{method}: {len(single)} samples, {distance:.3g} from the file")
            else:
                soundfile.write(target, single, rate_out, subtype="FLOAT")
    if check:
        sys.exit(0 if worst <= 2e-7 else f"the files differ by up to {worst:.3g}")
    (FOLDER / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
