"""--transcribe-url against a service on this machine with faults on demand: a transcript that is missing is written,
shown and used, and whatever goes wrong the clone goes on without one and says so."""

import email
import json
import pathlib
import socket
import sys
import unittest

from support import OK, USAGE, Case, json_lines, needs_denoiser, parse_wav, speech, write_wav

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from speech_server import Handler, SpeechServer  # noqa: E402

SAID = "These are the words."


class BothHandler(Handler):
    """Speech below any scenario, and transcripts by the scenario that is the first part of the path."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        scenario = self.path.split("/")[1]
        if not self.path.endswith("/audio/transcriptions"):
            self.server.requests.append(json.loads(body))
            return self.good(None)
        form = email.message_from_bytes(b"Content-Type: " + self.headers["Content-Type"].encode() + b"\r\n\r\n" + body)
        parts = {
            part.get_param("name", header="Content-Disposition"): part.get_payload(decode=True)
            for part in form.get_payload()
        }
        self.server.heard.append((scenario, dict(self.headers), parts))
        getattr(self, "hears_" + scenario)()

    def say(self, text, status=200):
        self.answer(status, "application/json", json.dumps({"text": text}).encode())

    def hears_words(self):
        self.say(f" These are \n the\u200b words.\n")

    def hears_secret(self):
        if self.headers.get("Authorization") != "Bearer sesame":
            return self.answer(401, "application/json", b'{"error": {"message": "who are you?"}}')
        self.say(SAID)

    def hears_nothing(self):
        self.say(" \n")

    def hears_blank(self):
        self.say("[BLANK_AUDIO] (wind blowing)")

    def hears_html(self):
        self.answer(200, "text/html", b"<html>hello</html>")

    def hears_number(self):
        self.answer(200, "application/json", b'{"text": 7}')

    def hears_list(self):
        self.answer(200, "application/json", b'["text"]')

    def hears_latin(self):
        self.answer(200, "application/json", b'{"text": "\xe9t\xe9"}')

    def hears_novel(self):
        self.say("word " * 500)

    def hears_flood(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.close_connection = True
        try:
            self.wfile.write(b'{"text": "')
            for _ in range(64):
                self.wfile.write(b"x" * 65536)
        except OSError:
            pass

    def hears_broken(self):
        self.answer(500, "text/plain", b"CUDA out of memory\nTraceback")

    def hears_cut(self):
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.wfile.write(b'{"text": "half')
        self.close_connection = True

    def hears_moved(self):
        self.answer(302, "text/plain", b"", Location="http://127.0.0.1:1/")


class Both(SpeechServer):
    def __init__(self):
        super().__init__()
        self.RequestHandlerClass = BothHandler
        self.heard = []


@needs_denoiser
class Transcribe(Case):
    def setUp(self):
        super().setUp()
        self.server = Both()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.ref = self.folder / "ref.wav"
        write_wav(self.ref, speech())

    def clone(self, scenario, *arguments, status=OK, env=None, url=None):
        done = self.check(
            status,
            "clone",
            "--engine",
            "remote",
            "--remote-url",
            self.server.url("tts"),
            "--transcribe-url",
            url or self.server.url(scenario),
            "--ref",
            self.ref,
            "--text",
            "Hello.",
            "--language",
            "en",
            "-o",
            self.folder / "out.wav",
            "--json",
            "--no-post",
            *arguments,
            env=env,
        )
        return done, json_lines(done.stdout)[0] if status == OK else None

    def test_a_missing_transcript_is_written_shown_and_used(self):
        _, result = self.clone("words")
        self.assertEqual(result["reference"]["transcript"], SAID)
        self.assertEqual(self.server.requests[0]["ref_text"], SAID)
        ((scenario, headers, parts),) = self.server.heard
        self.assertEqual((parts["model"], parts["response_format"]), (b"whisper-1", b"json"))
        self.assertNotIn("Authorization", headers)
        rate, channels, samples = parse_wav(parts["file"])
        self.assertEqual((rate, channels), (16000, 1))
        self.assertAlmostEqual(len(samples) / rate, len(speech()) / 48000, places=1)
        self.assertGreater(max(map(abs, samples)), 0.05)

    def test_for_people(self):
        done = self.check(
            OK,
            "clone",
            "--engine",
            "remote",
            "--remote-url",
            self.server.url("tts"),
            "--transcribe-url",
            self.server.url("words"),
            "--ref",
            self.ref,
            "--text",
            "Hello.",
            "-o",
            self.folder / "out.wav",
        )
        self.assertIn(f'heard "{SAID}" (if that is wrong, give --ref-text)', done.stderr)

    def test_one_who_knows_better_is_not_corrected(self):
        for arguments in (("--ref-text", "My own words."), ("--x-vector-only",)):
            with self.subTest(arguments):
                self.server.requests.clear()
                _, result = self.clone("words", *arguments)
                self.assertEqual(self.server.heard, [])
                self.assertIsNone(result["reference"]["transcript"])
                self.assertEqual(
                    self.server.requests[0].get("ref_text"), "My own words." if len(arguments) == 2 else None
                )

    def test_a_voice_of_a_folder_brings_its_words(self):
        """Without the line break that ends their file, and nobody is asked."""
        write_wav(self.folder / "anna.wav", speech())
        (self.folder / "anna.txt").write_text("\ufeffWhat Anna says.\r\n\n")
        self.check(OK, "clone", "--engine", "remote", "--remote-url", self.server.url("tts"), "--transcribe-url",
                   self.server.url("words"), "--voices", self.folder, "--voice", "anna", "--text", "Hello.", "-o",
                   self.folder / "out.wav")
        self.assertEqual(self.server.requests[0]["ref_text"], "What Anna says.")
        self.assertEqual(self.server.heard, [])

    def test_the_preview_voice_asks_nobody(self):
        done = self.check(
            OK,
            "clone",
            "--engine",
            "preview",
            "--transcribe-url",
            self.server.url("words"),
            "--ref",
            self.ref,
            "--text",
            "Hello.",
            "-o",
            self.folder / "out.wav",
            "--json",
        )
        self.assertIsNone(json_lines(done.stdout)[0]["reference"]["transcript"])
        self.assertEqual(self.server.heard, [])

    def test_the_model_and_the_key(self):
        _, result = self.clone("secret", "--transcribe-model", "base.en", env={"TIMBRE_TRANSCRIBE_KEY": "sesame"})
        self.assertEqual(result["reference"]["transcript"], SAID)
        self.assertEqual(self.server.heard[0][2]["model"], b"base.en")
        done, result = self.clone("secret", env={"TIMBRE_TRANSCRIBE_KEY": "mustard"})
        self.assertIn("who are you?", result["warnings"][0])
        self.assertIn("is the key right?", result["warnings"][0])
        self.assertNotIn("mustard", done.stderr + done.stdout.decode())

    def test_by_the_environment(self):
        done = self.check(
            OK,
            "clone",
            "--engine",
            "remote",
            "--remote-url",
            self.server.url("tts"),
            "--ref",
            self.ref,
            "--text",
            "Hello.",
            "-o",
            self.folder / "out.wav",
            "--json",
            env={"TIMBRE_TRANSCRIBE_URL": self.server.url("words"), "TIMBRE_TRANSCRIBE_MODEL": "m"},
        )
        self.assertEqual(json_lines(done.stdout)[0]["reference"]["transcript"], SAID)
        self.assertEqual(self.server.heard[0][2]["model"], b"m")

    def test_without_an_answer_the_clone_goes_on_and_says_so(self):
        for scenario, words in (
            ("nothing", "heard no words"),
            ("blank", "heard no words"),
            ("html", "no JSON"),
            ("latin", "no JSON"),
            ("number", "no text"),
            ("list", "no text"),
            ("novel", "limit"),
            ("flood", "larger than"),
            ("broken", "HTTP 500"),
            ("cut", "partial file"),
            ("moved", "HTTP 302"),
            ("secret", "no key is set"),
        ):
            with self.subTest(scenario):
                self.server.requests.clear()
                done, result = self.clone(scenario)
                self.assertIn(words, result["warnings"][0])
                self.assertIn("ref_text", result["warnings"][0])
                self.assertIn(words, done.stderr)
                self.assertNotIn("Traceback", done.stderr)
                self.assertIsNone(result["reference"]["transcript"])
                self.assertTrue(self.server.requests[0]["x_vector_only_mode"])
                self.assertNotIn("ref_text", self.server.requests[0])

    def test_no_service(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            _, result = self.clone(None, url=f"http://127.0.0.1:{unused.getsockname()[1]}")
        self.assertIn("the transcription service failed", result["warnings"][0])

    def test_addresses(self):
        for url in ("localhost:80", "ftp://host", "http://", "http://host/?q=1"):
            done, _ = self.clone(None, url=url, status=USAGE)
            self.assertIn("transcription service", done.stderr)

    def test_a_batch_asks_once_for_each_recording(self):
        write_wav(self.folder / "other.wav", speech()[::-1])
        items = [
            {"text": f"Text {i}.", "ref_audio": ("ref.wav", "other.wav")[i % 2], "custom_id": str(i)} for i in range(6)
        ]
        items.append({"text": "Mine.", "ref_audio": "ref.wav", "ref_text": "My own words.", "custom_id": "mine"})
        (self.folder / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
        done = self.check(
            OK,
            "clone",
            "--engine",
            "remote",
            "--remote-url",
            self.server.url("tts"),
            "--transcribe-url",
            self.server.url("words"),
            "--batch",
            self.folder / "items.jsonl",
            "--out-dir",
            self.folder / "out",
            "--no-post",
        )
        self.assertEqual(len(self.server.heard), 2)
        results = {line["custom_id"]: line["reference"]["transcript"] for line in json_lines(done.stdout)}
        self.assertEqual(results, {**{str(i): SAID for i in range(6)}, "mine": None})
        self.assertEqual(
            sorted(request["ref_text"] for request in self.server.requests), ["My own words."] + [SAID] * 6
        )


if __name__ == "__main__":
    unittest.main()
