#!/usr/bin/env python3
"""A peer of bench/gpu.py, in a Python that has it: bench/gpu_peer.py KIND MODEL DEVICE

KIND is `official` (qwen-tts) or `faster` (faster-qwen3-tts: the same network in CUDA graphs, one request at a time;
it needs a GPU). DEVICE is PyTorch's name, such as cuda:0 or cpu. The voice is a reference's x-vector, made once, as
bench/gpu.py's own.

A line of JSON on standard output says how long the start took: {"ready": seconds}. Then for each line
{"frames": N, "batch": B, "text": TEXT} on standard input one with what it did: {"first": seconds until the first
samples, "whole": seconds, "audio": seconds of audio of all of them}. Without streaming (the official package) the
first samples are the last.
"""
import json
import pathlib
import sys
import time
import types
from importlib.machinery import ModuleSpec

begin = time.perf_counter()
REFERENCE = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/qwen/references/ref_en.wav"


def leave_out_torchaudio():
    """Only the 25 Hz tokenizer wants it."""
    for name in ("torchaudio", "torchaudio.compliance", "torchaudio.compliance.kaldi"):
        module = sys.modules.setdefault(name, types.ModuleType(name))
        module.__spec__ = ModuleSpec(name, None)
    sys.modules["torchaudio"].compliance = sys.modules["torchaudio.compliance"]
    sys.modules["torchaudio.compliance"].kaldi = sys.modules["torchaudio.compliance.kaldi"]


class Official:
    def __init__(self, model, device):
        leave_out_torchaudio()
        import torch
        from qwen_tts import Qwen3TTSModel
        self.torch = torch
        self.model = Qwen3TTSModel.from_pretrained(model, dtype=torch.bfloat16, attn_implementation="sdpa",
                                                   device_map=device)
        self.prompt = self.model.create_voice_clone_prompt(ref_audio=str(REFERENCE), x_vector_only_mode=True)

    def speak(self, text, frames, batch):
        start = time.perf_counter()
        waves, rate = self.model.generate_voice_clone(
            text=[text] * batch, language=["English"] * batch, voice_clone_prompt=self.prompt * batch,
            max_new_tokens=frames + 1, do_sample=True)
        whole = time.perf_counter() - start
        return {"first": whole, "whole": whole, "audio": sum(map(len, waves)) / rate}


class Faster:
    def __init__(self, model, device):
        leave_out_torchaudio()
        from faster_qwen3_tts import FasterQwen3TTS
        self.model = FasterQwen3TTS.from_pretrained(model, device=device, dtype="bfloat16")
        self.prompt = self.model.model.create_voice_clone_prompt(ref_audio=str(REFERENCE), x_vector_only_mode=True)

    def speak(self, text, frames, batch):
        """The whole without streaming, as it is fastest; the first samples of a stream in chunks of one frame."""
        fields = {"text": text, "language": "English", "voice_clone_prompt": self.prompt}
        start, audio = time.perf_counter(), 0.0
        for _ in range(batch):
            waves, rate = self.model.generate_voice_clone(**fields, max_new_tokens=frames, min_new_tokens=frames)
            audio += sum(map(len, waves)) / rate
        whole = time.perf_counter() - start
        start = time.perf_counter()
        next(self.model.generate_voice_clone_streaming(**fields, max_new_tokens=2, chunk_size=1))
        return {"first": time.perf_counter() - start, "whole": whole, "audio": audio}


def main():
    kind, model, device = sys.argv[1:]
    answers, sys.stdout = sys.stdout, sys.stderr  # what the packages print is no answer
    peer = {"official": Official, "faster": Faster}[kind](model, device)
    peer.speak("Some words.", 4, 1)
    print(json.dumps({"ready": time.perf_counter() - begin}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        print(json.dumps(peer.speak(asked["text"], asked["frames"], asked["batch"])), file=answers, flush=True)


main()
