"""--engine remote against servers on this machine: one made of Python with faults on demand, and `timbre serve`
itself."""
import array
import base64
import json
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from speech_server import PCM, SpeechServer  # noqa: E402
from support import (FAILED, INPUT, OK, TIMBRE, USAGE, Case, environment, json_lines, needs_denoiser,  # noqa: E402
                     needs_espeak, parse_wav, read_wav, speech, write_wav)


@needs_denoiser
class Remote(Case):
    def setUp(self):
        super().setUp()
        self.server = SpeechServer()
        self.addCleanup(self.server.close)
        self.ref = self.folder / "ref.wav"
        write_wav(self.ref, speech())

    def clone(self, status, scenario, *arguments, env=None, text="Hello."):
        return self.check(
            status,
            "clone",
            "--engine",
            "remote",
            "--remote-url",
            self.server.url(scenario),
            "--ref",
            self.ref,
            "--text",
            text,
            "--language",
            "en",
            "-o",
            self.folder / "out.wav",
            "--json",
            *arguments,
            env=env,
        )

    def test_plain_speech_comes_through_bit_for_bit(self):
        done = self.clone(
            OK, "good", "--no-pre", "--no-post", "--ref-text", "A tone.", "--seed", "5", "--temperature", "0.5"
        )
        result, = json_lines(done.stdout)
        self.assertEqual((result["engine"], result["is_clone"], result["sample_rate"]), ("remote", True, 24000))
        self.assertEqual(
            parse_wav((self.folder / "out.wav").read_bytes())[2], [s / 32768 for s in array.array("h", PCM)]
        )
        (path, headers, body), = self.server.requests
        self.assertEqual(path, "/good/v1/audio/speech")
        self.assertEqual((body["input"], body["ref_text"], body["language"], body["seed"], body["temperature"]),
                         ("Hello.", "A tone.", "English", 5, 0.5))
        prefix = "data:audio/wav;base64,"
        self.assertTrue(body["ref_audio"].startswith(prefix))
        rate, channels, samples = parse_wav(base64.b64decode(body["ref_audio"][len(prefix):]))
        self.assertEqual((rate, channels, samples), (48000, 1, read_wav(self.ref)[2]))
        self.assertNotIn("Authorization", headers)

    def test_all_five_stages(self):
        self.clone(OK, "good")
        rate, _, samples = read_wav(self.folder / "out.wav")
        self.assertEqual((rate, len(samples)), (48000, 48000))

    def test_key(self):
        self.clone(OK, "secret", env={"TIMBRE_REMOTE_KEY": "sesame"})
        done = self.clone(USAGE, "secret", env={"TIMBRE_REMOTE_KEY": "wrong"})
        self.assertIn("who are you?", done.stderr)
        self.assertNotIn("wrong", done.stderr.replace("is the key", ""))

    def test_a_busy_server_is_asked_again(self):
        self.clone(OK, "busy", "--no-post")
        self.assertEqual(len(self.server.requests), 3)

    def test_an_item_fails_alone(self):
        items = [
            {"text": f"{'bad' if i == 1 else 'good'} {i}", "ref_audio": "ref.wav", "custom_id": str(i)}
            for i in range(4)
        ]
        (self.folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        done = self.check(USAGE, "clone", "--engine", "remote", "--remote-url", self.server.url("picky"), "--batch",
                          self.folder / "items.jsonl", "--out-dir", self.folder / "out", "--json")
        results = {line["custom_id"]: line for line in json_lines(done.stdout)}
        self.assertIn("such words are not spoken", results["1"]["error"]["message"])
        self.assertEqual(sorted(k for k, v in results.items() if not v.get("error")), ["0", "2", "3"])

    def test_answers_that_are_no_speech(self):
        for scenario, words in (
            ("html", "text/html"),
            ("fast", "rate=48000"),
            ("silent", "no audio"),
            ("cut", "closed"),
            ("broken", "CUDA out of memory"),
            ("moved", "HTTP 302"),
        ):
            with self.subTest(scenario):
                done = self.clone(INPUT, scenario)
                self.assertIn(words, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertEqual(self.files(), ["ref.wav"])

    def test_no_server(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            done = self.check(
                INPUT,
                "clone",
                "--engine",
                "remote",
                "--remote-url",
                f"http://127.0.0.1:{unused.getsockname()[1]}",
                "--ref",
                self.ref,
                "--text",
                "Hello.",
                "-o",
                self.folder / "out.wav",
            )
        self.assertIn("127.0.0.1", done.stderr)
        self.assertEqual(self.files(), ["ref.wav"])

    def test_addresses(self):
        for arguments in ((), ("--remote-url", "localhost:80"), ("--remote-url", "ftp://host")):
            done = self.check(
                USAGE,
                "clone",
                "--engine",
                "remote",
                *arguments,
                "--ref",
                self.ref,
                "--text",
                "Hello.",
                "-o",
                self.folder / "out.wav",
            )
            self.assertIn("speech server", done.stderr)

    def test_max_seconds_ends_an_endless_answer(self):
        result, = json_lines(self.clone(OK, "endless", "--no-post", "--max-seconds", "2").stdout)
        self.assertEqual((result["duration"], result["finish_reason"]), (2, "length"))
        self.assertTrue(self.server.left.wait(10))

    def test_interrupt_hangs_up(self):
        process = subprocess.Popen(
            [
                TIMBRE,
                "clone",
                "--engine",
                "remote",
                "--remote-url",
                self.server.url("endless"),
                "--ref",
                str(self.ref),
                "--text",
                "Hello.",
                "-o",
                str(self.folder / "out.wav"),
            ],
            env=environment(),
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + 60
        while self.server.sent == 0 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130)
        self.assertTrue(self.server.left.wait(10))
        self.assertEqual(self.files(), ["ref.wav"])

    def test_a_slow_listener_holds_up_the_server(self):
        process = subprocess.Popen(
            [
                TIMBRE,
                "clone",
                "--engine",
                "remote",
                "--remote-url",
                self.server.url("endless"),
                "--ref",
                str(self.ref),
                "--text",
                "Hello.",
                "--no-pre",
                "--no-post",
                "-o",
                "-",
            ],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            before = -1
            for _ in range(100):  # until nothing moves any more
                time.sleep(0.3)
                if self.server.sent == before > 0:
                    break
                before = self.server.sent
            self.assertEqual(self.server.sent, before)
            self.assertLess(before, 64 << 20)
        finally:
            process.kill()
            process.communicate()

    @needs_espeak
    def test_another_timbre(self):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        state = self.folder / "state"
        server = subprocess.Popen(
            [
                TIMBRE,
                "serve",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--state-dir",
                str(state),
                "--engine",
                "preview",
            ],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.assertTrue(self.listens(port))
            done = self.check(
                OK,
                "clone",
                "--engine",
                "remote",
                "--remote-url",
                f"http://127.0.0.1:{port}",
                "--ref",
                self.ref,
                "--text",
                "Through another machine.",
                "-o",
                self.folder / "out.wav",
                "--json",
            )
            result, = json_lines(done.stdout)
            self.assertGreater(result["duration"], 0.5)
            self.assertGreater(max(map(abs, read_wav(self.folder / "out.wav")[2])), 0.01)
        finally:
            server.terminate()
            server.communicate(timeout=60)

    def listens(self, port):
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return True
            time.sleep(0.05)
        return False


@needs_denoiser
class Pool(Case):
    """Several servers: who is asked, and who is asked instead."""

    def setUp(self):
        super().setUp()
        self.ref = self.folder / "ref.wav"
        write_wav(self.ref, speech())

    def servers(self, count):
        made = [SpeechServer() for _ in range(count)]
        for server in made:
            self.addCleanup(server.close)
        return made

    def together(self, count, among):
        """Servers of which none answers before so many requests are there: who is fast gets no more than the rest."""
        made = self.servers(among)
        company = threading.Barrier(count)
        for server in made:
            server.company = company
        return made

    def down(self):
        """The URL of a server that is not there."""
        unused = socket.socket()
        self.addCleanup(unused.close)
        unused.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{unused.getsockname()[1]}"

    def clone(self, status, urls, *arguments, env=None, items=0):
        """One text, or a batch of so many."""
        command = ["clone", "--engine", "remote", "--no-pre", "--no-post", "--language", "en", "--json", *arguments]
        for url in urls:
            command += ["--remote-url", url]
        if items:
            lines = [{"text": f"Text number {i}.", "ref_audio": "ref.wav", "custom_id": str(i)} for i in range(items)]
            (self.folder / "items.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
            command += ["--batch", self.folder / "items.jsonl", "--out-dir", self.folder / "out"]
        else:
            command += ["--ref", self.ref, "--text", "Hello.", "-o", self.folder / "out.wav"]
        return self.check(status, *command, env=env)

    def heard(self, name="out.wav"):
        return parse_wav((self.folder / name).read_bytes())[2]

    WHOLE = [s / 32768 for s in array.array("h", PCM)]

    def test_work_is_shared(self):
        a, b, c = self.together(12, among=3)
        self.clone(OK, [a.url("together"), b.url("together"), c.url("together")], items=12)
        self.assertEqual([len(server.requests) for server in (a, b, c)], [4, 4, 4])
        texts = sorted(body["input"] for server in (a, b, c) for _, _, body in server.requests)
        self.assertEqual(texts, sorted(f"Text number {i}." for i in range(12)))
        for i in range(12):
            self.assertEqual(self.heard(f"out/{i}.wav"), self.WHOLE)

    def test_from_the_environment(self):
        a, b = self.together(4, among=2)
        self.clone(OK, [], env={"TIMBRE_REMOTE_URL": f"{a.url('together')}, {b.url('together')}"}, items=4)
        self.assertEqual((len(a.requests), len(b.requests)), (2, 2))
        self.clone(OK, [a.url("good")], env={"TIMBRE_REMOTE_URL": b.url("good")})
        self.assertEqual((len(a.requests), len(b.requests)), (3, 2))

    def test_a_server_that_is_not_there(self):
        up, = self.servers(1)
        self.clone(OK, [self.down(), up.url("good")], items=12)
        self.assertEqual(len(up.requests), 12)

    def test_a_server_that_fails(self):
        for scenario in ("broken", "html", "silent", "fast", "moved", "missing_key"):
            with self.subTest(scenario):
                bad, up = self.servers(2)
                self.clone(OK, [bad.url("secret" if scenario == "missing_key" else scenario), up.url("good")], items=8)
                self.assertEqual(len(up.requests), 8)
                # Left alone after three failures in a row, and those that were under way by then.
                self.assertLess(len(bad.requests), 8)
                self.assertGreaterEqual(len(bad.requests), 1)

    def test_an_error_of_the_text_is_asked_once(self):
        a, b = self.servers(2)
        done = self.check(USAGE, "clone", "--engine", "remote", "--remote-url", a.url("picky"),
                          "--remote-url", b.url("picky"), "--ref", self.ref, "--text", "A bad text.",
                          "-o", self.folder / "out.wav")
        self.assertIn("such words are not spoken", done.stderr)
        self.assertEqual(len(a.requests) + len(b.requests), 1)

    def test_all_fail(self):
        a, b = self.servers(2)
        done = self.clone(INPUT, [a.url("broken"), b.url("broken")])
        self.assertIn("CUDA out of memory", done.stderr)
        self.assertEqual((len(a.requests), len(b.requests)), (1, 1))
        self.assertEqual(self.files(), ["ref.wav"])

    def test_a_busy_server_is_left_alone(self):
        busy, up = self.servers(2)
        self.clone(OK, [busy.url("full"), up.url("good")])
        self.assertEqual((len(busy.requests), len(up.requests)), (1, 1))

    def test_all_are_busy_for_a_while(self):
        a, b = self.servers(2)
        self.clone(OK, [a.url("full_at_first"), b.url("full_at_first")])
        self.assertEqual(sorted((len(a.requests), len(b.requests))), [1, 2])

    def test_all_stay_busy(self):
        a, b = self.servers(2)
        done = self.clone(FAILED, [a.url("full"), b.url("full")])
        self.assertIn("no room", done.stderr)
        self.assertGreater(min(len(a.requests), len(b.requests)), 1)
        self.assertLessEqual(len(a.requests) + len(b.requests), 8)

    def test_cut_after_the_first_audio(self):
        a, b = self.servers(2)
        self.clone(INPUT, [a.url("cut"), b.url("good")])
        self.assertEqual((len(a.requests), len(b.requests)), (1, 0))
        self.assertEqual(self.files(), ["ref.wav"])

    def test_cut_before_the_first_audio(self):
        a, b = self.servers(2)
        self.clone(OK, [a.url("hang_up"), b.url("good")])
        self.assertEqual(self.heard(), self.WHOLE)
        self.assertEqual(len(b.requests), 1)

    def test_limits(self):
        a, b = self.servers(2)
        self.clone(OK, [a.url("good") + "#limit=1", b.url("good") + "#limit=3"], items=16)
        self.assertEqual(len(a.requests) + len(b.requests), 16)
        self.assertEqual(a.most_at_once, 1)
        self.assertLessEqual(b.most_at_once, 3)

    def test_a_slow_server_gets_less(self):
        slow, up = self.servers(2)

        def let_go():
            while len(up.requests) < 9 and not slow.gate.wait(0.02):
                pass
            slow.gate.set()
        watcher = threading.Thread(target=let_go, daemon=True)
        watcher.start()
        self.clone(OK, [slow.url("gated"), up.url("good")], "--max-batch", "2", items=10)
        self.assertEqual((len(slow.requests), len(up.requests)), (1, 9))

    def test_hedging(self):
        slow, up = self.servers(2)
        self.clone(OK, [slow.url("gated"), up.url("good")], "--remote-hedge", "0.2")
        self.assertEqual((len(slow.requests), len(up.requests)), (1, 1))
        self.assertEqual(self.heard(), self.WHOLE)

    def test_no_hedging_by_itself(self):
        slow, up = self.servers(2)
        self.clone(OK, [slow.url("slow"), up.url("good")])
        self.assertEqual((len(slow.requests), len(up.requests)), (1, 0))

    def test_addresses(self):
        for url in ("http://a#limit=0", "http://a#places=3", "http://a,http://a/v1", "http://a,b"):
            self.assertIn("speech server", self.clone(USAGE, [url]).stderr)


if __name__ == "__main__":
    unittest.main()
