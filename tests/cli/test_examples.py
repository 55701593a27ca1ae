"""The programs in examples/ do what their first comment says."""
import os
import pathlib
import subprocess
import unittest

from support import Case, GOLDEN, environment, needs_denoiser, needs_espeak, read_wav, speech, tone, write_wav

EXAMPLES = pathlib.Path(os.environ["TIMBRE_BUILD"]) / "examples"


class Examples(Case):
    def example(self, name, *arguments, status=0, **env):
        done = subprocess.run(
            [EXAMPLES / f"example-{name}", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=240,
            env=environment(**env),
        )
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    @needs_denoiser
    def test_enhance_stream_is_the_command(self):
        source = self.folder / "in.wav"
        write_wav(source, tone(1, rate=44100), rate=44100)
        self.example("enhance-stream", source, self.folder / "out.wav")
        self.check(0, "enhance", source, "-o", self.folder / "expected.wav")
        self.assertEqual(read_wav(self.folder / "out.wav"), read_wav(self.folder / "expected.wav"))

    @needs_denoiser
    def test_enhance_stream_refuses_what_is_no_audio(self):
        (self.folder / "in.wav").write_bytes(b"no audio")
        done = self.example("enhance-stream", self.folder / "in.wav", self.folder / "out.wav", status=1)
        self.assertIn("in.wav", done.stderr)
        self.assertEqual(self.files(), ["in.wav"])

    @needs_denoiser
    @needs_espeak
    def test_clone_batch(self):
        ref = self.folder / "ref.wav"
        write_wav(ref, speech())
        texts = ["One.", "Two words.", "And a third."]
        done = self.example("clone-batch", ref, self.folder, *texts, TIMBRE_ENGINE="preview")
        self.assertEqual(sorted(line.rsplit(": ", 1)[1] for line in done.stdout.splitlines()), sorted(texts))
        for number in range(1, 4):
            rate, channels, samples = read_wav(self.folder / f"{number}.wav")
            self.assertEqual((rate, channels), (48000, 1))
            self.assertGreater(max(map(abs, samples)), 0.01)

    @needs_denoiser
    def test_voice_reuse(self):
        ref, voice, out = (self.folder / name for name in ("ref.wav", "me.tmbvoice", "out.wav"))
        write_wav(ref, speech())
        self.example("voice-reuse", GOLDEN / "qwen" / "sample-c" / "model", ref, "A tone.", voice, "Hello.", out)
        self.assertEqual(self.files(), ["me.tmbvoice", "out.wav", "ref.wav"])
        rate, channels, samples = read_wav(out)
        self.assertEqual((rate, channels), (48000, 1))
        self.assertGreater(len(samples), 0)


if __name__ == "__main__":
    unittest.main()
