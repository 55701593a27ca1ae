"""What recordings are read, what is said of them, and what of them survives."""
import json
import os
import shutil
import struct
import subprocess
import unittest

from support import (GOLDEN, INPUT, MODEL, OK, TIMBRE, USAGE, Case, environment, json_lines, needs_denoiser, parse_wav,
                     read_wav, tone, write_wav)

needs_ffmpeg = unittest.skipUnless(shutil.which("ffmpeg"), "ffmpeg is not installed")


def chunk(name, data):
    return name + struct.pack("<I", len(data)) + data + b"\0" * (len(data) & 1)


def chunks_of(data):
    found, at = {}, 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        found.setdefault(name, []).append(data[at + 8:at + 8 + size])
        at += 8 + size + (size & 1)
    return found


class Recordings(Case):
    def wav(self, name="in.wav", seconds=1, rate=48000, channels=1):
        path = self.folder / name
        write_wav(path, [s for s in tone(seconds, rate) for _ in range(channels)], rate=rate, channels=channels)
        return path

    def test_plain_head(self):
        source = self.wav()
        self.check(OK, "resample", source, "-r", "24000", "-o", self.folder / "out.wav")
        data = (self.folder / "out.wav").read_bytes()
        self.assertEqual(data[:4] + data[8:16] + data[36:40], b"RIFFWAVEfmt data")
        self.assertEqual(struct.unpack_from("<I", data, 4)[0], len(data) - 8)
        self.assertEqual(struct.unpack_from("<I", data, 40)[0], len(data) - 44)

    def test_salvage(self):
        source = self.wav()
        cut = self.folder / "cut.wav"
        cut.write_bytes(source.read_bytes()[:50044])
        refused = self.check(INPUT, "resample", cut, "-r", "24000", "-o", self.folder / "out.wav")
        self.assertIn("promises 96000 bytes of audio and has 50000", refused.stderr)
        self.assertEqual(self.files(), ["cut.wav", "in.wav"])
        self.check(INPUT, "info", cut)
        for command in (("resample", cut, "-r", "24000", "-o", self.folder / "out.wav"), ("info", cut)):
            done = self.check(OK, *command, "--salvage", "--json")
            warnings = json_lines(done.stdout)[0]["warnings"]
            self.assertEqual(warnings, ["is cut short: it promises 96000 bytes of audio and has 50000"])
            self.assertIn(warnings[0], done.stderr)
        self.assertEqual(len(read_wav(self.folder / "out.wav")[2]), 12500)
        self.assertNotIn("warnings", json_lines(self.check(OK, "info", source, "--json").stdout)[0])

    @needs_denoiser
    def test_names_that_are_no_text(self):
        """A file's name is bytes: what is not UTF-8 of it is U+FFFD in JSON, and never the end of the output."""
        name = os.fsencode(self.folder) + b"/\xff\xfea\xc3.wav"
        other, voice = (name.replace(b"a\xc3.wav", end) for end in (b"b.wav", b"c.tmbvoice"))
        os.rename(self.wav(), name)
        commands = (
            (OK, "info", name),
            (OK, "info", "--measure", name),
            (INPUT, "info", "--speech", name),
            (OK, "enhance", name, "-o", other),
            (OK, "resample", name, "-r", "24000", "-o", other),
            (INPUT, "info", b"\xff.wav"),
            (INPUT, "enhance", b"\xff.wav", "-o", other),
            (INPUT, "voice", "show", voice),
            (MODEL, "verify", b"/\xff"),
            (MODEL, "models", b"/\xff"),
            (MODEL, "doctor", "--model", b"/\xff"),
        )
        for status, *words in commands:
            done = subprocess.run([TIMBRE, *words, "--json"], capture_output=True, env=environment(), timeout=240)
            with self.subTest(words=words):
                self.assertEqual(done.returncode, status, done.stderr)
                lines = json_lines(done.stdout)  # UTF-8, and JSON
                self.assertTrue(lines)
                self.assertIn("\ufffd", json.dumps(lines, ensure_ascii=False))

    def test_nothing_from_a_file_steers_the_terminal(self):
        """Names and texts are shown with their control characters spelled out, on both outputs."""
        name = os.fsencode(self.folder) + "/a\033]0;x\007\x9b\u202eb".encode()
        os.rename(self.wav(seconds=4), name + b".wav")
        with open(name + b".txt", "wb") as file:
            file.write("Words \033[31m\x7f\x9b\u2066.\n".encode())
        broken = name + b"\n\xff.wav"
        with open(broken, "wb") as file:
            file.write(b"RIFF\0\0\0\0WAVEnone\033[2J\n")
        voices = {"TIMBRE_VOICES": str(self.folder)}
        commands = (
            (OK, "info", "-v", name + b".wav"),
            (OK, "info", "--json", name + b".wav"),
            (OK, "voice", "list"),
            (OK, "voice", "list", "--json"),
            (OK, "voice", "show", os.path.basename(name)),
            (OK, "voice", "show", os.path.basename(name), "--json"),
            (OK, "resample", "-v", name + b".wav", "-r", "24000", "-o", name + b".flac"),
            (OK, "voice", "rm", os.path.basename(name), "-v"),
            (INPUT, "info", broken),
            (INPUT, "info", name + b"\n"),
            (INPUT, "resample", broken, "-r", "24000", "-o", name + b".ogg"),
            (INPUT, "voice", "show", broken),
            (USAGE, "clone", b"\033[2J", "--text", "x"),
            (USAGE, b"\033[2J"),
            (MODEL, "verify", b"/\033[2J"),
        )
        for status, *words in commands:
            done = subprocess.run([TIMBRE, *words], capture_output=True, env=environment(**voices), timeout=240)
            with self.subTest(words=words):
                self.assertEqual(done.returncode, status, done.stderr)
                shown = (done.stdout + done.stderr).decode()  # UTF-8, whatever the names are
                self.assertTrue(shown)
                self.assertNotRegex(shown, "[\0-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
                if "--json" in words:
                    json_lines(done.stdout)
                if words == ["voice", "list"]:
                    self.assertIn(r"/a\u001b]0;x\u0007\u009b\u202eb.wav", shown)

    def test_input_is_never_replaced(self):
        source = self.wav()
        before = source.read_bytes()
        with open(source, "rb") as stdin:
            done = subprocess.run([TIMBRE, "resample", "-", "-r", "24000", "-o", str(source)], stdin=stdin,
                                  capture_output=True, env=environment())
        self.assertEqual((done.returncode, source.read_bytes()), (USAGE, before))
        descriptor = os.open(source, os.O_RDWR)
        done = subprocess.run([TIMBRE, "resample", str(source), "-r", "24000", "-o", "-"], stdout=descriptor,
                              stderr=subprocess.PIPE, env=environment())
        os.close(descriptor)
        self.assertEqual((done.returncode, source.read_bytes()), (USAGE, before))
        self.assertIn(b"would replace", done.stderr)

    def test_standard_output_that_is_a_file_gets_its_lengths(self):
        source = self.wav()
        for encoding in ("s16", "float"):
            self.check(OK, "resample", source, "-r", "24000", "-o", self.folder / "named.wav", "--encoding", encoding)
            with open(self.folder / "out.wav", "wb") as out:
                out.write(b"before")
                out.flush()
                done = subprocess.run(
                    [TIMBRE, "resample", str(source), "-r", "24000", "-o", "-", "--encoding", encoding],
                    stdout=out,
                    stderr=subprocess.PIPE,
                    env=environment(),
                )
                self.assertEqual(done.returncode, OK)
                os.write(out.fileno(), b"behind")
            self.assertEqual((self.folder / "out.wav").read_bytes(),
                             b"before" + (self.folder / "named.wav").read_bytes() + b"behind")
        # What is only appended to cannot be finished: the lengths stay open.
        (self.folder / "out.wav").write_bytes(b"")
        with open(self.folder / "out.wav", "ab") as out:
            self.assertEqual(subprocess.run([TIMBRE, "resample", str(source), "-r", "24000", "-o", "-"], stdout=out,
                                            stderr=subprocess.PIPE, env=environment()).returncode, OK)
        data = (self.folder / "out.wav").read_bytes()
        self.assertEqual(data[4:8], b"\xff" * 4)
        self.assertEqual(len(parse_wav(data)[2]), 24000)

    def test_names_of_pipes_and_devices(self):
        """Standard output by its other names; a pipe or device without an ending gets WAV, as standard output does."""
        source = self.wav()
        plain = self.check(OK, "resample", source, "-r", "24000", "-o", "-").stdout
        for name in ("/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            self.assertEqual(self.check(OK, "resample", source, "-r", "24000", "-o", name).stdout, plain)
        self.assertIn("both want standard output",
                      self.check(USAGE, "resample", source, "-r", "24000", "-o", "/dev/stdout", "--json").stderr)
        self.check(OK, "resample", source, "-r", "24000", "-o", "/dev/null")
        reader, writer = os.pipe()
        done = subprocess.run([TIMBRE, "resample", str(source), "-r", "8000", "-o", f"/dev/fd/{writer}"],
                              pass_fds=[writer], stderr=subprocess.PIPE, env=environment())
        os.close(writer)
        with open(reader, "rb") as pipe:
            data = pipe.read()
        self.assertEqual(done.returncode, OK, done.stderr)
        self.assertEqual(len(parse_wav(data)[2]), 8000)

    def test_loudspeakers(self):
        source = self.wav(channels=6)
        body = source.read_bytes()[44:]
        head = struct.pack("<HHIIHHHHIH14s", 0xFFFE, 6, 48000, 48000 * 12, 12, 16, 22, 16, 0x60F, 1,
                           bytes.fromhex("000000001000800000aa00389b71"))
        data = b"WAVE" + chunk(b"fmt ", head) + chunk(b"data", body)
        source.write_bytes(chunk(b"RIFF", data))
        self.check(OK, "resample", source, "-r", "24000", "-o", self.folder / "out.wav")
        out = chunks_of((self.folder / "out.wav").read_bytes())[b"fmt "][0]
        self.assertEqual(struct.unpack_from("<I", out, 20)[0], 0x60F)
        for ending in ("ogg", "opus"):
            self.check(OK, "resample", source, "-r", "24000", "-o", self.folder / f"out.{ending}")
            self.check(OK, "resample", self.folder / f"out.{ending}", "-r", "48000", "-o", self.folder / "out.wav")
            out = chunks_of((self.folder / "out.wav").read_bytes())[b"fmt "][0]
            self.assertEqual(struct.unpack_from("<I", out, 20)[0], 0x3F, ending)

    def test_tags_survive(self):
        body = self.wav().read_bytes()[44:]
        info = (
            b"INFO" + chunk(b"INAM", "Märchen\0".encode()) + chunk(b"IART", b"Somebody\0") + chunk(b"ICMT", b"noisy\0")
        )
        bext = (
            b"a description".ljust(256, b"\0")
            + b"someone".ljust(32, b"\0")
            + b"ref".ljust(32, b"\0")
            + b"2026-11-3012:00:00"
            + struct.pack("<QH", 96001, 2)
            + bytes(64)
            + struct.pack("<5h", -2300, 1, 2, 3, 4)
            + bytes(180)
        )
        cues = struct.pack("<I", 2) + struct.pack("<II4sIII", 1, 0, b"data", 0, 0, 4800) + \
            struct.pack("<II4sIII", 2, 0, b"data", 0, 0, 47999)
        labels = b"adtl" + chunk(b"labl", struct.pack("<I", 2) + b"the end\0")
        source = self.folder / "tagged.wav"
        source.write_bytes(
            chunk(
                b"RIFF",
                b"WAVE"
                + chunk(b"bext", bext)
                + chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 48000, 96000, 2, 16))
                + chunk(b"data", body)
                + chunk(b"LIST", info)
                + chunk(b"cue ", cues)
                + chunk(b"LIST", labels),
            )
        )
        self.check(OK, "resample", source, "-r", "24000", "-o", self.folder / "out.wav")
        piped = self.check(OK, "resample", source, "-r", "24000", "-o", "-").stdout
        for data in ((self.folder / "out.wav").read_bytes(), piped):
            found = chunks_of(data)
            self.assertIn("Märchen\0".encode(), found[b"LIST"][0])
            self.assertIn(b"Somebody\0", found[b"LIST"][0])
            self.assertIn(struct.pack("<I", 2) + b"the end\0", found[b"LIST"][1])
            self.assertEqual(found[b"bext"][0][:13], b"a description")
            # The time is in samples: half as many, rounded. Loudness is no longer that of the samples.
            self.assertEqual(struct.unpack_from("<QH", found[b"bext"][0], 338), (48001, 1))
            self.assertEqual(found[b"bext"][0][412:422], bytes(10))
            self.assertEqual(
                [struct.unpack_from("<I", found[b"cue "][0], 24 + 24 * i)[0] for i in range(2)], [2400, 24000]
            )
        # By way of the other containers, as far as these have a place.
        for ending in ("flac", "ogg", "opus", "mp3"):
            self.check(OK, "resample", source, "-r", "24000", "-o", self.folder / f"out.{ending}")
            self.check(OK, "resample", self.folder / f"out.{ending}", "-r", "48000", "-o", self.folder / "again.wav")
            texts = chunks_of((self.folder / "again.wav").read_bytes())[b"LIST"][0]
            self.assertIn("Märchen".encode(), texts, ending)
            self.assertIn(b"Somebody", texts, ending)

    @needs_ffmpeg
    def test_ffmpeg(self):
        source = self.wav()
        m4a = self.folder / "in.m4a"
        subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", "-i", source, m4a], check=True)
        self.check(OK, "resample", m4a, "-r", "24000", "-o", self.folder / "out.wav")
        self.assertAlmostEqual(len(read_wav(self.folder / "out.wav")[2]), 24000, delta=1100)
        # From a pipe too, whose index is at its end.
        self.check(OK, "resample", "-", "-r", "24000", "-o", self.folder / "piped.wav", stdin=m4a.read_bytes())
        self.assertEqual((self.folder / "piped.wav").read_bytes(), (self.folder / "out.wav").read_bytes())
        # Nobody could go back to write the size of what ffmpeg writes into a pipe.
        asf = subprocess.run(["ffmpeg", "-nostdin", "-loglevel", "error", "-i", source, "-f", "asf", "-"],
                             check=True, capture_output=True).stdout
        self.check(OK, "resample", "-", "-r", "24000", "-o", self.folder / "asf.wav", stdin=asf)
        self.assertAlmostEqual(len(read_wav(self.folder / "asf.wav")[2]), 24000, delta=2400)
        refused = self.check(INPUT, "resample", m4a, "-r", "24000", "-o", self.folder / "no.wav", "--no-ffmpeg")
        self.assertIn("that is turned off", refused.stderr)
        self.check(OK, "resample", source, "-r", "24000", "-o", self.folder / "out.aac")
        about = json.loads(self.check(OK, "info", "--measure", "--json", self.folder / "out.aac").stdout)
        self.assertAlmostEqual(about["duration"], 1, delta=0.15)
        # An item of a batch asks for it as a request to the server does.
        qwen = GOLDEN / "qwen"
        self.check(OK, "clone", "--model", qwen / "sample-c/model", "--ref", qwen / "references/ref_en.wav", "--no-pre",
                   "--no-post", "--max-frames", "4", "--batch", "-", "--out-dir", self.folder / "out",
                   stdin=b'{"text": "Hi.", "response_format": "aac"}')  # fmt: skip
        self.assertIn("AAC", self.check(OK, "info", self.folder / "out/0001.aac").stdout.decode())

    def test_without_ffmpeg(self):
        m4a = self.folder / "in.m4a"
        m4a.write_bytes(b"\0\0\0\x20ftypM4A " + bytes(100))
        bare = {"PATH": str(self.folder)}
        self.assertIn("that is not installed", self.check(INPUT, "info", m4a, env=bare).stderr)
        refused = self.check(1, "resample", self.wav(), "-r", "24000", "-o", self.folder / "out.aac", env=bare)
        self.assertIn("ffmpeg, which is not installed", refused.stderr)
        self.assertEqual(self.files(), ["in.m4a", "in.wav"])


if __name__ == "__main__":
    unittest.main()
