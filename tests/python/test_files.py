"""Files: the same samples as the command's."""

import json
import os
import shutil

import numpy
import pytest
import timbre
from conftest import NOISY


@pytest.mark.parametrize(
    "options, arguments",
    [
        ({}, []),
        ({"attenuation_limit_db": 12.0, "post_filter_beta": 0.02}, ["--atten-lim-db", 12, "--pf"]),
        ({"output_rate": 16000, "level": "off"}, ["--output-rate", 16000, "--level", "off"]),
    ],
)
def test_enhance_is_the_commands(tmp_path, command, recording, options, arguments):
    command("enhance", NOISY, "-o", tmp_path / "command.wav", "--encoding", "float", *arguments)
    expected, rate = timbre.read(tmp_path / "command.wav")
    clean = timbre.enhance(*recording, **options)
    assert numpy.array_equal(clean, expected) and rate == options.get("output_rate", 48000)
    info = timbre.enhance_file(NOISY, tmp_path / "python.wav", encoding="float", **options)
    assert (tmp_path / "python.wav").read_bytes() == (tmp_path / "command.wav").read_bytes()
    assert (info.rate, info.channels, info.length, info.clipped, info.warnings) == (rate, 1, len(expected), 0, [])
    assert info.duration == pytest.approx(3.0)


@pytest.mark.parametrize("resampler", ["auto", "soxr", "polyphase", "sinc"])
def test_resample_is_the_commands(tmp_path, command, recording, resampler):
    command(
        "resample", NOISY, "-r", 22050, "--resampler", resampler, "--encoding", "float", "-o", tmp_path / "command.wav"
    )
    expected, rate = timbre.read(tmp_path / "command.wav")
    assert numpy.array_equal(timbre.resample(*recording, 22050, resampler=resampler), expected)
    info = timbre.resample_file(NOISY, tmp_path / "python.wav", 22050, resampler=resampler, encoding="float")
    assert (tmp_path / "python.wav").read_bytes() == (tmp_path / "command.wav").read_bytes()
    assert info.length == len(expected) and info.rate == rate == 22050


def test_formats(tmp_path, recording):
    samples, rate = recording
    for name in ("a.flac", "a.wav", "a.ogg", "a.opus", "a.mp3"):
        assert timbre.write(tmp_path / name, samples, rate) == 0
        again, its_rate = timbre.read(tmp_path / name)
        assert its_rate == rate and abs(len(again) - len(samples)) < 3000
        again, its_rate = timbre.read((tmp_path / name).read_bytes())
        assert its_rate == rate
    assert timbre.write(tmp_path / "loud.wav", numpy.array([0, 2, -3], "float32"), 8000) == 2
    timbre.write(tmp_path / "float.bin", samples, rate, format="wav", encoding="float")
    assert numpy.array_equal(timbre.read(tmp_path / "float.bin")[0], samples)


def test_errors_say_what_is_wrong(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent.wav") as caught:
        timbre.enhance_file(tmp_path / "absent.wav", tmp_path / "out.wav")
    assert isinstance(caught.value, timbre.FileError) and caught.value.status == "io" and caught.value.errno == 2
    (tmp_path / "text.wav").write_text("this is no audio, although it is long enough to look at")
    for call in (
        lambda: timbre.read(tmp_path / "text.wav"),
        lambda: timbre.enhance_file(tmp_path / "text.wav", tmp_path / "x.wav"),
        lambda: timbre.resample_file(tmp_path / "text.wav", tmp_path / "x.wav", 8000),
    ):
        with pytest.raises(timbre.FormatError) as wrong:
            call()
        assert (
            wrong.value.status == "format" and "text.wav" in str(wrong.value) and "text.wav" not in wrong.value.reason
        )
    for options in ({"format": "m4b"}, {"encoding": "s8"}):
        with pytest.raises(ValueError, match=next(iter(options))):
            timbre.enhance_file(NOISY, tmp_path / "out.wav", **options)
    with pytest.raises(timbre.LimitError):
        timbre.enhance_file(NOISY, tmp_path / "out.wav", max_seconds=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["text.wav"]


def test_names_that_are_no_utf8(tmp_path, recording):
    name = str(tmp_path).encode() + b"/\xff.wav"
    timbre.write(name, *recording)
    assert timbre.read(os.fsdecode(name))[1] == 48000
    assert timbre.enhance_file(name, name + b".flac").length == len(recording[0])


def test_warnings_and_salvage(tmp_path):
    whole = NOISY.read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(timbre.FormatError):
        timbre.enhance_file(tmp_path / "cut.flac", tmp_path / "out.wav")
    info = timbre.enhance_file(tmp_path / "cut.flac", tmp_path / "out.wav", salvage=True)
    assert 0 < info.duration < 3 and info.warnings


def test_the_command_of_the_package(python, command):
    """Without a command inside, python -m timbre is the one in PATH."""
    from conftest import TIMBRE

    folder = os.path.dirname(TIMBRE)
    program = "import runpy, sys; sys.argv[1:] = ['info', '--json', %r]; "
    program += "runpy.run_module('timbre', run_name='__main__')"
    out = python(program % str(NOISY), PATH=f"{folder}:{os.environ['PATH']}")
    assert json.loads(out)["rate" if "rate" in json.loads(out) else "sample_rate"] == 48000
    assert shutil.which("timbre", path=folder)
