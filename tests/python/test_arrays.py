"""Arrays in every shape and type, and streams of them."""

import array
import random

import numpy
import pytest
import timbre


def speech(length, channels=None, seed=1):
    noise = numpy.random.default_rng(seed).standard_normal(length if channels is None else (length, channels))
    return (0.1 * noise).astype("float32")


def test_a_stereo_array_keeps_its_shape_and_its_channels_apart(recording):
    samples, rate = recording
    both = numpy.stack([samples, numpy.zeros_like(samples)], axis=1)
    clean = timbre.enhance(both, rate)
    assert clean.shape == both.shape and clean.dtype == numpy.float32
    assert not clean[:, 1].any()
    # One measure of the level serves both channels: without it the left is as if it were alone.
    off = timbre.enhance(both, rate, level="off")
    assert numpy.array_equal(off[:, 0], timbre.enhance(samples, rate, level="off"))


def test_the_result_may_be_written_to_and_owns_its_memory():
    clean = timbre.enhance(speech(4800), 48000)
    clean *= 2
    assert clean.flags.writeable and clean.base is not None


@pytest.mark.parametrize(
    "kind, scale",
    [("int16", 32768), ("int32", 2147483648), ("float64", 1), ("float16", 1), (">i2", 32768), (">f8", 1), (">f4", 1)],
)
def test_types_mean_the_same_sound(kind, scale):
    samples = numpy.round(speech(4800) * 1000) / 1024  # exact in all of them
    given = (samples * scale).astype(kind)
    assert numpy.array_equal(timbre.resample(given, 48000, 48000), samples)


def test_bytes_with_an_offset_are_eight_bit_sound():
    given = numpy.array([0, 64, 128, 255], "uint8")
    assert timbre.resample(given, 8000, 8000).tolist() == [-1.0, -0.5, 0.0, 127 / 128]


@pytest.mark.parametrize(
    "given",
    [
        array.array("f", [0.0, 0.5, -0.5]),
        array.array("d", [0.0, 0.5, -0.5]),
        array.array("h", [0, 16384, -16384]),
        memoryview(array.array("f", [0.0, 0.5, -0.5])),
    ],
)
def test_arrays_that_are_not_numpys(given):
    assert timbre.resample(given, 8000, 8000).tolist() == [0.0, 0.5, -0.5]


def test_what_only_knows_how_to_become_an_array():
    class Tensor:
        def __array__(self, dtype=None, copy=None):
            return numpy.array([0.0, 0.5], "float32")

    assert timbre.resample(Tensor(), 8000, 8000).tolist() == [0.0, 0.5]


@pytest.mark.parametrize(
    "given, error, word",
    [
        ("text", TypeError, "str"),
        (None, TypeError, "NoneType"),
        (3.5, TypeError, "float"),
        ([0.1, 0.2], TypeError, "list"),
        (b"\0\0", TypeError, "bytes"),
        (numpy.zeros(4, "complex64"), TypeError, "complex64"),
        (numpy.zeros(4, "bool"), TypeError, "bool"),
        (numpy.zeros(4, "int64"), TypeError, "int64"),
        (numpy.zeros(4, object), TypeError, "object"),
        (numpy.zeros(4, "datetime64[s]"), TypeError, "array"),
        (numpy.zeros(4, "S3"), TypeError, "S3"),
        (numpy.zeros(4, [("a", "f4")]), TypeError, "a"),
        (numpy.zeros(()), ValueError, "dimensions"),
        (numpy.zeros((2, 3, 4)), ValueError, "dimensions"),
        (numpy.zeros((2, 100)), ValueError, "turned round"),
        (numpy.zeros((100, 9)), ValueError, "channels"),
        (numpy.zeros((100, 0)), ValueError, "channels"),
        (numpy.array([0, numpy.nan]), ValueError, "value 1"),
        (numpy.array([numpy.inf, 0]), ValueError, "value 0"),
        (numpy.array([0, 0, 1e300]), ValueError, "value 2"),
    ],
)
def test_what_is_no_audio_is_said(given, error, word):
    for call in (
        lambda: timbre.enhance(given, 48000),
        lambda: timbre.resample(given, 48000, 16000),
        lambda: timbre.Enhancer(48000).push(given),
    ):
        with pytest.raises(error, match=word):
            call()


@pytest.mark.parametrize(
    "rate, error",
    [
        (0, ValueError),
        (-1, ValueError),
        (3999, ValueError),
        (192001, ValueError),
        (1 << 70, ValueError),
        (48000.0, TypeError),
        ("48000", TypeError),
        (True, TypeError),
    ],
)
def test_rates(rate, error):
    for call in (
        lambda: timbre.enhance(speech(10), rate),
        lambda: timbre.resample(speech(10), 48000, rate),
        lambda: timbre.Enhancer(rate),
    ):
        with pytest.raises(error, match="rate"):
            call()


@pytest.mark.parametrize(
    "options",
    [
        {"attenuation_limit_db": -1},
        {"attenuation_limit_db": float("nan")},
        {"post_filter_beta": 2},
        {"level": "loud"},
        {"resampler": "best"},
    ],
)
def test_options_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        timbre.enhance(speech(10), 48000, **options)


def test_a_limit_of_zero_changes_nothing():
    samples = speech(9600)
    assert numpy.abs(timbre.enhance(samples, 48000, attenuation_limit_db=0) - samples).max() < 1e-5


def test_a_hundred_random_arrays():
    """Each works, with as many samples as its length says, or is refused with TypeError or ValueError."""
    chance = random.Random(7)
    kinds = [
        "float32",
        "float64",
        "float16",
        "int16",
        "int32",
        "uint8",
        ">f4",
        ">i2",
        "int8",
        "int64",
        "bool",
        "complex64",
    ]
    worked = refused = 0
    for number in range(100):
        kind = chance.choice(kinds)
        length = chance.choice([0, 1, 2, 479, 480, 481, chance.randrange(20000), chance.randrange(20000)])
        if number % 25 == 0:
            length = chance.randrange(480000)
        shape = chance.choice(
            [(length,), (length, chance.randrange(0, 10)), (chance.randrange(1, 9), min(length, 4000))]
        )
        data = (numpy.random.default_rng(number).standard_normal(shape) * 100).astype(kind)
        if kind.endswith(("f4", "float64", "float32", "float16")):
            data = (data / 1000).astype(kind)
        step = chance.choice([1, 1, 2, -1, 3])
        data = data[::step] if chance.random() < 0.5 else numpy.asfortranarray(data)[::step]
        rate, new_rate = chance.choice([4000, 8000, 16000, 44100, 48000]), chance.choice([8000, 22050, 48000])
        try:
            out = (
                timbre.resample(data, rate, new_rate)
                if number % 3
                else timbre.enhance(data, rate, output_rate=new_rate)
            )
        except (TypeError, ValueError) as error:
            assert str(error)
            refused += 1
            continue
        worked += 1
        assert out.dtype == numpy.float32 and out.ndim == data.ndim and numpy.isfinite(out).all()
        assert abs(len(out) - len(data) * new_rate / rate) <= 1 + new_rate / rate, (kind, data.shape, rate, new_rate)
    assert worked > 20 and refused > 20


def test_strides_do_not_change_the_sound():
    samples = speech(9600)
    wide = numpy.zeros((9600, 3), "float32")
    wide[:, 1] = samples
    assert numpy.array_equal(timbre.enhance(wide[:, 1], 48000), timbre.enhance(samples, 48000))
    assert numpy.array_equal(
        timbre.resample(samples[::-1], 48000, 16000), timbre.resample(samples[::-1].copy(), 48000, 16000)
    )


def test_a_stream_is_cut_as_one_likes():
    samples = speech(30000)
    with timbre.Enhancer(48000) as whole:
        expected = numpy.concatenate([whole.push(samples), whole.flush()])
    assert len(expected) == len(samples)
    for size in (1000, 480, 7777):
        with timbre.Enhancer(48000, low_latency=True) as enhancer:
            pieces = list(enhancer.iterate(samples[at : at + size] for at in range(0, len(samples), size)))
        assert len(pieces) > 1 and numpy.array_equal(numpy.concatenate(pieces), expected)


def test_a_stream_of_channels():
    samples = speech(20000, 3)
    with timbre.Enhancer(16000, channels=3, output_rate=16000) as enhancer:
        out = numpy.concatenate([enhancer.push(samples), enhancer.flush()])
        assert out.shape == samples.shape
    with timbre.Enhancer(16000, channels=2) as enhancer, pytest.raises(ValueError, match="2 channels"):
        enhancer.push(samples)


def test_a_stream_that_has_ended():
    enhancer = timbre.Enhancer(48000)
    assert len(enhancer.push(speech(0))) == 0
    assert isinstance(enhancer.local_snr, float)
    enhancer.flush()
    with pytest.raises(ValueError, match="flushed"):
        enhancer.push(speech(10))
    enhancer.close()
    enhancer.close()
    with pytest.raises(ValueError, match="closed"):
        enhancer.flush()


def test_without_numpy(python):
    """The same samples as memoryviews of floats."""
    out = python("""
import array, sys
sys.modules["numpy"] = None
import timbre
samples = array.array("f", [((i * 7919) % 2000 - 1000) / 5000 for i in range(9600)])
clean = timbre.enhance(samples, 48000)
assert isinstance(clean, memoryview) and clean.format == "f" and clean.shape == (9600,), clean
both = timbre.resample(memoryview(samples).cast("B").cast("f", (4800, 2)), 48000, 24000)
assert both.shape == (2400, 2), both.shape
empty = timbre.resample(array.array("f"), 48000, 24000)
assert empty.shape == (0,)
with timbre.Enhancer(48000) as enhancer:
    assert len(enhancer.push(samples)) + len(enhancer.flush()) == 9600
try:
    timbre.enhance([0.1, 0.2], 48000)
except TypeError as error:
    assert "array.array" in str(error)
else:
    raise AssertionError
print(array.array("f", clean).tobytes().hex())
""")
    samples = numpy.array([((i * 7919) % 2000 - 1000) / 5000 for i in range(9600)], "float32")
    assert numpy.array_equal(numpy.frombuffer(bytes.fromhex(out), "float32"), timbre.enhance(samples, 48000))
