#!/usr/bin/env python3
"""Service times of one worker, as tools/capacity.py wants them: JSON on standard output.

    bench/service_times.py [--build build] [--engine preview|qwen3] [--model DIR] [--cpus 0] [--batch 8] [--name NAME]

Needs simpy, Linux and an idle machine. Starts `timbre serve` on the given CPUs and measures the processor time of
its threads (/proc), by what they are for: other programs on the machine make it later, but hardly longer. A step's time
is that of the batch's thread with its team, codec included, for each frame of 80 ms of a batch of that size, if it has
all processors; an engine that is a program of its own (espeak-ng) is counted with it, but its start with the overhead,
since no other item waits for that. The rest are processor seconds, of stages for a second of audio.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys
import time

root = pathlib.Path(__file__).resolve().parent.parent
options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
options.add_argument("--build", default=str(root / "build"))
options.add_argument("--engine", default="preview")
options.add_argument("--model")
options.add_argument("--cpus", default="0", help="numbers with commas between, that the worker may use")
options.add_argument("--batch", type=int, default=8, help="sequences spoken at once, at most")
options.add_argument("--name")
options.add_argument("--rounds", type=int, default=3)
options.add_argument("--nice", type=int, help="of the worker; less than none needs root")
arguments = options.parse_args()
os.environ["TIMBRE"] = str(pathlib.Path(arguments.build) / "cli/timbre")
sys.path.insert(0, str(root / "tests/server"))
sys.path.insert(0, str(root / "tools"))
from capacity import Item, Kind, System  # noqa: E402
from load import parallel, prefer  # noqa: E402
from probe import SENTENCE, single_item, speak  # noqa: E402
from support import Server, wav  # noqa: E402

FRAME = 0.08
TICK = 1 / os.sysconf("SC_CLK_TCK")
CPUS = {int(cpu) for cpu in arguments.cpus.split(",")}
REFERENCE_SECONDS = 6
GROUPS = {"speech": ("tmb-scheduler", "timbre-team", "timbre-codec"), "resample": ("tmb-resample",),
          "enhance": ("tmb-enhance",), "encode": ("tmb-encode",)}


def thread_seconds(task):
    """Processor time of a thread: in nanoseconds if the kernel tells, in ticks otherwise."""
    try:
        for line in (task / "sched").read_text().splitlines():
            if line.startswith("se.sum_exec_runtime"):
                return float(line.split(":")[1]) / 1e3
    except OSError:
        pass
    fields = (task / "stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK


def process_clock(process):
    """Of clock_getcpuclockid(3): nanoseconds."""
    return (~process << 3) | 2


def processor_time(server):
    """By group of threads; "other" is what is left of the whole process, threads that have ended included."""
    out = dict.fromkeys(GROUPS, 0.0)
    for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir():
        try:
            name, seconds = (task / "comm").read_text().strip(), thread_seconds(task)
        except OSError:
            continue
        for group, names in GROUPS.items():
            out[group] += seconds if name in names else 0
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
    out["other"] = time.clock_gettime(process_clock(server.process.pid)) - sum(out.values())
    out["speech"] += (int(fields[13]) + int(fields[14])) * TICK  # programs that it started
    return out


def voice(number):
    return wav(REFERENCE_SECONDS, seed=number)


def work(server, reference, count, sentences):
    """Speaks `count` items at once; processor time by group, seconds of speech, seconds that it took."""
    fields = {"path": "/voice-clone-enhanced", "seed": 1, "max_seconds": 3.2 * sentences, "timeout": 600,
              "ref_text": "A reference of a few seconds."}
    before, start = processor_time(server), time.monotonic()
    answer = server.clone([SENTENCE * sentences] * count, ref_audio=reference, **fields)
    took = time.monotonic() - start
    server.wait_idle()
    time.sleep(0.1)
    after = processor_time(server)
    assert answer.status == 200 and all("error" not in item for item in answer.json()["items"]), answer
    spoken = sum(item["duration"] for item in answer.json()["items"])
    return {group: after[group] - before[group] for group in after}, spoken, took


def median(values):
    return sorted(values)[len(values) // 2]


def repeated(run):
    """The medians of several rounds."""
    rounds = [run(number) for number in range(arguments.rounds)]
    cpu = {group: median([one[0][group] for one in rounds]) for group in rounds[0][0]}
    return cpu, median([one[1] for one in rounds]), median([one[2] for one in rounds])


def constant_part(points):
    """Of the line with the least squares through (frames, seconds), what no frames take: at least nothing."""
    x, y = (sum(values) / len(points) for values in zip(*points))
    spread = sum((frames - x) ** 2 for frames, _ in points)
    slope = sum((frames - x) * (seconds - y) for frames, seconds in points) / spread if spread else y / x
    return min(max(y - slope * x, 0), min(seconds for _, seconds in points))


def crowd(server, reference, kind):
    """How many times as long as its parts the work takes if the places are all taken: caches are shared."""
    ratios = []
    for _ in range(arguments.rounds):
        items, start = [Item(0, 0, None) for _ in range(6 * arguments.batch)], time.monotonic()

        def one(client, items=items):
            for item in items[client::arguments.batch]:
                item.frames = speak(server, reference, 1 + client % 3) / FRAME
        parallel(arguments.batch, one)
        ratios.append((time.monotonic() - start) / System(kind, 1).run(items).end)
    return max(median(ratios), 1)


def settle():
    """The worker's processors, and its turn before others."""
    os.sched_setaffinity(0, CPUS)
    if arguments.nice is not None:
        prefer(arguments.nice)


def codec_seconds():
    """Of a frame, decoded alone in chunks of four; None for an engine without one."""
    if arguments.engine != "qwen3" or not arguments.model:
        return None
    program = pathlib.Path(arguments.build) / "bench/bench_codec"
    done = subprocess.run([program, arguments.model, str(len(CPUS)), "bf16"],
                          input="decode 16 4 1\n" * 5, capture_output=True, text=True, check=True,
                          preexec_fn=settle)
    times = [float(line) for line in done.stdout.splitlines() if line.replace(".", "", 1).isdigit()]
    return min(times) / 16 if times else None


def measure(server):
    start = time.monotonic()
    known = server.upload(voice(1))
    work(server, known, 1, 1)
    first = time.monotonic() - start
    singles = [repeated(lambda _, sentences=sentences: work(server, known, 1, sentences)) for sentences in range(1, 5)]
    short, short_spoken, short_took = singles[0]
    # What grows with the speech is the step, what does not is the prefill. More text is not always more speech: some
    # models end when they like.
    prefill = constant_part([(spoken / FRAME, cpu["speech"]) for cpu, spoken, _ in singles])
    steps, batch = {}, 1
    while batch <= arguments.batch:
        cpu, spoken, _ = repeated(lambda _, batch=batch: work(server, known, batch, 3))
        steps[str(batch)] = max(cpu["speech"] - batch * prefill, 0) / (spoken / batch / FRAME) / len(CPUS)
        batch *= 2
    # `cpu` is now that of the largest batch: enough of everything.
    new, _, _ = repeated(lambda number: work(server, server.upload(voice(100 + number)), 1, 1))
    started = prefill if arguments.engine == "preview" else 0
    single = median([single_item(server, known, 10) for _ in range(arguments.rounds)])
    times = {
        "name": arguments.name or arguments.engine, "engine": arguments.engine, "cpus": len(CPUS),
        "max_batch": arguments.batch, "frame_seconds": FRAME, "prefill": prefill - started, "step": steps,
        "codec": codec_seconds(),
        "stage1": max(new["resample"] - short["resample"], 0) / REFERENCE_SECONDS,
        "stage2": max(new["enhance"] - short["enhance"], 0) / REFERENCE_SECONDS,
        "stage4": cpu["resample"] / spoken, "stage5": cpu["enhance"] / spoken,
        "voice": max(new["encode"] - short["encode"], 0),
        "overhead": started + sum(max(one["other"], 0) for one, *_ in singles) / 4,
        # bench/capacity_check.py measures it again, alike: an item that finds its caches warm takes less.
        "single": single,
        "wake": max(median([single_item(server, known, 10, 0.1) for _ in range(arguments.rounds)]) - single, 0),
    }
    times["latency"] = max(short_took - System(Kind(times), 1).run([Item(0, short_spoken, None)]).p(0), 0)
    times["load"] = max(first - short_took, 0)
    times["crowd"] = crowd(server, known, Kind(times))
    times["conditions"] = {
        "machine": platform.machine(), "cpu": next(
            (line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), ""),
        "worker_cpus": sorted(CPUS), "load_average": round(os.getloadavg()[0], 1), "nice": arguments.nice,
        "model": arguments.model and os.path.basename(arguments.model.rstrip("/"))}
    return times


def main():
    more = ["--max-batch", arguments.batch, "--threads", len(CPUS)]
    more += ["--model", arguments.model] if arguments.model else []

    with Server(*more, engine=arguments.engine, preexec_fn=settle) as server:
        times = measure(server)
    json.dump({key: round(value, 9) if isinstance(value, float) else value for key, value in times.items()}, sys.stdout,
              indent=1)
    print()


main()
