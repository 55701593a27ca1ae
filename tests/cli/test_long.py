"""Long streams in constant memory, and runs that are interrupted."""
import array
import random
import signal
import threading
import time
import unittest

from support import (
    FAILED,
    INTERRUPTED,
    OK,
    SANITIZED,
    Case,
    denoiser_clips,
    interrupt,
    json_lines,
    needs_denoiser,
    needs_espeak,
    peak_memory,
    read_wav,
    speech,
    start,
    tone,
    wait_until,
    write_wav,
)

MEGABYTE = 1 << 20


def noise(seconds, rate=48000):
    rng = random.Random(3)
    return array.array("h", (int(rng.gauss(0, 2000)) for _ in range(int(seconds * rate)))).tobytes()


def feed(process, piece, times, watch):
    """Writes `piece` again and again; watch(i) is called before each."""
    drain = threading.Thread(target=process.stdout.read)
    drain.start()
    for i in range(times):
        watch(i)
        process.stdin.write(piece)
    watch(times)
    process.stdin.close()
    drain.join()
    errors = process.stderr.read().decode()
    process.stderr.close()
    process.stdout.close()
    return process.wait(timeout=60), errors


@needs_denoiser
class Long(Case):
    @unittest.skipIf(SANITIZED, "the sanitizers' own memory would be measured")
    def test_enhance_holds_memory(self):
        """Twenty minutes: the peak after the first minute is the peak."""
        process = start("enhance", "-", "--raw", "--rate", "48000", "-o", "-", "-q")
        peaks = []
        status, errors = feed(process, noise(10), 120, lambda i: peaks.append(peak_memory(process)))
        self.assertEqual((status, errors), (OK, ""))
        self.assertLessEqual(peaks[-1], peaks[6] + MEGABYTE // 2, peaks)
        self.assertLessEqual(peaks[-1], 24 * MEGABYTE)

    @unittest.skipIf(SANITIZED, "the sanitizers' own memory would be measured")
    def test_a_file_stays_below_24_megabytes(self):
        """At every rate, in stereo, with every kind of kernels, with low latency."""
        rate, _, samples = read_wav(denoiser_clips() / "fr_noise_snr5.in.wav")
        write_wav(self.folder / "mono.wav", samples)
        write_wav(self.folder / "stereo.wav", samples[:rate * 4], 44100, channels=2)
        write_wav(self.folder / "high.wav", samples[:rate * 4], 192000, channels=2)
        for name, options, cpu in (
            ("mono", (), "generic"),
            ("mono", (), "avx2"),
            ("mono", (), "avx512"),
            ("mono", ("--low-latency",), ""),
            ("stereo", (), ""),
            ("high", (), ""),
        ):
            with self.subTest(name=name, options=options, cpu=cpu):
                peak = self.peak_of("enhance", self.folder / f"{name}.wav", "-o", "-", "-q", *options, TIMBRE_CPU=cpu)
                self.assertGreater(peak, 8 * MEGABYTE)  # the weights alone: it was measured
                self.assertLessEqual(peak, 24_000_000)

    def peak_of(self, *arguments, **env):
        process = start(*arguments, env=env)
        peaks = [0]

        def watch():
            while (peak := peak_memory(process)) is not None:
                peaks.append(peak)
                time.sleep(0.001)
        watcher = threading.Thread(target=watch)
        watcher.start()
        _, errors = process.communicate(timeout=60)
        watcher.join()
        self.assertEqual((process.returncode, errors), (OK, b""))
        return max(peaks)

    @unittest.skipIf(SANITIZED, "the sanitizers' own memory would be measured")
    def test_plot_holds_memory(self):
        process = start("enhance", "-", "--raw", "--rate", "16000", "-o", "-", "-q", "--plot", self.folder / "p.png")
        peaks = []
        status, _ = feed(process, noise(10, 16000), 60, lambda i: peaks.append(peak_memory(process)))
        self.assertEqual(status, OK)
        self.assertLessEqual(peaks[-1], peaks[20] + MEGABYTE)
        self.assertEqual(self.files(), ["p.png"])

    @unittest.skipIf(SANITIZED, "the sanitizers' own memory would be measured")
    def test_resample_holds_memory(self):
        for kind in ("soxr", "polyphase", "sinc"):
            process = start(
                "resample", "-", "--raw", "--input-rate", "44100", "-r", "48000", "--resampler", kind, "-o", "-", "-q"
            )
            peaks = []
            status, _ = feed(process, noise(10, 44100), 30, lambda i: peaks.append(peak_memory(process)))
            self.assertEqual(status, OK)
            self.assertLessEqual(peaks[-1], peaks[5] + MEGABYTE // 2, (kind, peaks))


@needs_denoiser
class Interrupted(Case):
    def run_until_output(self, number):
        process = start("enhance", "-", "--raw", "--rate", "48000", "-o", self.folder / "out.wav", "-q")
        piece = noise(1)
        for _ in range(5):
            process.stdin.write(piece)
        process.stdin.flush()
        self.assertTrue(wait_until(lambda: self.files() != []), "a temporary file appears")
        self.assertNotIn("out.wav", self.files())
        return interrupt(process, number)

    def test_nothing_stays(self):
        # The suite itself may run under nohup, and a signal that is ignored stays so in a child.
        self.addCleanup(signal.signal, signal.SIGHUP, signal.signal(signal.SIGHUP, signal.SIG_DFL))
        limit = "timbre: error: the limit of CPU time (ulimit -St) is reached\n"
        for number, message in ((signal.SIGINT, ""), (signal.SIGTERM, ""), (signal.SIGHUP, ""),
                                (signal.SIGXCPU, limit)):  # fmt: skip
            status, _, errors = self.run_until_output(number)
            self.assertEqual((status, errors), (INTERRUPTED, message))
            self.assertEqual(self.files(), [])

    def test_a_closed_terminal_is_ignored_under_nohup(self):
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # handed on to the child, as nohup does
        try:
            process = start("enhance", "-", "--raw", "--rate", "48000", "-o", self.folder / "out.wav", "-q")
        finally:
            signal.signal(signal.SIGHUP, before)
        process.stdin.write(noise(1))
        process.stdin.flush()
        self.assertTrue(wait_until(lambda: self.files() != []), "a temporary file appears")
        process.send_signal(signal.SIGHUP)
        process.communicate(noise(1), timeout=60)
        self.assertEqual(process.returncode, OK)
        self.assertEqual(self.files(), ["out.wav"])

    def test_input_that_breaks_off_leaves_the_whole_of_what_came(self):
        process = start("enhance", "-", "--raw", "--rate", "48000", "-o", self.folder / "out.wav", "--json")
        out, _ = process.communicate(noise(1.5), timeout=60)
        self.assertEqual((process.returncode, json_lines(out)[0]["samples"]), (OK, 72000))
        self.assertEqual(self.files(), ["out.wav"])

    def test_reader_that_goes_away(self):
        write_wav(self.folder / "in.wav", tone(20))
        process = start("enhance", self.folder / "in.wav", "-o", "-")
        process.stdout.read(100)
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.stderr.close()
        process.stdin.close()
        self.assertEqual((process.wait(timeout=60), errors), (FAILED, ""))

    @needs_espeak
    def test_a_batch_stops_and_leaves_no_part(self):
        write_wav(self.folder / "ref.wav", speech())
        items = "".join(
            '{"text": "%s", "ref_audio": "ref.wav", "custom_id": "i%d"}\n'
            % ("one two three four " * 5 * (i > 0) + "five", i)
            for i in range(200)
        )
        (self.folder / "items.jsonl").write_text(items)
        process = start(
            "clone", "--batch", self.folder / "items.jsonl", "--out-dir", self.folder / "out", "--engine", "preview"
        )
        self.assertTrue(process.stdout.readline().startswith(b'{"custom_id":"i'))
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=60)
        self.assertEqual(process.returncode, INTERRUPTED)
        done = {result["audio"].rsplit("/", 1)[1] for result in json_lines(out) if "audio" in result}
        left = {f.split("/", 1)[1] for f in self.files() if f.startswith("out/")}
        self.assertLess(len(left), 200)
        self.assertTrue(all(name.endswith(".wav") and "tmp" not in name for name in left), left)
        # whole files whose result was no longer printed, and the one read above
        self.assertLessEqual(len(left - done), 4)


if __name__ == "__main__":
    unittest.main()
