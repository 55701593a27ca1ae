"""The demo recording at five levels: the same speech comes of it, wherever it goes in."""

import array
import math
import pathlib
import struct
import subprocess

import pytest
from support import API, PATIENCE, TIMBRE, data_uri, wav_samples

ROOT = pathlib.Path(__file__).parents[2]
GAINS = (0, -10, -20, -30, -40)
NEAR = 3  # dB


def float_wav(samples, rate=48000):
    data = array.array("f", samples).tobytes()
    return (
        b"RIFF"
        + struct.pack("<I", 36 + len(data))
        + b"WAVEfmt "
        + struct.pack("<IHHIIHH", 16, 3, 1, rate, rate * 4, 4, 32)
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )


def floats(wav):
    data = wav_samples(wav)
    return array.array("f", data[: len(data) // 4 * 4])


def loud_windows(samples, size=9600):
    """(number, power in dB) of the windows of 0.2 s in which somebody speaks: those within 10 dB of the loudest."""
    powers = [
        10 * math.log10(sum(v * v for v in samples[at : at + size]) / size + 1e-20)
        for at in range(0, len(samples) - size, size)
    ]
    return {i: power for i, power in enumerate(powers) if power > max(powers) - 10}


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """gain in dB -> the recording with it, as a WAV file of floats"""
    plain = tmp_path_factory.mktemp("levels") / "plain.wav"
    subprocess.run(
        [TIMBRE, "resample", ROOT / "examples/audio/noisy.flac", "-r", "48000", "-o", plain, "--encoding", "float"],
        check=True,
        timeout=PATIENCE,
    )
    samples = floats(plain.read_bytes())
    return {gain: float_wav([v * 10 ** (gain / 20) for v in samples]) for gain in GAINS}


def command(audio):
    """Through a pipe: as a stream, whose level nobody knows before its end."""
    done = subprocess.run(
        [TIMBRE, "enhance", "-", "-o", "-", "--encoding", "float"],
        input=audio,
        capture_output=True,
        check=True,
        timeout=PATIENCE,
    )
    return done.stdout


def whole(audio, tmp_path):
    source, result = tmp_path / "in.wav", tmp_path / "out.wav"
    source.write_bytes(audio)
    subprocess.run([TIMBRE, "enhance", source, "-o", result, "--encoding", "float"], check=True, timeout=PATIENCE)
    return result.read_bytes()


@pytest.mark.parametrize("way", ["file", "stream", "http"])
def test_cleaned_speech(server, recordings, way, tmp_path):
    def clean(gain):
        if way == "http":
            answer = server.post(
                API + "/enhance?encoding=float", body=recordings[gain], headers={"Content-Type": "audio/wav"}
            )
            assert answer.status == 200, answer
            return answer.body
        return whole(recordings[gain], tmp_path) if way == "file" else command(recordings[gain])

    usual = loud_windows(floats(clean(0)))
    assert len(usual) >= 4
    for gain in GAINS[1:]:
        now = floats(clean(gain))
        for number, power in usual.items():
            here = now[number * 9600 : (number + 1) * 9600]
            level = 10 * math.log10(sum(v * v for v in here) / 9600 + 1e-20) - gain
            assert abs(level - power) < NEAR, (way, gain, number, level, power)


def test_reference(server, recordings):
    """What was measured of it after cleaning, inline, as a file and as a stored voice."""

    def ways(gain):
        yield server.post(
            API + "/voice-clone-enhanced", {"text": "Hello.", "ref_audio": data_uri(recordings[gain])}
        ).json()["items"][0]
        yield server.post(
            API + "/voice-clone-enhanced", {"text": "Hello.", "ref_audio": server.upload(recordings[gain])}
        ).json()["items"][0]
        answer = server.post(API + "/voices", form={"name": f"at{-gain}", "ref_audio": ("a.wav", recordings[gain])})
        assert answer.status == 201, answer
        yield answer.json()

    usual = next(ways(0))["reference"]
    assert usual["speech"] > 1
    for gain in GAINS:
        for result in ways(gain):
            reference = result["reference"]
            # Seconds of speech and the distance to the noise are measured after cleaning.
            assert abs(reference["speech"] - usual["speech"]) < 0.1, (gain, reference, usual)
            assert abs(reference["snr_clean"] - usual["snr_clean"]) < NEAR, (gain, reference, usual)
            assert abs(reference["noise_clean"] - gain - usual["noise_clean"]) < NEAR, (gain, reference, usual)


def test_level_off(server, recordings):
    """The field is there for those who want the network's own hearing: quiet speech is noise to it."""
    fields = {"text": "Hello.", "ref_audio": data_uri(recordings[-40])}
    auto = server.post(API + "/voice-clone-enhanced", {**fields, "level": "auto"})
    off = server.post(API + "/voice-clone-enhanced", {**fields, "level": "off"})
    assert auto.status == 200, auto
    assert off.status == 400 and "too little speech" in off.detail, off
    answer = server.post(API + "/voice-clone-enhanced", {**fields, "level": "loud"})
    assert answer.status == 400 and "level" in answer.detail and "auto, off" in answer.detail, answer
    # It is a field of what cleans, and of nothing else.
    assert server.post(API + "/voice-clone", {**fields, "level": "off"}).status == 400
    item = server.wait_job(server.job([{**fields, "level": "off"}, {**fields, "level": None}]))["items"]
    assert [i["state"] for i in item] == ["failed", "done"], item
