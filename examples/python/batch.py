"""Clones a batch and cleans an array: batch.py VOICE.wav FOLDER"""

import sys

import timbre

with timbre.Pipeline() as pipeline:
    items = [
        {"text": text, "ref_audio": sys.argv[1], "custom_id": text.split()[0]}
        for text in ("Good morning.", "Thank you all.")
    ]
    for speech in pipeline.clone_batch(items):
        speech.save(f"{sys.argv[2]}/{speech.custom_id}.wav")
samples, rate = timbre.read(sys.argv[1])
timbre.write(f"{sys.argv[2]}/clean.wav", timbre.enhance(samples, rate), 48000)
