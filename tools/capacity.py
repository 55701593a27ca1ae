#!/usr/bin/env python3
"""How many workers a load needs: a discrete-event model of timbre's workers, fed with measured service times.

    tools/capacity.py run  --service FILE --workers N --rate R [...]     latency and load of so many workers
    tools/capacity.py plan --service FILE[=PRICE] ... --rate R --p95 S   the fewest workers of each kind, and their cost
    tools/capacity.py redis --rate-file FILE --rate R [...]              how many Redis servers a load needs

FILE is what bench/service_times.py writes; bench/redis_rate.py writes the other. Rates are items a second, lengths are
seconds of speech. Needs simpy.

The model. A worker has `cpus` processors; workers on one machine may share its processors, less what other programs
take of them. An item is taken from one queue by a worker that has a place, at best one that knows its voice. It is
prepared on a thread of its own (overhead, more of it if the worker was at rest; its voice too, if the worker does not
know it: stages 1 and 2 and the encoders). Then it joins the batch of at most `max_batch` on the thread of speech with
its team: the prefill, for which the others in the batch wait; frames of 80 ms, of which one costs step(batch); and if
the service times tell the codec's part of that, its frames are decoded behind those of who was ready before. They go
through stages 4 and 5 on another thread, of which there are `cleaners`, meanwhile. Threads that have work share the
processors equally, and if there are several items, all takes `crowd` times as long. Between two changes of a worker
all progress is linear, so an item costs a handful of events, whatever its length.
"""
import argparse
import bisect
import collections
import heapq
import itertools
import json
import math
import random

import simpy

FRAME = 0.08
LOOK = 64  # items of the queue among which a worker looks for a voice that it knows


class Kind:
    """Service times of one kind of worker."""

    def __init__(self, times):
        self.times = times
        self.name = times.get("name", "worker")
        self.cpus = times["cpus"]
        self.max_batch = times["max_batch"]
        self.cleaners = times.get("cleaners", 3)
        self.steps = sorted((int(size), seconds) for size, seconds in times["step"].items())
        self.overhead = times.get("overhead", 0)  # CPU, on a thread of its own
        self.wake = times.get("wake", 0)  # CPU that an item takes more if it finds the worker at rest
        self.crowd = times.get("crowd", 1)  # how many times as long all takes if processors have several items
        self.prefill = times.get("prefill", 0)  # CPU, on the thread of speech with its team
        self.after = (times.get("stage4", 0) + times.get("stage5", 0)) * FRAME  # CPU for a frame
        self.before = times.get("stage1", 0) + times.get("stage2", 0)  # CPU for a second of reference
        self.voice = times.get("voice", 0)
        self.latency = times.get("latency", 0)
        self.load = times.get("load", 0)
        self.price = times.get("price", 1.0)
        self.codec = min((times.get("codec") or 0) / self.cpus, min(self.step(1), self.step(self.max_batch)))
        # Of a step, what is not the codec's.
        self.frames = [max(self.step(batch) - batch * self.codec, 0) if batch else 0
                       for batch in range(self.max_batch + 1)]

    def step(self, batch):
        """Seconds of a step of so many sequences, between and beyond what was measured in a line."""
        sizes = [size for size, _ in self.steps]
        if len(sizes) == 1:
            return self.steps[0][1]
        at = min(max(bisect.bisect_left(sizes, batch), 1), len(sizes) - 1)
        (low, a), (high, b) = self.steps[at - 1], self.steps[at]
        return max(a + (b - a) * (batch - low) / (high - low), 0)

    def slower(self, factor):
        """The same worker on a processor on which everything takes `factor` times as long."""
        seconds = ("overhead", "wake", "prefill", "codec", "stage1", "stage2", "stage4", "stage5", "voice", "latency",
                   "load")
        return Kind({**self.times, **{name: (self.times.get(name) or 0) * factor for name in seconds},
                     "step": {size: step * factor for size, step in self.times["step"].items()}})

    def busiest(self, seconds):
        """Items a second that one worker can speak at most, without preparing voices."""
        frames = seconds / FRAME
        fixed = (self.overhead + self.prefill + frames * self.after) / self.cpus
        return max(1 / (fixed + frames * (self.frames[batch] / batch + self.codec))
                   for batch in range(1, self.max_batch + 1))


class Item:
    __slots__ = ("arrived", "frames", "voice", "ended", "left", "behind", "taken")

    def __init__(self, arrived, seconds, voice):
        self.arrived, self.frames, self.voice = arrived, seconds / FRAME, voice
        self.left = 0.0  # of what it is at: CPU seconds, or frames
        self.behind = 0.0  # CPU seconds of stages 4 and 5 for what is spoken
        self.ended = self.taken = None


class Worker:
    """Its threads share processors: one for each item that is prepared, one for speech, some that clean behind it."""

    def __init__(self, system, number, kind, ready_at):
        self.system, self.number, self.kind = system, number, kind
        self.begin()
        self.voices = collections.OrderedDict()
        self.version, self.updated, self.busy = 0, 0.0, 0.0
        self.window_ends = None
        self.level = 0.0  # what one of its threads gets of a processor
        self.alive = ready_at <= system.env.now
        if not self.alive:
            system.at(ready_at, self.start)

    def begin(self):
        self.preparing, self.waiting = [], collections.deque()
        self.prefilling = collections.deque()  # one after the other
        self.live, self.cleaning = [], []
        self.decoding = collections.deque()  # one after the other, too

    def start(self):
        self.alive = True
        self.updated = self.system.env.now
        self.system.offer(self)

    def items(self):
        return [*self.preparing, *self.waiting, *self.prefilling, *self.live, *self.decoding, *self.cleaning]

    @property
    def count(self):
        return len(self.items())

    def has_place(self):
        return self.alive and self.count < self.kind.max_batch

    def take(self, item):
        self.advance()
        item.taken = self.system.env.now
        work = self.kind.overhead + (self.kind.wake if self.count == 0 else 0)
        if item.voice is not None:
            if item.voice not in self.voices:
                work += self.kind.before * self.system.reference_seconds + self.kind.voice
            self.voices[item.voice] = True
            self.voices.move_to_end(item.voice)
            if len(self.voices) > self.system.voice_cache:
                forgotten, _ = self.voices.popitem(last=False)
                self.system.forget(self, forgotten)
            self.system.learn(self, item.voice)
        item.left, item.behind = work, 0.0
        if work > 0:
            self.preparing.append(item)
        else:
            self.ready(item)
        self.plan()

    def ready(self, item):
        if not self.speaks() and not self.waiting and self.system.window > 0:
            self.window_ends = self.system.env.now + self.system.window
        self.waiting.append(item)

    def speaks(self):
        return bool(self.live or self.prefilling or self.decoding)

    def fill(self):
        now = self.system.env.now
        if not self.speaks() and self.window_ends is not None:
            if now < self.window_ends - 1e-12 and len(self.waiting) < self.kind.max_batch:
                return
            self.window_ends = None
        kept = max(len(self.cleaning) - self.kind.cleaners, 0)
        kept += len(self.prefilling) + len(self.decoding)
        while self.waiting and len(self.live) + kept < self.kind.max_batch:
            item = self.waiting.popleft()
            item.left = self.kind.prefill
            if item.left > 0:
                self.prefilling.append(item)
                kept += 1
            else:
                self.join(item)

    def join(self, item):
        item.left = item.frames
        self.live.append(item)

    def speaking(self):
        """Whose frames the thread of speech makes now: of one that is decoded, before those of the batch."""
        return [] if self.prefilling else [self.decoding[0]] if self.decoding else self.live

    def bring(self):
        """Whose frames stages 4 and 5 get now."""
        return self.speaking() if self.kind.codec == 0 or self.decoding else []

    def flow(self):
        """Of a thread that has a whole processor: frames a second of those who speak; CPU seconds a second of stages 4
        and 5 that they bring for an item, and that are done for one that is behind."""
        now, gets = self.speaking(), self.bring()
        behind = self.behind()
        cleaned = len(gets) + sum(item not in gets for item in behind)
        cleans = min(1.0, self.kind.cleaners / cleaned) if cleaned else 0.0
        if not now:
            return 0.0, 0.0, cleans
        step = self.kind.codec if self.decoding else self.kind.frames[len(self.live)]
        frames = 1 / step if step > 0 else math.inf
        return frames, frames * self.kind.after if self.kind.after and gets else 0.0, cleans

    def behind(self):
        return [item for item in (*self.live, *self.decoding, *self.cleaning) if item.behind > 0]

    def threads(self):
        """That have work; one that waits for another's work most of the time is a part of one."""
        _, brought, cleans = self.flow()
        behind, gets = self.behind(), self.bring()
        cleaning = len(behind) * cleans + sum(item.behind <= 0 for item in gets) * min(brought, cleans)
        return len(self.preparing) + cleaning + (self.kind.cpus if self.speaks() else 0)

    def advance(self):
        now = self.system.env.now
        passed, self.updated = now - self.updated, now
        if passed <= 0:
            return
        self.busy += passed if self.count > len(self.waiting) else 0
        done = passed * self.level
        frames, brought, cleans = self.flow()
        speaking, gets, behind = self.speaking(), self.bring(), self.behind()
        for item in self.preparing:
            item.left -= done
        if self.prefilling:
            self.prefilling[0].left -= done * self.kind.cpus
        for item in speaking:
            item.left -= done * frames
        for item in gets:
            item.behind = max(item.behind + done * (brought - cleans), 0.0)
        for item in behind:
            if item not in gets:
                item.behind -= done * cleans

    def plan(self):
        self.fill()
        self.system.share_out(self)

    def next_change(self):
        """How long until something ends, if each thread has a whole processor."""
        frames, brought, cleans = self.flow()
        gets = self.bring()
        if frames == math.inf:
            return 0.0
        waits = [item.left for item in self.preparing]
        waits += [item.left / self.kind.cpus for item in itertools.islice(self.prefilling, 1)]
        waits += [item.left / frames for item in self.speaking()]
        waits += [item.behind / cleans for item in self.behind() if item not in gets]
        if cleans > brought:
            waits += [item.behind / (cleans - brought) for item in gets if item.behind > 0]
        return min(waits, default=math.inf)

    def schedule(self):
        """The next change."""
        self.version += 1
        wait = self.next_change()
        wait = wait / self.level if wait < math.inf else wait
        if self.waiting and not self.speaks() and self.window_ends is not None:
            wait = min(wait, self.window_ends - self.system.env.now)
        if wait < math.inf:
            version = self.version
            self.system.after(max(wait, 0), lambda: self.change() if version == self.version else None)

    def change(self):
        frames, _, _ = self.flow()
        if frames == math.inf:  # speech itself costs nothing
            for item in self.speaking():
                item.left, item.behind = 0.0, item.behind + (item.left * self.kind.after if self.kind.codec == 0 else 0)
        else:
            self.advance()
        # What is less than the clock can tell from nothing is nothing.
        instant = max(1e-9, self.system.env.now * 1e-14) * self.level
        little = instant * max(self.kind.cpus, 1)
        less = 1e-9 if frames == math.inf else max(frames, 1) * instant
        decoded = self.decoding[0] if self.decoding and not self.prefilling and self.decoding[0].left <= less else None
        for item in [item for item in self.preparing if item.left <= little]:
            self.preparing.remove(item)
            self.ready(item)
        if self.prefilling and self.prefilling[0].left <= little:
            self.join(self.prefilling.popleft())
        for item in (*self.live, *self.decoding, *self.cleaning):
            item.behind = 0.0 if item.behind <= little else item.behind
        if decoded is not None:
            self.decoding.popleft()
            self.cleaning.append(decoded)
        spoken = [item for item in self.live if item.left <= less]
        self.live = [item for item in self.live if item.left > less]
        for item in spoken:
            if self.kind.codec > 0:
                item.left = item.frames
                self.decoding.append(item)
            else:
                self.cleaning.append(item)
        ended = [item for item in self.cleaning if item.behind == 0]
        self.cleaning = [item for item in self.cleaning if item.behind > 0]
        for item in ended:
            self.system.done(item, self.kind.latency)
        self.plan()
        if ended:
            self.system.offer(self)

    def die(self):
        """Loses what it has; the items come back when their leases end."""
        self.advance()
        lost = self.items()
        self.begin()
        self.alive = False
        self.version += 1
        for voice in list(self.voices):
            self.system.forget(self, voice)
        self.voices.clear()
        self.system.share_out(self)
        return lost


class System:
    """Workers at one queue."""

    def __init__(self, kind, workers, *, window=0.0, affinity=0.0, reference_seconds=5.0, voice_cache=64,
                 redis_rate=0.0, cold=False, lose=None, lease=30.0, machines=None, together=1.0):
        self.env = simpy.Environment()
        # Processors and numbers of the workers that share them; None: each worker has its own.
        self.sets = [(cpus, list(members)) for cpus, members in machines or ()]
        self.set_of = {worker: one for one in self.sets for worker in one[1]}
        # How many times as long everything takes on one set while all others work, too.
        self.together = together
        self.window, self.affinity, self.lease = window, affinity, lease
        self.reference_seconds, self.voice_cache = reference_seconds, voice_cache
        self.redis_seconds = 1 / redis_rate if redis_rate else 0.0
        self.redis_free = 0.0
        self.queue = collections.OrderedDict()
        self.holders = {}
        self.finished = []
        self.free, self.tie = [], itertools.count()
        self.workers = [Worker(self, i, kind, kind.load if cold else 0.0) for i in range(workers)]
        for worker in self.workers:
            if worker.alive:
                self.offer(worker)
        if lose is not None:
            self.at(lose, lambda: self.lose(self.workers[0]))

    def after(self, delay, call):
        self.env.timeout(delay).callbacks.append(lambda _: call())

    def at(self, when, call):
        self.after(max(when - self.env.now, 0), call)

    def share_out(self, changed):
        """After a worker's work changed: what the threads of each get of the processors from now on."""
        one = self.set_of.get(changed.number)
        if one is None:
            changed.level = self.level(changed.kind.cpus, [changed])
            changed.schedule()
            return
        for each in self.sets if self.together != 1 else [one]:
            self.share_out_set(each, changed)

    def share_out_set(self, one, changed):
        workers = [self.workers[member] for member in one[1]]
        level = self.level(one[0], workers) / self.slower(one)
        for worker in workers:
            if worker is changed or worker.level != level:
                worker.advance()
                worker.level = level
                worker.schedule()

    @staticmethod
    def level(cpus, workers):
        """Every thread that has work gets as much as another, none more than a processor."""
        threads = sum(worker.threads() for worker in workers)
        crowd = workers[0].kind.crowd if sum(worker.count for worker in workers) > 1 else 1
        return min(1.0, cpus / threads) / crowd if threads > 0 else 1.0

    def slower(self, one):
        """Processors share caches, memory and, if they are threads of one core, what computes."""
        others = [other for other in self.sets if other is not one]
        if self.together == 1 or not others:
            return 1.0
        working = sum(any(self.workers[member].threads() for member in members) for _, members in others)
        return 1 + (self.together - 1) * working / len(others)

    def learn(self, worker, voice):
        self.holders.setdefault(voice, set()).add(worker)

    def forget(self, worker, voice):
        self.holders.get(voice, set()).discard(worker)

    def lose(self, worker):
        for item in worker.die():
            self.after(self.lease, lambda item=item: self.enqueue(item))
        self.after(self.lease + worker.kind.load, worker.start)  # another one takes its place

    # ---- The queue ----

    def arrive(self, item):
        """Through Redis, which does one thing after the other."""
        if not self.redis_seconds:
            self.enqueue(item)
            return
        self.redis_free = max(self.redis_free, self.env.now) + self.redis_seconds
        self.at(self.redis_free, lambda: self.enqueue(item))

    def enqueue(self, item):
        worker = self.holder_with_place(item)
        if worker is None and not self.waits_for_holder(item):
            worker = self.least_loaded()
        if worker is not None:
            self.give(worker, item)
            return
        self.queue[id(item)] = item
        if self.waits_for_holder(item):
            self.after(self.affinity, lambda: self.steal(item))

    def waits_for_holder(self, item):
        waited = self.env.now - item.arrived
        return self.affinity > 0 and waited < self.affinity - 1e-12 and bool(self.holders.get(item.voice))

    def steal(self, item):
        if id(item) in self.queue:
            worker = self.least_loaded()
            if worker is not None:
                del self.queue[id(item)]
                self.give(worker, item)

    def holder_with_place(self, item):
        if item.voice is None:
            return None
        able = [worker for worker in self.holders.get(item.voice, ()) if worker.has_place()]
        return min(able, key=lambda worker: (worker.count, worker.number)) if able else None

    def least_loaded(self):
        while self.free:
            count, _, worker = heapq.heappop(self.free)
            if worker.has_place() and worker.count == count:
                return worker
        return None

    def put_back(self, worker):
        if worker.has_place():
            heapq.heappush(self.free, (worker.count, next(self.tie), worker))

    def give(self, worker, item):
        worker.take(item)
        self.put_back(worker)

    def offer(self, worker):
        """A worker has a place: what it knows comes first, then whoever is longest in the queue."""
        while worker.has_place() and self.queue:
            chosen = None
            for item in itertools.islice(self.queue.values(), LOOK):
                if item.voice is not None and item.voice in worker.voices:
                    chosen = item
                    break
                if chosen is None and not self.waits_for_holder(item):
                    chosen = item
            if chosen is None:
                break
            del self.queue[id(chosen)]
            worker.take(chosen)
        self.put_back(worker)

    def done(self, item, latency):
        item.ended = self.env.now + latency
        self.finished.append(item)

    # ---- A run ----

    def run(self, items):
        """Items in the order of their arrival; returns them when all have ended."""
        def source():
            for item in items:
                if item.arrived > self.env.now:
                    yield self.env.timeout(item.arrived - self.env.now)
                self.arrive(item)
        self.env.process(source())
        self.env.run()
        assert len(self.finished) == len(items), (len(self.finished), len(items))
        return Result(self, items)


def percentile(values, share):
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class Result:
    def __init__(self, system, items):
        counted = items[len(items) // 10:]  # the first find it empty
        self.latencies = [item.ended - item.arrived for item in counted]
        self.waits = [item.taken - item.arrived for item in counted]
        self.end = max(item.ended for item in items)
        self.throughput = len(items) / (self.end - items[0].arrived) if self.end > items[0].arrived else math.inf
        self.busy = sum(worker.busy for worker in system.workers) / (self.end * len(system.workers))

    def mean(self):
        return sum(self.latencies) / len(self.latencies)

    def mean_wait(self):
        return sum(self.waits) / len(self.waits)

    def p(self, share):
        return percentile(self.latencies, share)

    def describe(self):
        return {"throughput": round(self.throughput, 4), "mean": round(self.mean(), 4), "p50": round(self.p(0.5), 4),
                "p95": round(self.p(0.95), 4), "p99": round(self.p(0.99), 4), "busy": round(self.busy, 4)}


# ---- Loads ----

def lengths(name, mean, rng):
    """Draws seconds of speech."""
    if name == "fixed":
        return lambda: mean
    if name == "exponential":
        return lambda: rng.expovariate(1 / mean)
    if name == "uniform":
        return lambda: rng.uniform(0.5 * mean, 1.5 * mean)
    sigma = 0.6  # lognormal
    return lambda: rng.lognormvariate(math.log(mean) - sigma * sigma / 2, sigma)


def gaps(name, rate, rng):
    """Draws seconds between arrivals."""
    if name == "regular":
        return lambda: 1 / rate
    if name == "poisson":
        return lambda: rng.expovariate(rate)
    burst = itertools.cycle([True] + [False] * 7)  # eight at once
    return lambda: rng.expovariate(rate / 8) if next(burst) else 0.0


def voices(count, rng):
    """Draws a voice, the k-th 1/k as often as the first; 0: each item has a new one, None: all the same, prepared."""
    if count is None:
        return lambda: None
    if count == 0:
        numbers = itertools.count()
        return lambda: next(numbers)
    heap = list(itertools.accumulate(1 / k for k in range(1, count + 1)))
    return lambda: bisect.bisect_left(heap, rng.random() * heap[-1])


def make_load(count, rate, *, seconds=5.0, length="lognormal", arrivals="poisson", voice_count=None, seed=1):
    rng = random.Random(seed)
    gap, draw, voice = gaps(arrivals, rate, rng), lengths(length, seconds, rng), voices(voice_count, rng)
    now, items = 0.0, []
    for _ in range(count):
        now += gap()
        items.append(Item(now, draw(), voice()))
    return items


def simulate(kind, workers, rate, count, load, **system):
    return System(kind, workers, **system).run(make_load(count, rate, **load))


def plan(kind, rate, target, count, load, **system):
    """The fewest workers whose p95 is at most `target`; None: no number of them is fast enough."""
    least = max(1, math.floor(rate / kind.busiest(load.get("seconds", 5.0))))
    # Long enough that a queue which grows is seen to grow.
    count = max(count, 10 * least)

    def meets(workers):
        return simulate(kind, workers, rate, count, load, **system).p(0.95) <= target
    if not meets(4 * least + 8):
        return None
    low, high = least - 1, least
    while not meets(high):
        low, high = high, min(max(high + 1, int(high * 1.25)), 4 * least + 8)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if meets(middle) else (middle, high)
    return high


def shards(rate, redis_rate, most=0.7):
    """Redis servers for a load: none is asked for more than `most` of what it can do."""
    return max(1, math.ceil(rate / (redis_rate * most)))


# ---- The command ----

def read_kind(text):
    path, _, price = text.partition("=")
    with open(path) as file:
        times = json.load(file)
    if price:
        times["price"] = float(price)
    return Kind(times)


def add_load(parser):
    parser.add_argument("--rate", type=float, required=True, help="items a second")
    parser.add_argument("--items", type=int, default=4000, help="how many are simulated; default 4000")
    parser.add_argument("--seconds", type=float, default=5, help="of speech in an item, on average; default 5")
    parser.add_argument("--length", choices=["fixed", "exponential", "uniform", "lognormal"], default="lognormal")
    parser.add_argument("--arrivals", choices=["poisson", "regular", "bursts"], default="poisson")
    parser.add_argument("--voices", type=int, help="different ones; 0: a new one for each item; default: one, prepared")
    parser.add_argument("--reference-seconds", type=float, default=5)
    parser.add_argument("--window", type=float, default=0, help="how long an empty batch waits for company")
    parser.add_argument("--affinity", type=float, default=0, help="how long an item waits for a worker with its voice")
    parser.add_argument("--redis-rate", type=float, default=0, help="items a second of one Redis; 0 = as many as come")
    parser.add_argument("--seed", type=int, default=1)


def load_of(arguments):
    return {"seconds": arguments.seconds, "length": arguments.length, "arrivals": arguments.arrivals,
            "voice_count": arguments.voices, "seed": arguments.seed}


def system_of(arguments):
    return {"window": arguments.window, "affinity": arguments.affinity, "redis_rate": arguments.redis_rate,
            "reference_seconds": arguments.reference_seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run")
    run.add_argument("--service", required=True)
    run.add_argument("--workers", type=int, required=True)
    run.add_argument("--cold", action="store_true", help="the workers start with the load")
    run.add_argument("--lose", type=float, help="when a worker is lost")
    run.add_argument("--lease", type=float, default=30, help="after which its items are given to others")
    run.add_argument("--machine-cpus", type=float, help="processors that all workers share, less what other programs "
                     "take of them; default: each worker has its own")
    add_load(run)
    find = commands.add_parser("plan")
    find.add_argument("--service", action="append", required=True)
    find.add_argument("--p95", type=float, required=True, help="seconds from arrival to result")
    add_load(find)
    redis = commands.add_parser("redis")
    redis.add_argument("--rate-file", required=True)
    redis.add_argument("--rate", type=float, required=True)
    arguments = parser.parse_args()
    if arguments.command == "redis":
        with open(arguments.rate_file) as file:
            rate = json.load(file)["items_per_second"]
        print(json.dumps({"redis_items_per_second": rate, "servers": shards(arguments.rate, rate)}))
    elif arguments.command == "run":
        kind = read_kind(arguments.service)
        shared = arguments.machine_cpus and [(arguments.machine_cpus, range(arguments.workers))]
        result = simulate(kind, arguments.workers, arguments.rate, arguments.items, load_of(arguments),
                          machines=shared, cold=arguments.cold, lose=arguments.lose, lease=arguments.lease,
                          **system_of(arguments))
        print(json.dumps({"kind": kind.name, "workers": arguments.workers, **result.describe()}))
    else:
        for kind in map(read_kind, arguments.service):
            workers = plan(kind, arguments.rate, arguments.p95, arguments.items, load_of(arguments),
                           **system_of(arguments))
            print(json.dumps({"kind": kind.name, "workers": workers,
                              "cost": None if workers is None else round(workers * kind.price, 4)}))


if __name__ == "__main__":
    main()
