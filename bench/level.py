#!/usr/bin/env python3
"""Whether what the denoiser keeps of speech depends on the recording's level: makes docs/enhance-quality.md's table.

  bench/level.py [--command build/cli/timbre] [--levels 0,-10,...] [RECORDING.wav...]

Twelve recordings: the example, the goldens' noisy and clean clips, and speech of espeak-ng in several languages, clean
and with white noise, pink noise and hum, and babble at several ratios; files that are given come after them. Each is
written as float WAV with its peak at each level, and cleaned as a file and through a pipe, with --level auto and off.
What is told is how much louder or softer the result is than the result at -20 dBFS, less the difference of the inputs:
0 where the level does not matter. Needs numpy, soundfile, soxr and espeak-ng.
"""
import argparse
import concurrent.futures
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import soundfile
import soxr

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATE = 48000
TEXTS = {
    "en": "The boat left the harbour before sunrise, and nobody on the quay could say when it would come back.",
    "de": "Das Boot verließ den Hafen vor Sonnenaufgang, und niemand wusste, wann es zurückkommen würde.",
    "fr": "Le bateau a quitté le port avant le lever du soleil, et personne ne savait quand il reviendrait.",
    "es": "El barco salió del puerto antes del amanecer, y nadie sabía cuándo iba a volver.",
    "it": "La barca lasciò il porto prima dell'alba, e nessuno sapeva dire quando sarebbe tornata.",
}


def load(path):
    samples, rate = soundfile.read(path, always_2d=True)
    return soxr.resample(samples.mean(1), rate, RATE, quality="VHQ")


def golden(name):
    return np.load(ROOT / f"tests/golden/dfn/{name}.in.npy").astype(np.float64) / 32768


def espeak(language, voice=""):
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/speech.wav"
        subprocess.run(["espeak-ng", "-v", language + voice, "-w", path, TEXTS[language]], check=True)
        return load(path)


def colour(count, seed, exponent):
    spectrum = np.fft.rfft(np.random.default_rng(seed).standard_normal(count))
    spectrum[1:] /= np.arange(1, len(spectrum)) ** exponent
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, count)
    return noise / noise.std()


def pink_and_hum(count):
    time = np.arange(count) / RATE
    hum = sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3, 5))
    return colour(count, 1, 0.5) + hum / hum.std()


def babble(count):
    voices = [espeak(language, voice) for language in TEXTS for voice in ("", "+f3")]
    mix = sum(np.resize(np.roll(v / v.std(), 4801 * i), count) for i, v in enumerate(voices))
    return mix / mix.std()


def with_noise(speech, noise, ratio):
    lead = np.zeros(RATE // 2)
    speech = np.concatenate([lead, speech, lead])
    noise = noise(len(speech))
    return speech + noise * np.sqrt(np.mean(speech**2) / np.mean(noise**2)) * 10 ** (-ratio / 20)


def recordings():
    def white(count):
        return colour(count, 2, 0)

    yield "examples/audio/noisy.flac", load(ROOT / "examples/audio/noisy.flac")
    yield "golden, noise at 5 dB", golden("fr_noise_snr5")
    yield "golden, synthetic speech", golden("tts_en_odd")
    yield "espeak en", espeak("en")
    yield "espeak de, female", espeak("de", "+f3")
    yield "espeak fr, white noise 20 dB", with_noise(espeak("fr"), white, 20)
    yield "espeak es, white noise 5 dB", with_noise(espeak("es", "+m3"), white, 5)
    yield "espeak en, white noise 0 dB", with_noise(espeak("en", "+f2"), white, 0)
    yield "espeak it, pink and hum 10 dB", with_noise(espeak("it"), pink_and_hum, 10)
    yield "espeak de, pink and hum 0 dB", with_noise(espeak("de"), pink_and_hum, 0)
    yield "espeak en, babble 10 dB", with_noise(espeak("en"), babble, 10)
    yield "espeak fr, babble 20 dB, offset", with_noise(espeak("fr", "+f4"), babble, 20)


def clean(command, folder, name, samples, level, pipe):
    source, target = f"{folder}/{name}.in.wav", f"{folder}/{name}.out.wav"
    soundfile.write(source, samples, RATE, subtype="FLOAT")
    with open(source, "rb") as stream:
        subprocess.run([command, "enhance", "-q", "--level", level, "--encoding", "float", "-o", target,
                        "-" if pipe else source], stdin=stream if pipe else subprocess.DEVNULL, check=True)
    return soundfile.read(target)[0]


def decibel(samples):
    return 10 * np.log10(np.mean(samples**2) + 1e-30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--command", default=str(ROOT / "build/cli/timbre"))
    parser.add_argument("--levels", default="0,-10,-20,-30,-40,-50,-60")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    levels = [float(level) for level in arguments.levels.split(",")]
    clips = list(recordings()) + [(path, load(path)) for path in arguments.files]
    worst = {}
    with tempfile.TemporaryDirectory() as folder, concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for way, level, pipe in (("file", "auto", False), ("pipe", "auto", True), ("off", "off", False)):
            print(f"\n| {way} |" + "".join(f" {level:g} |" for level in levels))
            print("| --- |" + " --- |" * len(levels))
            for index, (name, clip) in enumerate(clips):
                clip = clip - clip.mean()
                clip = clip / np.abs(clip).max()
                if name.endswith("offset"):
                    clip = clip * 0.8 + 0.2
                def run(peak, clip=clip, index=index):
                    scale = 10 ** (peak / 20)
                    out = clean(arguments.command, folder, f"{way}{index}{peak:g}", clip * scale, level, pipe)
                    return decibel(out) - peak
                wanted = levels if -20 in levels else levels + [-20]
                kept = dict(zip(wanted, pool.map(run, wanted)))
                differences = [kept[level] - kept[-20] for level in levels]
                worst[way] = max(worst.get(way, 0), max(abs(d) for d in differences))
                print(f"| {name} |" + "".join(f" {d:+.1f} |" for d in differences), flush=True)
    print("\nworst:", ", ".join(f"{way} {value:.1f} dB" for way, value in worst.items()))
    return 0 if worst["file"] <= 3 and worst["pipe"] <= 3 else 1


if __name__ == "__main__":
    sys.exit(main())
