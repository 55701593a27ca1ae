#!/usr/bin/env python3
"""What the denoiser's settings do to speech that is noisy and to speech that is clean, in DNSMOS P.835 and P.808.

  bench/quality.py [--command build/cli/timbre] [CLEAN.wav...]

Noisy: the golden recording, and each clean clip with pink noise and mains hum at 0, 10 and 20 dB. Clean, as stage 5
gets it: the golden synthetic speech, the preview voice in four languages (24 kHz and below, without the pipeline's own
cleaning), and the files that are given. Needs numpy, soundfile, soxr and speechmos (its models come with the package)
and, for the preview voice, espeak-ng. DNSMOS scores windows of 9 s: shorter clips are repeated, as its authors do.
"""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import soundfile
import soxr
from speechmos import dnsmos

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests/golden/dfn"
RATE = 48000
# (attenuation limit in dB, strength of the post-filter)
SETTINGS = [(0, 0), (6, 0), (9, 0), (12, 0), (18, 0), (24, 0), (100, 0), (12, 0.02), (100, 0.02)]
SCORES = ["sig_mos", "bak_mos", "ovrl_mos", "p808_mos"]
TEXTS = {
    "en": "The boat left the harbour before sunrise, and nobody on the quay could say when it would come back.",
    "de": "Das Boot verliess den Hafen vor Sonnenaufgang, und niemand wusste, wann es zurueckkommen wuerde.",
    "fr": "Le bateau a quitté le port avant le lever du soleil, et personne ne savait quand il reviendrait.",
    "es": "El barco salió del puerto antes del amanecer, y nadie sabía cuándo iba a volver.",
}


def golden(name):
    return np.load(GOLDEN / f"{name}.in.npy").astype(np.float64) / 32768


def load(path):
    samples, rate = soundfile.read(path, always_2d=True)
    return soxr.resample(samples.mean(1), rate, RATE, quality="VHQ")


def preview(command, folder, language, text):
    reference, out = f"{folder}/reference.wav", f"{folder}/{language}.wav"
    soundfile.write(reference, golden("tts_en_odd"), RATE)
    subprocess.run([command, "clone", "--engine", "preview", "--ref", reference, "--text", text, "--language", language,
                    "--no-pre", "--no-post", "-o", out, "-q"], check=True)
    return load(out)


def noise(count, seed):
    """Pink noise and hum of 50 Hz with its harmonics, rms 1."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    pink = np.fft.irfft(spectrum, count)
    t = np.arange(count) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in range(1, 9))
    mixed = pink / pink.std() + 0.5 * hum / hum.std()
    return mixed / mixed.std()


def mix(clean, snr, seed):
    return clean + noise(len(clean), seed) * clean.std() * 10 ** (-snr / 20)


def si_sdr(actual, clean):
    scale = (actual @ clean) / (clean @ clean)
    rest = actual - scale * clean
    return 10 * np.log10(scale**2 * (clean @ clean) / (rest @ rest))


def enhance(command, folder, samples, limit, beta):
    path_in, path_out = f"{folder}/in.wav", f"{folder}/out.wav"
    soundfile.write(path_in, samples, RATE, subtype="FLOAT")
    subprocess.run([command, "enhance", path_in, "-o", path_out, "--encoding", "float", "-q", "-a", str(limit),
                    *(["--pf-beta", str(beta)] if beta else [])], check=True)
    return soundfile.read(path_out)[0]


def score(samples):
    low = np.clip(soxr.resample(samples, RATE, 16000, quality="VHQ"), -1, 1).astype(np.float32)
    result = dnsmos.run(low, sr=16000)
    return [float(result[key]) for key in SCORES]


def table(title, command, folder, clips):
    """clips: name → (samples, the clean ones or None)."""
    print(f"\n{title}: {len(clips)} clips ({', '.join(clips)})\n")
    print("| limit dB | post-filter | SIG | BAK | OVRL | P.808 | SI-SDR dB |\n|---|---|---|---|---|---|---|")
    for limit, beta in SETTINGS:
        rows, distances = [], []
        for samples, clean in clips.values():
            out = enhance(command, folder, samples, limit, beta)
            rows.append(score(out))
            if clean is not None:
                distances.append(si_sdr(out, clean))
        name = {0: "0 (as it came)", 100: "none"}.get(limit, str(limit))
        means = " | ".join(f"{value:.2f}" for value in np.mean(rows, 0))
        print(f"| {name} | {beta or 'off'} | {means} | {np.mean(distances):.1f} |" if distances else
              f"| {name} | {beta or 'off'} | {means} | |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", default=str(ROOT / "build/cli/timbre"))
    parser.add_argument("clean", nargs="*", type=pathlib.Path, help="recordings of clean speech")
    options = parser.parse_args()
    if not os.path.exists(options.command):
        sys.exit(f"{options.command} is missing: build it, or name it with --command")
    with tempfile.TemporaryDirectory() as folder:
        synthetic = {"golden": golden("tts_en_odd")}
        for language, text in TEXTS.items():
            synthetic[f"preview {language}"] = preview(options.command, folder, language, text)
        recorded = {path.stem: load(path) for path in options.clean}
        noisy = {"golden 5 dB": (golden("fr_noise_snr5"), None)}
        for seed, (name, clean) in enumerate({**recorded, "synthetic": synthetic["golden"]}.items()):
            for snr in (0, 10, 20):
                noisy[f"{name} {snr} dB"] = (mix(clean, snr, 10 * seed + snr), clean)
        table("Noisy", options.command, folder, noisy)
        table("Synthetic and clean", options.command, folder, {name: (clip, clip) for name, clip in synthetic.items()})
        if recorded:
            table(
                "Recorded and clean", options.command, folder, {name: (clip, clip) for name, clip in recorded.items()}
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
