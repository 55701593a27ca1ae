#!/usr/bin/env python3
"""Codec and speaker encoder: timbre and the official PyTorch implementation in turn, on the same weights.

    bench/codec.py MODEL [--build build] [--threads 2] [--rounds 5] [--precision f32|bf16] [--frames 16] [--seconds 5]

MODEL is a checkpoint's folder; full-size random weights will do (times do not depend on the values). Needs qwen-tts,
torch and transformers for the official side (--alone: without them). Every round times each side once, so that both see
the same state of a shared machine; what counts is the least of each side and their ratio.
"""
import argparse
import importlib.machinery
import subprocess
import sys
import time
import types
from pathlib import Path


class Timbre:
    def __init__(self, arguments, precision):
        program = Path(arguments.build) / "bench" / "bench_codec"
        self.process = subprocess.Popen([program, arguments.model, str(arguments.threads), precision],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        print(f"timbre {precision}:", self.answer())

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            sys.exit("bench_codec ended")
        return line.strip()

    def time(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return float(self.answer())


class Official:
    """The classes of qwen-tts, with the codec's own attention (sdpa) and oneDNN, as it runs on a CPU."""

    def __init__(self, arguments):
        import torch
        stub = types.ModuleType("torchaudio")  # only the 25 Hz tokenizer wants it
        stub.__spec__ = importlib.machinery.ModuleSpec("torchaudio", None)
        stub.compliance = types.ModuleType("torchaudio.compliance")
        stub.compliance.kaldi = types.ModuleType("torchaudio.compliance.kaldi")
        for name, module in (("torchaudio", stub), ("torchaudio.compliance", stub.compliance),
                             ("torchaudio.compliance.kaldi", stub.compliance.kaldi)):
            sys.modules.setdefault(name, module)
        from qwen_tts.core.tokenizer_12hz.modeling_qwen3_tts_tokenizer_v2 import Qwen3TTSTokenizerV2Model
        from qwen_tts.core.models import modeling_qwen3_tts as modeling
        from qwen_tts.core.models.configuration_qwen3_tts import Qwen3TTSConfig
        from safetensors import safe_open
        self.torch = torch
        torch.set_num_threads(arguments.threads)
        torch.manual_seed(1)
        self.dtype = torch.float32
        self.codec = Qwen3TTSTokenizerV2Model.from_pretrained(
            Path(arguments.model) / "speech_tokenizer", dtype=self.dtype
        )
        self.codec.eval()
        config = Qwen3TTSConfig.from_pretrained(arguments.model).speaker_encoder_config
        self.modeling = modeling
        self.speaker = modeling.Qwen3TTSSpeakerEncoder(config).eval()
        with safe_open(Path(arguments.model) / "model.safetensors", "pt") as tensors:
            prefix = "speaker_encoder."
            self.speaker.load_state_dict(
                {
                    name[len(prefix) :]: tensors.get_tensor(name).float()
                    for name in tensors.keys()
                    if name.startswith(prefix)
                }
            )
        print(f"official: torch {torch.__version__}, {torch.get_num_threads()} threads")

    def time(self, command):
        torch = self.torch
        name, *numbers = command.split()
        with torch.inference_mode():
            if name == "decode":
                frames, chunk, streams = map(int, numbers)
                codes = torch.randint(0, self.codec.decoder.config.codebook_size, (streams, 16, frames))
                begin = time.perf_counter()
                for start in range(0, frames, chunk):  # restarts at every chunk: less work than a stream's state
                    self.codec.decoder(codes[..., start:start + chunk])
                return time.perf_counter() - begin
            samples = torch.randn(1, int(float(numbers[0]) * 24000)) * 0.1
            begin = time.perf_counter()
            if name == "encode":
                self.codec.encode(samples, torch.ones_like(samples, dtype=torch.long))
            else:
                mel = self.modeling.mel_spectrogram(
                    samples,
                    n_fft=1024,
                    num_mels=128,
                    sampling_rate=24000,
                    hop_size=256,
                    win_size=1024,
                    fmin=0,
                    fmax=12000,
                ).transpose(1, 2)
                self.speaker(mel)
            return time.perf_counter() - begin


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--build", default="build")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--precision", default="f32")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--alone", action="store_true", help="without the official implementation")
    parser.add_argument("--only", help="commands that contain this")
    arguments = parser.parse_args()
    sides = {"timbre": Timbre(arguments, arguments.precision)}
    if not arguments.alone:
        sides["official"] = Official(arguments)
    frames = arguments.frames
    tasks = [
        (f"decode {frames} {frames} 1", frames),
        (f"decode {frames} 4 1", frames),
        (f"decode {frames} 1 1", frames),
        (f"decode {frames} 4 4", 4 * frames),
        (f"encode {arguments.seconds:g}", None),
        (f"speaker {arguments.seconds:g}", None),
    ]
    print(f"{'':24}" + "".join(f"{side:>20}" for side in sides) + "   least / median, ms (a frame)")
    for command, per in tasks:
        if arguments.only and arguments.only not in command:
            continue
        times = {side: [] for side in sides}
        for _ in range(arguments.rounds + 1):
            for side, runner in sides.items():
                times[side].append(runner.time(command) * 1e3 / (per or 1))
        least = {side: min(values[1:]) for side, values in times.items()}  # the first round warms up
        row = "".join(f"{least[side]:11.2f} / {sorted(times[side][1:])[arguments.rounds // 2]:6.2f}" for side in sides)
        ratio = f"   {least['official'] / least['timbre']:.2f}x" if "official" in least else ""
        print(f"{command:24}{row}{ratio}", flush=True)


if __name__ == "__main__":
    main()
