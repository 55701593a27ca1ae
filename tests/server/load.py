"""What many clients do to a server, and what it costs: for test_load.py and bench/serve.py.

By hand: python3 tests/server/load.py soak|storm|beside|stalled|leave [SECONDS] runs one at full length and prints
what it saw.
"""
import base64
import collections
import contextlib
import http.client
import json
import os
import pathlib
import random
import socket
import sys
import threading
import time

from support import API, PATIENCE, REFERENCE, Server, data_uri, multipart, wait_for

SHORT = "Hello there."
LONG = "This sentence is here to take quite a while to say. " * 8


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def parallel(count, work):
    """Calls work(i) in `count` threads; what one of them raises is raised here."""
    problems = []

    def run(index):
        try:
            work(index)
        except BaseException as problem:  # noqa: BLE001  told by the caller's thread
            problems.append(problem)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise problems[0]


def prefer(nice):
    """This process, and what it starts, go before others (nice below 0), in a session of their own: Linux may weigh
    sessions against each other, and niceness only within one."""
    os.setsid()
    try:
        with open("/proc/self/autogroup", "w") as group:
            group.write(str(nice))
    except OSError:
        pass
    os.setpriority(os.PRIO_PROCESS, 0, nice)


def post_head(path, body, content_type="application/json", extra=""):
    return (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {content_type}\r\nContent-Length:"
        f" {len(body)}\r\n{extra}\r\n"
    ).encode()


def abandon(server, body, wait):
    """Sends a clone request and goes away after `wait` seconds."""
    data = json.dumps(body).encode()
    with server.raw() as client:
        client.sendall(post_head(API + "/voice-clone-enhanced", data) + data)
        time.sleep(wait)


def threads_of(server):
    return len(os.listdir(f"/proc/{server.process.pid}/task"))


class Footprint:
    """A server at rest."""

    def __init__(self, server):
        server.wait_idle(120)
        # It gives back what it does not need a second or two later.
        time.sleep(2.5)
        self.memory = server.memory()
        self.descriptors = server.descriptors()
        self.threads = threads_of(server)

    def __repr__(self):
        return f"{self.memory / 2**20:.1f} MiB, {self.descriptors} descriptors, {self.threads} threads"


def wake_listeners(server, clients=16):
    """A thread that listens closes the connection of a client that left when it next wakes, at a new one for
    example."""
    connections = [server.raw() for _ in range(clients)]
    for connection in connections:
        connection.sendall(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    for connection in connections:
        while connection.recv(4096):
            pass
        connection.close()


def settled(server, before, seconds=60):
    """The footprint once descriptors and threads are back; the last one if they never are."""
    end = time.monotonic() + seconds
    while True:
        wake_listeners(server)
        now = Footprint(server)
        if (now.descriptors <= before.descriptors and now.threads <= before.threads) or time.monotonic() > end:
            return now
        time.sleep(0.5)


def soak(server, shorts, aborted, clients=4, beside=None):
    """`shorts` answered requests with `aborted` others between them: (footprint at request 100, at the end).
    `beside` makes others of the server that do something meanwhile."""
    ref = server.upload()
    dice = random.Random(1)
    first = 100
    waits = [dice.uniform(0, 0.2) for _ in range(aborted)]

    def ask(number):
        answer = server.clone(
            f"Number {number}.", "/voice-clone-enhanced" if number % 4 == 0 else "/voice-clone", ref_audio=ref
        )
        assert answer.status == 200 and answer.json()["items"][0]["audio_base64"], answer
        server.delete(answer.json()["items"][0]["url"])

    def part(begin, end, aborts):
        every = max(1, (end - begin) // max(1, len(aborts)))

        def work(index):
            for number in range(begin + index, end, clients):
                ask(number)
                turn, is_turn = divmod(number - begin, every)
                if is_turn == 0 and turn < len(aborts):
                    abandon(server, {"text": LONG, "ref_audio": ref}, aborts[turn])
        parallel(clients, work)
    # The first requests are abandoned too, so that what that needs once is there at request 100.
    part(0, first // 5, [])
    rest = Footprint(server)
    with beside(server) if beside else contextlib.nullcontext():
        part(first // 5, first, waits[:first // 5])
    before = settled(server, rest)
    with beside(server) if beside else contextlib.nullcontext():
        part(first, shorts, waits[first // 5:])
    return before, settled(server, before)


class Storm:
    """Clients of every kind at once. `wrong` gets what should not have been."""

    def __init__(self, server, seed=1):
        self.server = server
        self.seed = seed
        self.ref = server.upload()
        server.add_voice("storm", ref_text="hello")
        self.texts = ["Hello there.", "One, two, three.", "A rather longer sentence, for once."]
        self.expected = {}
        for path in ("/voice-clone", "/voice-clone-enhanced"):
            for text in self.texts:
                answer = server.clone(text, path, ref_audio=self.ref, seed=7, response_format="pcm")
                self.expected[path, text] = base64.b64decode(answer.json()["items"][0]["audio_base64"])
        self.clean = server.post(API + "/enhance", form={"audio": ("a.wav", REFERENCE)}).body
        self.counts = collections.Counter()
        self.wrong = []
        self.lock = threading.Lock()

    def note(self, kind, good=True, answer=None):
        with self.lock:
            self.counts[kind] += 1
            if not good:
                self.wrong.append((kind, repr(answer)[:500]))

    def accept(self, kind, answer, good):
        """A refusal for now is no wrong answer; it has to say when to come back."""
        if answer.status in (429, 503):
            self.note("refused for now", int(answer.headers.get("Retry-After", 0)) >= 1, answer)
        else:
            self.note(kind, bool(good(answer)), answer)

    # ---- kinds of clients

    def whole(self, dice):
        path = dice.choice(["/voice-clone", "/voice-clone-enhanced"])
        text = dice.choice(self.texts)
        answer = self.server.clone(text, path, ref_audio=self.ref, seed=7, response_format="pcm")
        self.accept("whole", answer, lambda a: a.status == 200 and
                    base64.b64decode(a.json()["items"][0]["audio_base64"]) == self.expected[path, text])

    def several(self, dice):
        texts = [dice.choice(self.texts) for _ in range(4)]
        answer = self.server.clone(
            texts, ref_audio=[self.ref], seed=7, response_format="pcm", custom_id=["a", "b", "c", "d"]
        )
        self.accept(
            "several",
            answer,
            lambda a: (
                a.status == 200
                and [i["custom_id"] for i in a.json()["items"]] == list("abcd")
                and all(
                    base64.b64decode(item["audio_base64"]) == self.expected["/voice-clone", text]
                    for item, text in zip(a.json()["items"], texts)
                )
            ),
        )

    def streamed(self, dice):
        text = dice.choice(self.texts)
        answer = self.server.clone(
            text, "/voice-clone-enhanced", ref_audio=self.ref, seed=7, response_format="pcm", stream=True
        )
        self.accept(
            "streamed", answer, lambda a: a.status == 200 and a.body == self.expected["/voice-clone-enhanced", text]
        )

    def speech(self, dice):
        answer = self.server.post(
            "/v1/audio/speech", {"voice": "storm", "input": dice.choice(self.texts), "response_format": "flac"}
        )
        self.accept("speech", answer, lambda a: a.status == 200 and a.body[:4] == b"fLaC")

    def enhance(self, dice):
        answer = self.server.post(API + "/enhance", form={"audio": ("a.wav", REFERENCE)})
        self.accept("enhance", answer, lambda a: a.status == 200 and a.body == self.clean)

    def files(self, dice):
        file = self.server.post(API + "/files/upload", form={"file": ("a.wav", REFERENCE)})
        self.accept("upload", file, lambda a: a.status == 201)
        if file.status == 201:
            path = API + "/files/" + file.json()["id"]
            self.accept("download", self.server.get(path), lambda a: a.status == 200 and a.body == REFERENCE)
            self.accept("delete", self.server.delete(path), lambda a: a.status == 204)

    def job(self, dice):
        answer = self.server.post(API + "/queue/submit", {"items": [{"text": SHORT, "ref_audio": self.ref}] * 2})
        self.accept("job", answer, lambda a: a.status == 202)
        if answer.status == 202:
            time.sleep(dice.uniform(0, 1))
            self.accept(
                "job removed", self.server.delete(f"{API}/queue/{answer.json()['id']}"), lambda a: a.status == 204
            )

    def bad(self, dice):
        status, call = dice.choice(
            [
                (400, lambda: self.server.clone("", ref_audio=self.ref)),
                (400, lambda: self.server.clone("Hi.", ref_audio="0" * 32)),
                (400, lambda: self.server.clone("Hi.", ref_audio=self.ref, temperature=9)),
                (400, lambda: self.server.clone("Hi.", ref_audio="data:audio/wav;base64,AAAA")),
                (
                    400,
                    lambda: self.server.post(
                        API + "/voice-clone", body=b"{" * 1000, headers={"Content-Type": "application/json"}
                    ),
                ),
                (400, lambda: self.server.post(API + "/files/upload", form={"file": ("a.wav", b"no audio" * 50)})),
                (404, lambda: self.server.get(API + "/files/" + "0" * 32)),
                (404, lambda: self.server.get("/nothing")),
                (405, lambda: self.server.delete(API + "/voices")),
                (
                    415,
                    lambda: self.server.post(API + "/voice-clone", body=b"{}", headers={"Content-Type": "text/plain"}),
                ),
            ]
        )
        self.accept("bad", call(), lambda a: a.status == status)

    def slow(self, dice):
        """A body in small pieces; its answer is as good as any."""
        body, content_type = multipart({"file": ("a.wav", REFERENCE)})
        with self.server.raw() as client:
            client.sendall(post_head(API + "/files/upload", body, content_type, "Connection: close\r\n"))
            for at in range(0, len(body), 8192):
                client.sendall(body[at:at + 8192])
                time.sleep(dice.uniform(0, 0.1))
            answer = b""
            while part := client.recv(65536):
                answer += part
        self.note("slow", answer.startswith((b"HTTP/1.1 201 ", b"HTTP/1.1 503 ")), answer)

    def slow_reader(self, dice):
        data = json.dumps(
            {"text": self.texts[2], "ref_audio": self.ref, "seed": 7, "response_format": "pcm", "stream": True}
        ).encode()
        client = socket.socket()
        with client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(PATIENCE)
            client.connect(("127.0.0.1", self.server.port))
            client.sendall(post_head(API + "/voice-clone-enhanced", data) + data)
            response = http.client.HTTPResponse(client)
            response.begin()
            audio = b""
            while part := response.read(16384):
                audio += part
                time.sleep(0.02)
            self.note(
                "slow reader",
                response.status == 503 or audio == self.expected["/voice-clone-enhanced", self.texts[2]],
                response.status,
            )

    def vanish(self, dice):
        if dice.random() < 0.5:
            abandon(
                self.server, {"text": LONG, "ref_audio": self.ref, "stream": dice.random() < 0.5}, dice.uniform(0, 0.5)
            )
        else:
            body, content_type = multipart({"text": LONG, "ref_audio": ("a.wav", REFERENCE)})
            with self.server.raw() as client:
                client.sendall(
                    (post_head(API + "/voice-clone-file", body, content_type) + body)[: dice.randrange(1, len(body))]
                )
        self.note("vanished")

    def client(self, index, until):
        dice = random.Random(self.seed * 1000 + index)
        kinds = [self.whole] * 4 + [
            self.several,
            self.streamed,
            self.streamed,
            self.speech,
            self.enhance,
            self.files,
            self.job,
            self.bad,
            self.bad,
            self.bad,
            self.slow,
            self.slow_reader,
            self.vanish,
            self.vanish,
            self.vanish,
        ]
        while time.monotonic() < until:
            kind = dice.choice(kinds)
            try:
                kind(dice)
            except OSError as problem:
                # Who is not let in (the cap on connections is not reached here) is wrong.
                self.note(kind.__name__, False, problem)

    def run(self, clients, seconds, beside=None):
        """(footprint before, after, most memory that was reserved, the budget); `beside` makes others of the server."""
        before = Footprint(self.server)
        reserved, stop = [0], threading.Event()
        budget = self.server.metric("timbre_memory_budget_bytes")

        def watch():
            while not stop.wait(0.25):
                reserved.append(self.server.metric("timbre_memory_reserved_bytes"))
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            until = time.monotonic() + seconds
            with beside(self.server) if beside else contextlib.nullcontext():
                parallel(clients, lambda index: self.client(index, until))
        finally:
            stop.set()
            watcher.join()
        return before, settled(self.server, before), max(reserved), budget


def keep_asking(server, clients, stop, **fields):
    """`clients` threads that ask until `stop`; the seconds that each answer took."""
    seconds = []

    def work(index):
        while not stop.is_set():
            start = time.monotonic()
            answer = server.clone(**fields)
            assert answer.status == 200, answer
            seconds.append(time.monotonic() - start)
    thread = threading.Thread(target=lambda: parallel(clients, work))
    thread.start()
    return seconds, thread


def beside(server, slots, seconds, items=100, path="/voice-clone-enhanced", text=LONG, **fields):
    """Latencies of a client with short requests: beside `slots` - 1 others that ask one item at a time, and beside
    a request of `items` items, each with the same texts, so that equally many items are live."""
    fields = {"ref_audio": server.upload(), "path": path, **fields}
    server.clone(SHORT, **fields)

    def measure(until):
        latencies = []
        while not until():
            start = time.monotonic()
            answer = server.clone(SHORT, **fields)
            assert answer.status == 200, answer
            latencies.append(time.monotonic() - start)
        return latencies

    def for_seconds():
        end = time.monotonic() + seconds
        return lambda: time.monotonic() > end
    free = measure(for_seconds())
    stop = threading.Event()
    _, others = keep_asking(server, slots - 1, stop, text=text, **fields)
    time.sleep(1)
    alone = measure(for_seconds())
    stop.set()
    others.join()
    server.wait_idle(120)
    stop = threading.Event()
    problems = []

    def batches():
        while not stop.is_set():
            answer = server.clone([text] * items, timeout=600, **fields)
            if answer.status != 200 or any("error" in item for item in answer.json()["items"]):
                problems.append(answer)
                return
    batch = threading.Thread(target=batches)
    batch.start()
    wait_for(lambda: problems or server.metric("timbre_batch_size") >= min(slots - 1, items))
    live = []
    until_then = for_seconds()

    def over():
        live.append(server.metric("timbre_batch_size"))
        return until_then() or problems
    beside_it = measure(over)
    stop.set()
    batch.join()
    assert not problems, problems
    return free, alone, beside_it, percentile(live, 0.5)


def time_to_leave(server, rounds):
    """Seconds and engine steps from a client's leaving to its item's end."""
    ref = server.upload()
    server.clone(SHORT, ref_audio=ref)
    result = []
    for _ in range(rounds):
        data = json.dumps({"text": LONG * 4, "ref_audio": ref}).encode()
        client = server.raw()
        client.sendall(post_head(API + "/voice-clone", data) + data)
        wait_for(lambda: server.metric("timbre_batch_size") == 1, every=0.001)
        client.close()
        start = time.monotonic()
        wait_for(lambda: server.metric("timbre_batch_size") == 0, every=0.0005)
        result.append(time.monotonic() - start)
    return result


def stall(server, count, text=LONG * 8):
    """Clients that ask for streams and do not read them."""
    body = json.dumps({"text": text, "ref_audio": data_uri(), "stream": True, "stream_format": "sse"}).encode()
    clients = []
    for _ in range(count):
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", server.port))
        client.sendall(post_head(API + "/voice-clone", body) + body)
        clients.append(client)
    return clients


def beside_stalled(server, readers, requests):
    """Latencies of a client with short requests: alone, and beside so many readers that have just begun not to read."""
    ref = server.upload()

    def measure():
        latencies = []
        for _ in range(requests):
            start = time.monotonic()
            answer = server.clone(SHORT, ref_audio=ref)
            assert answer.status == 200, answer
            latencies.append(time.monotonic() - start)
        return latencies
    measure()
    alone = measure()
    stalled = stall(server, readers)
    wait_for(lambda: server.metric("timbre_batch_size") >= min(readers, 8))
    beside_them = measure()
    for client in stalled:
        client.close()
    return alone, beside_them


def main(arguments):
    what = arguments[0] if arguments else ""
    seconds = float(arguments[1]) if len(arguments) > 1 else 60
    if what == "soak":
        with Server() as server:
            before, after = soak(server, 2000, 500)
            print(f"at request 100: {before}\nafter: {after}\nmemory: {after.memory / before.memory:.3f} times")
    elif what == "storm":
        with Server() as server:
            storm = Storm(server)
            before, after, most, budget = storm.run(64, seconds)
            print(
                dict(storm.counts),
                f"\nwrong: {len(storm.wrong)} {storm.wrong[:3]}\nbefore: {before}\nafter: {after}\n"
                f"reserved at most {most / 2**20:.0f} of {budget / 2**20:.0f} MiB\ntemporary files: "
                f"{len(list((server.state / 'tmp').iterdir()))}",
            )
    elif what == "beside":
        with Server("--max-batch", 8) as server:
            for name, values in zip(
                ("nothing else", "seven other clients", "a batch of 100"), beside(server, 8, seconds / 3)[:3]
            ):
                print(
                    f"beside {name}: {len(values)} requests, p50 {percentile(values, 0.5):.3f} s, p95"
                    f" {percentile(values, 0.95):.3f} s"
                )
    elif what == "stalled":
        with Server() as server:
            figures = zip(("nothing else", "twelve readers that do not read"), beside_stalled(server, 12, 400))
            for name, values in figures:
                print(f"beside {name}: {len(values)} requests, p50 {percentile(values, 0.5):.3f} s, "
                      f"p95 {percentile(values, 0.95):.3f} s, longest {max(values):.3f} s")
    elif what == "leave":
        with Server() as server:
            values = time_to_leave(server, 40)
            print(
                f"from leaving to the end of the item: p50 {1e3 * percentile(values, 0.5):.1f} ms, p95"
                f" {1e3 * percentile(values, 0.95):.1f} ms"
            )
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    main(sys.argv[1:])
