"""enhance, resample and info on real and on bad files."""
import json
import math
import pathlib
import random
import struct
import unittest
import zlib

from support import (
    FAILED,
    GOLDEN,
    INPUT,
    INTERRUPTED,
    MODEL,
    OK,
    USAGE,
    Case,
    denoiser_clips,
    interrupt,
    json_lines,
    needs_denoiser,
    parse_wav,
    read_wav,
    run,
    snr,
    start,
    tone,
    write_wav,
)

DFN = denoiser_clips()


@needs_denoiser
class Enhance(Case):
    def golden(self, case, *options, kind="aligned"):
        out = self.folder / "out.wav"
        self.check(OK, "enhance", DFN / f"{case}.in.wav", "-o", out, "--encoding", "float", *options)
        rate, channels, samples = read_wav(out)
        self.assertEqual((rate, channels), (48000, 1))
        return samples, read_wav(DFN / f"{case}.{kind}.f32.wav")[2]

    def test_official_runtime_on_every_level(self):
        for level in ("", "generic", "avx2"):
            for case in ("fr_noise_snr5", "tts_en_odd"):
                out = self.folder / "out.wav"
                self.check(OK, "enhance", DFN / f"{case}.in.wav", "-o", out, "--encoding", "float",
                           env={"TIMBRE_CPU": level} if level else None)
                samples, expected = read_wav(out)[2], read_wav(DFN / f"{case}.aligned.f32.wav")[2]
                self.assertEqual(len(samples), len(expected))
                self.assertEqual(len(samples), len(read_wav(DFN / f"{case}.in.wav")[2]))
                self.assertGreaterEqual(snr(expected, samples), 95)

    def test_options_of_the_official_runtime(self):
        for options, kind in (
            (("--pf", "--no-compensate-delay"), "pf.raw"),
            (("-a", "12", "--no-compensate-delay"), "atten12.raw"),
            (("--no-compensate-delay",), "raw"),
        ):
            samples, expected = self.golden("fr_noise_snr5", *options, kind=kind)
            # The last 1440 samples of a stream were made of the silence behind its clip, which may be shorter here.
            count = min(len(samples), len(expected)) - 1440
            self.assertGreaterEqual(count, 48000)
            self.assertGreaterEqual(snr(expected[:count], samples[:count]), 95)

    def test_low_latency_gives_the_same_samples(self):
        block, _ = self.golden("tts_en_odd")
        frame, _ = self.golden("tts_en_odd", "--low-latency")
        self.assertGreaterEqual(snr(block, frame), 120)

    def test_no_limit_below_nothing_changes_nothing(self):
        samples, _ = self.golden("tts_en_odd", "-a", "0")
        self.assertGreaterEqual(snr(read_wav(DFN / "tts_en_odd.in.wav")[2], samples), 60)

    def test_quiet_speech_is_kept_like_any_other(self):
        """The example's recording, at the goldens' level and far below: what is kept is as much of it."""
        def decibel(samples):
            return 10 * math.log10(sum(s * s for s in samples) / len(samples) + 1e-30)

        clip = read_wav(DFN / "fr_noise_snr5.in.wav")[2]
        for encoding, quieter in (("s16", 0), ("float", 20), ("float", 45), ("float", -30)):
            source = self.folder / "quiet.wav"
            write_wav(source, [s * 10 ** (-quieter / 20) for s in clip], encoding=encoding)
            ways = {
                "file": (source,),
                "pipe": ("-",),
                "low latency": ("-", "--low-latency"),
                "off": (source, "--level", "off"),
            }
            kept = {}
            for way, options in ways.items():
                done = self.check(OK, "enhance", *options, "-o", "-", "--encoding", "float", stdin=source.read_bytes())
                kept[way] = parse_wav(done.stdout)[2]
            if quieter == 0:  # not one sample changes
                usual = kept
                self.assertEqual(kept["file"], kept["off"])
                self.assertEqual(kept["pipe"], kept["off"])
                continue
            for way in ("file", "pipe", "low latency"):
                difference = decibel(kept[way]) + quieter - decibel(usual["off"])
                self.assertLess(abs(difference), 3, (way, quieter, difference))
            if quieter == 45:
                self.assertLess(decibel(kept["off"]) + quieter - decibel(usual["off"]), -10)
        both = self.folder / "stereo.wav"
        write_wav(both, [s for v in clip for s in (v / 300, 0)], channels=2, encoding="float")
        done = self.check(OK, "enhance", both, "-o", "-", "--encoding", "float")
        left, right = (parse_wav(done.stdout)[2][channel::2] for channel in (0, 1))
        self.assertLess(abs(decibel(left) + 20 * math.log10(300) - decibel(usual["off"])), 3)
        self.assertEqual(set(right), {0})

    def test_samples_beyond_full_scale_are_counted_and_told(self):
        loud = self.folder / "loud.wav"
        write_wav(loud, [30 * s for s in read_wav(DFN / "fr_noise_snr5.in.wav")[2]], encoding="float")
        counts = {}
        for name, options in (("a.wav", ()), ("b.wav", ("--encoding", "float")), ("c.flac", ()), ("d.ogg", ())):
            done = self.check(OK, "enhance", loud, "-o", self.folder / name, "--json", *options)
            result, = json_lines(done.stdout)
            counts[name] = result["clipped"]
            self.assertEqual(len(result["warnings"]), int(result["clipped"] > 0))
            self.assertEqual(done.stderr.count("clipped"), int(result["clipped"] > 0), done.stderr)
            written, = json_lines(self.check(OK, "info", "--measure", "--json", self.folder / name).stdout)
            if name != "d.ogg":
                self.assertAlmostEqual(written["level"], result["level"], delta=0.02)
                self.assertAlmostEqual(written["loudness"], result["loudness"], delta=0.02)
        self.assertGreater(counts["a.wav"], 100)
        self.assertEqual(counts["b.wav"], 0)
        self.assertEqual(counts["a.wav"], counts["c.flac"])
        self.assertEqual(counts["a.wav"], counts["d.ogg"])
        # Resampling overshoots: a square wave at full scale.
        write_wav(self.folder / "square.wav", [1 if i // 50 % 2 else -1 for i in range(48000)], encoding="float")
        done = self.check(
            OK, "resample", self.folder / "square.wav", "-r", "44100", "-o", self.folder / "e.wav", "--json"
        )
        result, = json_lines(done.stdout)
        self.assertGreater(result["clipped"], 100)
        self.assertEqual(done.stderr.count("clipped"), 1)

    def test_pipes(self):
        source = DFN / "tts_en_odd.in.wav"
        self.check(OK, "enhance", source, "-o", self.folder / "a.wav")
        piped = self.check(OK, "enhance", "-", "-o", "-", stdin=source.read_bytes())
        self.assertEqual(parse_wav(piped.stdout), read_wav(self.folder / "a.wav"))

    def test_raw_pcm(self):
        source = DFN / "tts_en_odd.in.wav"
        self.check(OK, "enhance", source, "-o", self.folder / "a.wav")
        body = source.read_bytes()[44:]
        done = self.check(
            OK,
            "enhance",
            "-",
            "--raw",
            "--rate",
            "48000",
            "--channels",
            "1",
            "--encoding",
            "s16",
            "-o",
            "-",
            stdin=body,
        )
        self.assertEqual(done.stdout, (self.folder / "a.wav").read_bytes()[-len(body):])
        self.check(OK, "enhance", "-", "--raw", "--rate", "48000", "--raw-encoding", "s16", "--encoding", "float", "-o",
                   self.folder / "b.wav", stdin=body)
        self.assertEqual(len(read_wav(self.folder / "b.wav")[2]), len(body) // 2)

    def test_stereo_is_two_channels_enhanced_by_themselves(self):
        left = read_wav(DFN / "fr_noise_snr5.in.wav")[2][:96000]
        right = tone(2)
        mixed = [s for pair in zip(left, right) for s in pair]
        for name, samples, channels in (("left", left, 1), ("both", mixed, 2)):
            write_wav(self.folder / f"{name}.wav", samples, channels=channels)
            self.check(
                OK, "enhance", self.folder / f"{name}.wav", "-o", self.folder / f"{name}.out.wav", "--encoding", "float"
            )
        rate, channels, both = read_wav(self.folder / "both.out.wav")
        self.assertEqual((rate, channels, len(both)), (48000, 2, 192000))
        self.assertEqual(both[::2], read_wav(self.folder / "left.out.wav")[2])

    def test_other_rates_become_48000_or_what_is_asked(self):
        write_wav(self.folder / "in.wav", tone(1, 16000), 16000)
        done = self.check(OK, "enhance", self.folder / "in.wav", "-o", self.folder / "a.wav", "--json")
        result, = json_lines(done.stdout)
        self.assertEqual((result["sample_rate"], result["samples"], result["duration"]), (48000, 48000, 1.0))
        self.assertEqual(len(read_wav(self.folder / "a.wav")[2]), 48000)
        self.check(OK, "enhance", self.folder / "in.wav", "-o", self.folder / "b.wav", "--output-rate", "16000")
        self.assertEqual((read_wav(self.folder / "b.wav")[0], len(read_wav(self.folder / "b.wav")[2])), (16000, 16000))

    def test_several_inputs_go_on_and_the_worst_status_counts(self):
        good = [self.folder / f"good{i}.wav" for i in range(4)]
        for path in good:
            write_wav(path, tone(0.5))
        bad = self.folder / "bad.wav"
        bad.write_bytes(b"this is no audio" * 10)
        done = self.check(INPUT, "enhance", good[0], bad, good[1], self.folder / "absent.wav", *good[2:], "-o",
                          self.folder / "out", "--json")
        results = json_lines(done.stdout)
        self.assertEqual(len(results), 6)
        failed = {pathlib.Path(r["input"]).name: r["error"]["message"] for r in results if "error" in r}
        self.assertEqual(set(failed), {"bad.wav", "absent.wav"})
        self.assertEqual([f for f in self.files() if f.startswith("out/")],
                         [f"out/good{i}_enhanced.wav" for i in range(4)])
        self.assertEqual(len(done.stderr.splitlines()), 2, done.stderr)

    def test_names_in_a_folder(self):
        write_wav(self.folder / "voice.a.wav", tone(0.2))
        for options, name in (((), "voice.a_enhanced.wav"), (("--no-suffix",), "voice.a.wav"),
                              (("--format", "flac"), "voice.a_enhanced.flac")):
            self.check(OK, "enhance", self.folder / "voice.a.wav", "--output-dir", self.folder / "x/y", *options)
            self.assertIn(f"x/y/{name}", self.files())
        (self.folder / "again").mkdir()
        write_wav(self.folder / "again/voice.a.wav", tone(0.2))
        done = self.check(
            USAGE, "enhance", self.folder / "voice.a.wav", self.folder / "again/voice.a.wav", "-o", self.folder / "z"
        )
        self.assertIn("would both write", done.stderr)

    def test_never_replaces_the_input(self):
        path = self.folder / "voice.wav"
        write_wav(path, tone(0.2))
        before = path.read_bytes()
        for arguments in (
            ("-o", path),
            ("-o", self.folder, "--no-suffix"),
            ("-o", f"{self.folder}/../{self.folder.name}/voice.wav"),
        ):
            self.assertIn("would replace", self.check(USAGE, "enhance", path, *arguments).stderr)
        self.assertEqual(path.read_bytes(), before)

    def test_every_format_out(self):
        source = DFN / "tts_en_odd.in.wav"
        for ending in ("wav", "flac", "ogg", "opus", "mp3"):
            out = self.folder / f"out.{ending}"
            self.check(OK, "enhance", source, "-o", out)
            info, = json_lines(self.check(OK, "info", "--measure", "--json", out).stdout)
            self.assertEqual((info["sample_rate"], info["channels"]), (48000, 1))
            self.assertAlmostEqual(info["duration"], 2.0, delta=0.1)
            self.assertGreater(info["loudness"], -45)
        for encoding, size in (("s16", 2), ("s24", 3), ("float", 4)):
            self.check(OK, "enhance", source, "-o", self.folder / "e.wav", "--encoding", encoding)
            data = (self.folder / "e.wav").stat().st_size
            self.assertAlmostEqual(data, size * len(read_wav(source)[2]), delta=200)
        self.assertEqual(len(self.files()), 6)

    def test_plot_is_a_picture_of_both(self):
        plot = self.folder / "plot.png"
        self.check(OK, "enhance", DFN / "fr_noise_snr5.in.wav", "-o", self.folder / "a.wav", "--plot", plot)
        data = plot.read_bytes()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
        self.assertEqual((depth, colour), (8, 3))
        at, body = 8, b""
        while at < len(data):
            size, name = struct.unpack(">I4s", data[at:at + 8])
            if name == b"IDAT":
                body += data[at + 8:at + 8 + size]
            at += size + 12
        rows = zlib.decompress(body)
        self.assertEqual(len(rows), height * (width + 1))
        self.assertEqual({rows[y * (width + 1)] for y in range(height)}, {0}, "the test reads unfiltered rows only")
        levels = [rows[y * (width + 1) + 1:(y + 1) * (width + 1)] for y in range(height)]

        def brightness(top):
            cells = [levels[y][x] for y in range(top, top + 256) for x in range(80, 1070)]
            return sum(c for c in cells if c < 240) / len(cells)
        self.assertGreater(brightness(30), 1.2 * brightness(330), "before is noisier than after")
        self.assertLess(plot.stat().st_size, 400_000)

    def test_plots_of_several_inputs(self):
        for name in ("a", "b"):
            write_wav(self.folder / f"{name}.wav", tone(0.3))
        self.check(OK, "enhance", self.folder / "a.wav", self.folder / "b.wav", "-o", self.folder / "o", "--plot",
                   self.folder / "p")
        self.assertEqual([f for f in self.files() if f.endswith("png")], ["p/a.png", "p/b.png"])

    def test_length_limit(self):
        write_wav(self.folder / "a.wav", tone(2))
        done = self.check(INPUT, "enhance", self.folder / "a.wav", "-o", self.folder / "b.wav", "--max-seconds", "1")
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertEqual(self.files(), ["a.wav"])

    def test_where_it_cannot_write(self):
        write_wav(self.folder / "a.wav", tone(0.2))
        self.check(FAILED, "enhance", self.folder / "a.wav", "-o", self.folder / "absent/b.wav")
        self.check(FAILED, "enhance", self.folder / "a.wav", "-o", "/dev/full/x.wav")
        self.check(USAGE, "enhance", self.folder / "a.wav", "-o", self.folder / "b.xyz")
        self.assertEqual(self.files(), ["a.wav"])

    def test_quiet_is_quiet(self):
        write_wav(self.folder / "a.wav", tone(0.2))
        done = self.check(OK, "enhance", self.folder / "a.wav", "-o", self.folder / "b.wav", "-q")
        self.assertEqual((done.stdout, done.stderr), (b"", ""))


class Denoiser(Case):
    def test_missing_is_status_4(self):
        write_wav(self.folder / "a.wav", tone(0.1))
        done = self.check(MODEL, "enhance", self.folder / "a.wav", "-o", self.folder / "b.wav", "--denoiser",
                          self.folder / "absent.tar.gz")
        self.assertIn("absent.tar.gz", done.stderr)
        self.assertEqual(self.files(), ["a.wav"])

    def test_not_installed_says_how(self):
        write_wav(self.folder / "a.wav", tone(0.1))
        nowhere = {
            "TIMBRE_DENOISER": "",
            "XDG_CACHE_HOME": str(self.folder / "cache"),
            "XDG_DATA_HOME": str(self.folder / "data"),
            "HOME": str(self.folder / "home"),
            "XDG_DATA_DIRS": str(self.folder / "dirs"),
        }
        done = self.check(MODEL, "enhance", self.folder / "a.wav", "-o", self.folder / "b.wav", env=nowhere)
        self.assertRegex(done.stderr, "timbre pull dfn3|scripts/setup")

    def test_garbage_is_no_model(self):
        (self.folder / "bad.tar.gz").write_bytes(b"\x1f\x8b" + bytes(range(256)) * 4)
        write_wav(self.folder / "a.wav", tone(0.1))
        done = run(
            "enhance", self.folder / "a.wav", "-o", self.folder / "b.wav", "--denoiser", self.folder / "bad.tar.gz"
        )
        self.assertIn(done.returncode, (INPUT, MODEL))
        self.assertEqual(len(done.stderr.decode().splitlines()), 1)


class BadInput(Case):
    """Each kind of bad file: status 3, one line that names it, nothing left behind."""

    def bad_files(self):
        good = self.folder / "good.wav"
        write_wav(good, tone(0.5))
        data = good.read_bytes()
        good.unlink()
        head = data[:44]
        files = {
            "empty.wav": b"",
            "text.wav": b"RIFF is what a WAV begins with, but this is a letter.\n" * 4,
            "header-only.wav": head[:20],
            "truncated-header.wav": data[:30],
            "no-samples.wav": head[:40] + struct.pack("<I", 0),
            "huge-rate.wav": head[:24] + struct.pack("<I", 2147483647) + data[28:],
            "zero-rate.wav": head[:24] + struct.pack("<I", 0) + data[28:],
            "low-rate.wav": head[:24] + struct.pack("<I", 3999) + data[28:],
            "many-channels.wav": head[:22] + struct.pack("<H", 1024) + data[24:],
            "no-channels.wav": head[:22] + struct.pack("<H", 0) + data[24:],
            "random.flac": bytes(random.Random(1).randrange(256) for _ in range(4096)),
            "flac-cut.flac": b"fLaC" + bytes(20),
            "picture.png": b"\x89PNG\r\n\x1a\n" + bytes(200),
        }
        for name, content in files.items():
            (self.folder / name).write_bytes(content)
        for name, value in (("nan.wav", math.nan), ("infinity.wav", math.inf)):
            samples = tone(0.5)
            samples[10000] = value
            write_wav(self.folder / name, samples, encoding="float")
        return [*files, "nan.wav", "infinity.wav", "absent.wav"]

    def test_each_kind(self):
        names = self.bad_files()
        (self.folder / "folder.wav").mkdir()
        before = self.files()
        for name in [*names, "folder.wav"]:
            for command in (("info", "--measure", name), ("resample", name, "-r", "16000", "-o", "out.wav"),
                            ("enhance", name, "-o", "out.wav")):
                with self.subTest(command=command):
                    if command[0] == "info" and name in ("no-samples.wav",):
                        continue
                    done = self.check(INPUT, *command, cwd=self.folder)
                    self.assertEqual(len(done.stderr.splitlines()), 1, done.stderr)
                    self.assertIn(name, done.stderr)
        self.assertEqual(self.files(), before)

    def test_what_leaves_nothing_at_another_rate(self):
        write_wav(self.folder / "one.wav", [0.5])
        for command in (("resample", "one.wav", "-r", "16k"), ("enhance", "one.wav", "--output-rate", "16k")):
            for output in ("out.wav", "out.flac"):
                with self.subTest(command=command, output=output):
                    done = self.check(INPUT, *command, "-o", output, "--json", cwd=self.folder)
                    result, = json_lines(done.stdout)
                    self.assertEqual((set(result), result["error"]["type"]), ({"input", "error"}, "format"))
                    self.assertEqual(self.files(), ["one.wav"])
        self.check(OK, "resample", "one.wav", "-r", "48k", "-o", "same.wav", cwd=self.folder)

    def test_standard_input_is_named(self):
        self.assertIn("standard input", self.check(INPUT, "info", "-", stdin=b"no audio at all").stderr)

    def test_json_reports_it_too(self):
        done = self.check(INPUT, "info", "--json", self.folder / "absent.wav")
        result, = json_lines(done.stdout)
        self.assertEqual(set(result), {"input", "error"})
        self.assertEqual(set(result["error"]), {"type", "message"})


class Resample(Case):
    def test_lengths_and_names(self):
        write_wav(self.folder / "in.wav", tone(0.5, 44100), 44100)
        for kind in ("soxr", "polyphase", "sinc", "auto"):
            for rate in (8000, 16000, 48000, 96000):
                done = self.check(
                    OK,
                    "resample",
                    self.folder / "in.wav",
                    "-r",
                    rate,
                    "-o",
                    self.folder / "out.wav",
                    "--resampler",
                    kind,
                    "--json",
                )
                result, = json_lines(done.stdout)
                self.assertEqual(result["resampler"], "soxr" if kind == "auto" else kind)
                got_rate, channels, samples = read_wav(self.folder / "out.wav")
                self.assertEqual((got_rate, channels, len(samples)), (rate, 1, result["samples"]))
                self.assertAlmostEqual(len(samples), 0.5 * rate, delta=1.01)

    def test_equal_rates_pass_bit_for_bit(self):
        rng = random.Random(2)
        write_wav(self.folder / "in.wav", [rng.uniform(-1, 1) for _ in range(5000)], 22050, encoding="float")
        done = self.check(
            OK,
            "resample",
            self.folder / "in.wav",
            "-r",
            "22050",
            "-o",
            self.folder / "out.wav",
            "--encoding",
            "float",
            "--json",
        )
        self.assertEqual(json_lines(done.stdout)[0]["resampler"], "none")
        self.assertEqual(read_wav(self.folder / "in.wav"), read_wav(self.folder / "out.wav"))

    def test_channels_are_kept(self):
        left, right = tone(0.3, 16000), tone(0.3, 16000, 330)
        write_wav(self.folder / "in.wav", [s for pair in zip(left, right) for s in pair], 16000, 2)
        write_wav(self.folder / "right.wav", right, 16000)
        for name in ("in", "right"):
            self.check(
                OK, "resample", self.folder / f"{name}.wav", "-r", "24000", "-o", self.folder / f"{name}.out.wav"
            )
        rate, channels, samples = read_wav(self.folder / "in.out.wav")
        self.assertEqual((rate, channels, len(samples)), (24000, 2, 14400))
        self.assertEqual(samples[1::2], read_wav(self.folder / "right.out.wav")[2])

    def test_goldens(self):
        manifest = GOLDEN / "resample"
        cases = sorted(manifest.glob("speech_*.in.wav"))
        if not cases:
            self.skipTest("no goldens of the resamplers")
        for source in cases:
            rate = int(source.name.split("_")[2].split(".")[0])
            for kind, name, limit in (("soxr", "soxr", 1e-6), ("polyphase", "poly", 1e-6), ("sinc", "sinc", 2e-5)):
                expected = read_wav(str(source).replace(".in.", f".{name}."))[2]
                self.check(
                    OK,
                    "resample",
                    source,
                    "-r",
                    rate,
                    "--resampler",
                    kind,
                    "--encoding",
                    "float",
                    "-o",
                    self.folder / "out.wav",
                )
                samples = read_wav(self.folder / "out.wav")[2]
                self.assertEqual(len(samples), len(expected))
                self.assertLessEqual(max(abs(a - b) for a, b in zip(samples, expected)), limit)

    def test_raw_through_pipes(self):
        write_wav(self.folder / "in.wav", tone(0.2, 16000), 16000)
        self.check(OK, "resample", self.folder / "in.wav", "-r", "24000", "-o", self.folder / "out.wav")
        done = self.check(OK, "resample", "-", "--raw", "--input-rate", "16000", "-r", "24000", "-o", "-",
                          stdin=(self.folder / "in.wav").read_bytes()[44:])
        self.assertEqual(done.stdout, (self.folder / "out.wav").read_bytes()[-len(done.stdout):])
        self.assertEqual(len(done.stdout), 2 * 4800)

    def test_never_replaces_the_input(self):
        write_wav(self.folder / "in.wav", tone(0.1))
        self.check(USAGE, "resample", self.folder / "in.wav", "-r", "24000", "-o", self.folder / "in.wav")


class Info(Case):
    def test_fields(self):
        write_wav(self.folder / "a.wav", tone(1.5, 44100), 44100)
        result, = json_lines(self.check(OK, "info", "--json", self.folder / "a.wav").stdout)
        self.assertEqual(
            (result["sample_rate"], result["channels"], result["samples"], result["duration"]), (44100, 1, 66150, 1.5)
        )
        self.assertIn("WAV", result["format"])
        self.assertRegex(
            self.check(OK, "info", self.folder / "a.wav").stdout.decode(), r"44100 Hz, 1 channel, 1\.500 s"
        )

    def test_loudness_of_the_reference_tone(self):
        """BS.1770: a 997 Hz sine at 0 dB of full scale in one channel is -3.01 LUFS, at every rate."""
        for rate in (16000, 44100, 48000):
            write_wav(self.folder / "sine.wav", [math.sin(2 * math.pi * 997 * i / rate) for i in range(2 * rate)], rate,
                      encoding="float")
            result, = json_lines(self.check(OK, "info", "--measure", "--json", self.folder / "sine.wav").stdout)
            self.assertAlmostEqual(result["loudness"], -3.01, delta=0.05)
            self.assertAlmostEqual(result["level"], -3.01, delta=0.01)
            self.assertAlmostEqual(result["peak"], 0, delta=0.01)

    def test_an_interrupted_measurement_is_no_result(self):
        write_wav(self.folder / "a.wav", tone(1))
        data = (self.folder / "a.wav").read_bytes()
        head = data[:4] + b"\xff" * 4 + data[8:40] + b"\xff" * 4
        for options in ((), ("--json",)):
            with self.subTest(options=options):
                process = start("info", "--measure", *options, "-")
                # More than the pipe holds: the rest is taken once the command is there and reads.
                process.stdin.write(head + 4 * data[44:])
                process.stdin.flush()
                status, out, _ = interrupt(process)
                self.assertEqual((status, out), (INTERRUPTED, b""))

    def test_silence_has_no_loudness(self):
        write_wav(self.folder / "a.wav", [0.0] * 48000)
        result, = json_lines(self.check(OK, "info", "--measure", "--json", self.folder / "a.wav").stdout)
        self.assertEqual((result["loudness"], result["level"], result["peak"]), (None, None, None))


if __name__ == "__main__":
    unittest.main()
