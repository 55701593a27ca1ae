#!/usr/bin/env python3
"""What tools/capacity.py says of workers on this machine beside what they do: JSON on standard output.

    bench/capacity_check.py --service FILE [--build build] [--engine preview|qwen3] [--model DIR] [--cpus 0 ...]
                            [--items 60] [--rounds 1] [--keep FILE]

Each of --cpus is a worker (numbers with commas between are the processors that it may use), a `timbre serve` of its
own with as many threads as the service times are for; this program is the queue in front of them. Workers with the
same processors share them, and the model is told how much of them other programs, this one too, took meanwhile.
A round has all items at once, for the throughput, then as many in a Poisson process at --load of it, for the
latencies. The model is given the same arrivals and the lengths of speech that came of it, and how fast the processors
were: a virtual machine's speed changes within minutes, and two of its processors may be threads of one core. For that,
single items are spoken before, between and after, on each set of processors alone and then on all, and their
processor time beside that of such an item in FILE is the factor for all service times of that half of the round.
Nothing else of what was measured reaches the model. --keep leaves every item in a file: when it came, how long its
speech is, when it ended and when the model says, with what the model was told, so that another model can be tried.
"""
import argparse
import contextlib
import itertools
import json
import os
import pathlib
import random
import sys
import threading
import time

root = pathlib.Path(__file__).resolve().parent.parent
options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--service", required=True)
options.add_argument("--build", default=str(root / "build"))
options.add_argument("--engine", default="preview")
options.add_argument("--model")
options.add_argument("--cpus", nargs="+", default=["0"])
options.add_argument("--items", type=int, default=60)
options.add_argument("--rounds", type=int, default=1)
options.add_argument("--probes", type=int, default=8, help="single items for each set of processors")
options.add_argument("--load", type=float, default=0.6, help="of the throughput that the model says")
options.add_argument("--nice", type=int, help="of the workers and of this; below 0 needs root")
options.add_argument("--seed", type=int, default=1)
options.add_argument("--keep", help="JSON, a line for each run")
arguments = options.parse_args()
os.environ["TIMBRE"] = str(pathlib.Path(arguments.build) / "cli/timbre")
sys.path.insert(0, str(root / "tests/server"))
sys.path.insert(0, str(root / "tools"))
from capacity import Item, System, percentile, read_kind  # noqa: E402
from load import parallel, prefer  # noqa: E402
from probe import processor_time, single_item, speak  # noqa: E402
from support import Server, wav  # noqa: E402

KIND = read_kind(arguments.service)
if "single" not in KIND.times:
    sys.exit(f"{arguments.service}: bench/service_times.py was older and left \"single\" out: make it again")


class Workers:
    """The least loaded one that has a place takes the next item; of several, the one that has been so for longest."""

    def __init__(self, servers):
        self.servers, self.count = servers, [0] * len(servers)
        self.turns, self.turn = itertools.count(), [0] * len(servers)
        self.references = [server.upload(wav(6)) for server in servers]
        self.changed = threading.Condition()
        for worker in range(len(servers)):
            speak(servers[worker], self.references[worker], 1)

    def add(self, worker, items):
        self.count[worker] += items
        self.turn[worker] = next(self.turns)

    def run(self, arrivals, sentences):
        """Returns for each item when it ended and how long its speech is."""
        out, threads, start = [None] * len(arrivals), [], time.monotonic()

        def one(index, worker):
            spoken = speak(self.servers[worker], self.references[worker], sentences[index])
            out[index] = (time.monotonic() - start, spoken)
            with self.changed:
                self.add(worker, -1)
                self.changed.notify()
        for index, arrival in enumerate(arrivals):
            time.sleep(max(arrival - (time.monotonic() - start), 0))
            with self.changed:
                self.changed.wait_for(lambda: min(self.count) < KIND.max_batch)
                worker = min(range(len(self.count)), key=lambda worker: (self.count[worker], self.turn[worker]))
                self.add(worker, 1)
            threads.append(threading.Thread(target=one, args=(index, worker)))
            threads[-1].start()
        for thread in threads:
            thread.join()
        return out


def machines():
    """Sets of processors, and the numbers of the workers on each."""
    out = {}
    for number, cpus in enumerate(arguments.cpus):
        out.setdefault(cpus, []).append(number)
    return list(out.items())


class Speed:
    """By what all service times are to be multiplied now, for each set of processors: the processor time of single
    items beside that of such an item when the service times were measured. `alone`: while the other sets rest,
    `together`: how many times as long it takes while all of them work."""

    def __init__(self, alone, together):
        self.alone, self.together = alone, together

    @staticmethod
    def measure(workers):
        sets = [members[0] for _, members in machines()]
        alone = [probe(workers, worker) for worker in sets]
        if len(sets) == 1:
            return Speed(alone, 1.0)
        all_of_them = [0.0] * len(sets)

        def one(index):
            all_of_them[index] = probe(workers, sets[index])
        parallel(len(sets), one)
        return Speed(alone, max(sum(all_of_them) / sum(alone), 1.0))

    def between(self, other):
        return Speed([(a + b) / 2 for a, b in zip(self.alone, other.alone)], (self.together + other.together) / 2)


def probe(workers, worker):
    return single_item(workers.servers[worker], workers.references[worker], arguments.probes) / KIND.times["single"]


def model(arrivals, spoken, ends, others, speed):
    """The ends that the model says; --keep leaves them beside those that were. `others`: of each set, the processors
    that were busy with something else."""
    items = [Item(arrival, seconds, None) for arrival, seconds in zip(arrivals, spoken)]
    least = min(speed.alone)
    shares = [((len(cpus.split(",")) - taken) * least / factor, members)
              for (cpus, members), taken, factor in zip(machines(), others, speed.alone)]
    System(KIND.slower(least), len(arguments.cpus), machines=shares, together=speed.together).run(items)
    said = [item.ended for item in items]
    if arguments.keep is not None:
        with open(arguments.keep, "a") as file:
            json.dump({"service": KIND.times, "cpus": arguments.cpus, "arrivals": arrivals, "spoken": spoken,
                       "ends": ends, "said": said, "others": others, "alone": speed.alone,
                       "together": speed.together}, file)
            file.write("\n")
    return said


def work(servers):
    """For each set of processors, seconds that they worked and seconds of that for workers."""
    out = []
    for cpus, members in machines():
        worked = 0
        for line in pathlib.Path("/proc/stat").read_text().splitlines():
            name, *fields = line.split()
            if name.startswith("cpu") and name[3:] in cpus.split(","):
                user, nice, system, _, _, irq, softirq, steal = map(int, fields[:8])
                worked += user + nice + system + irq + softirq + steal
        out.append((worked / os.sysconf("SC_CLK_TCK"), processor_time([servers[member] for member in members])))
    return out


def attended(servers, run):
    """What `run` returns, and for each set the processors that others and that the workers kept busy meanwhile."""
    started, before = time.monotonic(), work(servers)
    out = run()
    passed = time.monotonic() - started
    changes = [(after[0] - was[0], after[1] - was[1]) for after, was in zip(work(servers), before)]
    return out, [(all_work - own) / passed for all_work, own in changes], [own / passed for _, own in changes]


def latencies(arrivals, ends):
    return [end - arrival for arrival, end in zip(arrivals, ends)]


def compare(measured, said):
    return {"measured": round(measured, 4), "model": round(said, 4), "error": round(said / measured - 1, 4)}


def at_once(workers, sentences, before):
    """The seconds that the items took and those that the model says; what others took of the processors; the speed."""
    arrivals = [0.0] * len(sentences)
    out, others, busy = attended(workers.servers, lambda: workers.run(arrivals, sentences))
    after = Speed.measure(workers)
    ends, spoken = zip(*out)
    said = model(arrivals, spoken, ends, others, before.between(after))
    return max(ends), max(said), others, busy, after


def poisson(workers, sentences, rate, others, before, rng):
    """The latencies, and those that the model says. When the workers rest, others may have their processors at no
    cost: what counts is what they took when all items were there at once."""
    arrivals, now = [], 0.0
    for _ in sentences:
        now += rng.expovariate(rate)
        arrivals.append(now)
    ends, spoken = zip(*workers.run(arrivals, sentences))
    after = Speed.measure(workers)
    said = model(arrivals, spoken, ends, others, before.between(after))
    return latencies(arrivals, ends), latencies(arrivals, said), after


def start_workers(stack):
    more = ["--max-batch", KIND.max_batch, "--threads", KIND.cpus, "--rate-limit", 0, "--max-body-memory", "1G",
            *(["--model", arguments.model] if arguments.model else [])]
    servers = []
    for cpus in arguments.cpus:
        def settle(cpus=cpus):
            os.sched_setaffinity(0, {int(cpu) for cpu in cpus.split(",")})
            if arguments.nice is not None:
                prefer(arguments.nice)
        servers.append(stack.enter_context(Server(*more, engine=arguments.engine, preexec_fn=settle)))
    return Workers(servers)


def main():
    if arguments.nice is not None and os.getpid() != os.getsid(0):
        prefer(arguments.nice)
    rng = random.Random(arguments.seed)
    took = said_took = 0.0
    measured, said, speeds, all_others, all_busy = [], [], [], [], []
    with contextlib.ExitStack() as stack:
        workers = start_workers(stack)
        speed = Speed.measure(workers)
        for _ in range(arguments.rounds):
            sentences = [rng.choice((1, 1, 2, 3)) for _ in range(arguments.items)]
            speeds.append(speed)
            seconds, said_seconds, others, busy, speed = at_once(workers, sentences, speed)
            took, said_took = took + seconds, said_took + said_seconds
            speeds.append(speed)
            rate = arguments.load * arguments.items / said_seconds
            these, those, speed = poisson(workers, sentences, rate, others, speed, rng)
            measured, said = measured + these, said + those
            all_others.append(others)
            all_busy.append(busy)
        speeds.append(speed)
    count = arguments.items * arguments.rounds
    print(json.dumps({"kind": KIND.name, "workers": len(arguments.cpus), "cpus": arguments.cpus, "items": count,
                      "throughput": compare(count / took, count / said_took),
                      "p50": compare(percentile(measured, 0.5), percentile(said, 0.5)),
                      "p95": compare(percentile(measured, 0.95), percentile(said, 0.95)),
                      "factors": [[round(one, 3) for one in sets] for sets in zip(*(speed.alone for speed in speeds))],
                      "together": [round(speed.together, 3) for speed in speeds],
                      "others": [round(sum(one) / len(one), 3) for one in zip(*all_others)],
                      "busy": [round(sum(one) / len(one), 3) for one in zip(*all_busy)],
                      "load_average": round(os.getloadavg()[0], 1), "nice": arguments.nice}))


main()
