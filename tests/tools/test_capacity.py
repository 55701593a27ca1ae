"""tools/capacity.py against closed forms of queueing theory, and its rules one by one."""
import json
import math
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools"))
from capacity import FRAME, Item, Kind, System, make_load, plan, shards, simulate  # noqa: E402

# A worker that speaks one item at a time, a second of speech in a second.
PLAIN = {"cpus": 1, "max_batch": 1, "step": {"1": FRAME}}
COUNT = 6000
SEEDS = (1, 2, 3)


def kind(**changes):
    return Kind({**PLAIN, **changes})


def average(measure, *arguments, **options):
    """Over several runs, so that the tolerances are some three standard errors."""
    load = options.pop("load")
    return sum(measure(simulate(*arguments, COUNT, {**load, "seed": seed}, **options)) for seed in SEEDS) / len(SEEDS)


def erlang_c(servers, load):
    """The share of those who wait at M/M/c."""
    last = load ** servers / math.factorial(servers) * servers / (servers - load)
    return last / (sum(load ** k / math.factorial(k) for k in range(servers)) + last)


def test_md1():
    """Poisson arrivals, fixed lengths: Pollaczek-Khinchine without variance."""
    for busy in (0.3, 0.6):
        load = {"seconds": 1, "length": "fixed"}
        mean = average(lambda result: result.mean(), kind(), 1, busy, load=load)
        assert mean == pytest.approx(1 + busy / (2 * (1 - busy)), rel=0.08)
        assert average(lambda result: result.busy, kind(), 1, busy, load=load) == pytest.approx(busy, rel=0.04)


def test_mm1():
    for busy in (0.3, 0.6):
        load = {"seconds": 1, "length": "exponential"}
        mean = average(lambda result: result.mean(), kind(), 1, busy, load=load)
        assert mean == pytest.approx(1 / (1 - busy), rel=0.12)
        p95 = average(lambda result: result.p(0.95), kind(), 1, busy, load=load)
        assert p95 == pytest.approx(-math.log(0.05) / (1 - busy), rel=0.12)  # the time is exponential too


@pytest.mark.parametrize("servers", [1, 3, 10])
def test_kiefer_and_wolfowitz(servers):
    """One item at a time for each worker: every end is as the recursion has it."""
    items = make_load(3000, 0.9 * servers, seconds=1, length="exponential", seed=5)
    together(kind(), items, workers=servers)
    free = [0.0] * servers
    for item in items:
        first = min(range(servers), key=free.__getitem__)
        free[first] = max(free[first], item.arrived) + item.frames * FRAME
        assert item.ended == pytest.approx(free[first], abs=1e-4)


@pytest.mark.parametrize("servers,busy", [(2, 0.5), (3, 0.6), (4, 0.6)])
def test_mmc(servers, busy):
    load = servers * busy
    items = {"seconds": 1, "length": "exponential"}
    wait = average(lambda result: result.mean_wait(), kind(), servers, load, load=items)
    assert wait == pytest.approx(erlang_c(servers, load) / (servers - load), rel=0.15)


def test_dd1_never_waits():
    result = simulate(kind(), 1, 0.99, 1000, {"seconds": 1, "length": "fixed", "arrivals": "regular"})
    assert max(result.waits) < 1e-6 and result.p(1) == pytest.approx(1)


def test_processor_sharing():
    """A batch whose step costs in proportion to its size shares one processor: M/G/1-PS, whatever the lengths."""
    sharing = kind(max_batch=400, step={"1": FRAME, "400": 400 * FRAME})
    for length in ("exponential", "fixed", "lognormal"):
        mean = average(lambda result: result.mean(), sharing, 1, 0.6, load={"seconds": 1, "length": length})
        assert mean == pytest.approx(1 / (1 - 0.6), rel=0.12)


def test_workers_on_one_machine():
    """They share its processors, and get them alone again when the others have nothing to do."""
    def ends(machines, **system):
        items = [Item(0, 1, None), Item(0, 2, None), Item(5, 1, None)]
        together(kind(step={"1": FRAME}, max_batch=1), items, workers=2, machines=machines, **system)
        return [item.ended for item in items]
    assert ends(None) == pytest.approx([1, 2, 6])
    assert ends([(2, [0, 1])]) == pytest.approx([1, 2, 6])
    assert ends([(1, [0, 1])]) == pytest.approx([2, 3, 6])
    assert ends([(0.5, [0, 1])]) == pytest.approx([4, 7, 8])
    assert ends([(0.5, [0]), (1, [1])]) == pytest.approx([2, 2, 7])
    # Two processors of one core: both are slower while both work.
    assert ends([(1, [0]), (1, [1])], together=2) == pytest.approx([2, 3, 6])
    assert ends([(1, [0]), (1, [1])], together=1.5) == pytest.approx([1.5, 2.5, 6])
    assert ends([(2, [0, 1])], together=2) == pytest.approx([1, 2, 6])


def test_a_batch_in_parallel():
    """A step that costs the same for any batch: nobody waits for anybody, M/G/infinity."""
    free = kind(max_batch=10000, step={"1": FRAME})
    result = simulate(free, 1, 50, 5000, {"seconds": 1, "length": "fixed"})
    assert result.p(1) == pytest.approx(1) and result.throughput == pytest.approx(50, rel=0.05)


def together(worker_kind, items, **system):
    return System(worker_kind, system.pop("workers", 1), **system).run(items)


def test_what_an_item_costs():
    one = kind(overhead=0.1, prefill=0.2, stage1=0.01, stage2=0.03, voice=0.5, stage4=0.05, stage5=0.15, latency=0.01)
    items = [Item(0, 2, "anna"), Item(10, 2, "anna")]
    together(one, items, reference_seconds=10)
    speech = 2 * (1 + 0.05 + 0.15)
    assert items[0].ended == pytest.approx(0.3 + 0.4 + 0.5 + speech + 0.01)
    assert items[1].ended == pytest.approx(10 + 0.3 + speech + 0.01)  # the voice is known
    # A frame of a batch of one: the worker speaks 0.3 + 2 * 1.2 seconds at an item of two.
    assert one.busiest(2) == pytest.approx(1 / (0.3 + 2.4))


def test_a_prefill_stops_the_batch():
    """It is on the thread of speech; what prepares items before it is not."""
    one = kind(max_batch=2, prefill=0.5, step={"1": FRAME, "2": FRAME})
    items = [Item(0, 1, None), Item(1, 1, None)]
    together(one, items)
    assert [item.ended for item in items] == pytest.approx([2, 2.5])
    one = kind(cpus=2, max_batch=2, overhead=0.5, step={"1": FRAME, "2": FRAME})
    items = [Item(0, 1, None), Item(1, 1, None)]
    together(one, items)
    # The second's half second goes beside the first's speech: three threads on two processors.
    assert [item.ended for item in items] == pytest.approx([1.75, 2.75])


def test_stages_4_and_5_go_beside_speech():
    for cpus, stage5, end in ((2, 0.5, 2.5), (1, 0.5, 3), (1, 2, 6), (3, 1, 2 + 2 / 3), (3, 4, 8 + 2 / 3)):
        items = [Item(0, 2, None)]
        together(kind(cpus=cpus, stage5=stage5), items)
        assert items[0].ended == pytest.approx(end), (cpus, stage5)
    # Speech that costs nothing: what is left is their work, of so many items at once.
    for cleaners, end in ((3, 1), (2, 1.5), (1, 3)):
        items = [Item(0, 1, None) for _ in range(3)]
        together(kind(cpus=4, max_batch=3, cleaners=cleaners, stage5=1, step={"1": 0, "3": 0}), items)
        assert [item.ended for item in items] == pytest.approx([end] * 3), cleaners


def test_a_worker_at_rest():
    items = [Item(0, 1, None), Item(0.5, 1, None), Item(5, 1, None)]
    together(kind(max_batch=2, wake=0.5, step={"1": FRAME, "2": FRAME}), items)
    assert [item.ended for item in items] == pytest.approx([1.5, 1.5, 6.5])


def test_decoding_one_after_the_other():
    """Two whose frames are made together are decoded in turn, and the last one's stages 4 and 5 end it."""
    one = kind(max_batch=2, step={"1": FRAME, "2": 1.5 * FRAME}, codec=FRAME / 2)
    items = [Item(0, 1, None), Item(0, 1, None), Item(10, 1, None)]
    together(one, items)
    assert [item.ended for item in items] == pytest.approx([1, 1.5, 11])
    assert one.busiest(1) == pytest.approx(1 / 0.75)
    one = kind(cpus=2, max_batch=2, step={"1": FRAME, "2": FRAME}, codec=FRAME, stage5=0.5)
    items = [Item(0, 1, None)]
    together(one, items)
    assert items[0].ended == pytest.approx(1.25)  # three threads' work on two processors, half of one of them


def test_a_crowd():
    items = [Item(0, 1, None), Item(0, 1, None), Item(10, 1, None)]
    together(kind(max_batch=2, crowd=1.25, step={"1": FRAME, "2": 2 * FRAME}), items)
    assert [item.ended for item in items] == pytest.approx([2.5, 2.5, 11])


def test_interpolation():
    steps = kind(max_batch=8, step={"1": 0.01, "4": 0.04, "8": 0.06})
    assert [steps.step(batch) for batch in (1, 2, 4, 6, 8, 10)] == pytest.approx([0.01, 0.02, 0.04, 0.05, 0.06, 0.07])


def test_the_batch_window():
    waits = kind(max_batch=2, step={"1": FRAME})
    items = [Item(0, 1, None)]
    together(waits, items, window=0.5)
    assert items[0].ended == pytest.approx(1.5)
    items = [Item(0, 1, None), Item(0.2, 1, None)]
    together(waits, items, window=0.5)
    assert [item.ended for item in items] == pytest.approx([1.2, 1.2])  # full: nothing to wait for


def test_affinity():
    """Without it a free worker prepares the voice again; with it the item waits for who knows it, but not for ever."""
    voiced = kind(voice=3.0)
    for affinity, ends in ((0, [4, 5]), (5, [4, 5]), (2, [4, 6.5])):
        items = [Item(0, 1, "anna"), Item(1 if affinity != 2 else 0.5, 1, "anna")]
        together(voiced, items, workers=2, affinity=affinity)
        assert [item.ended for item in items] == pytest.approx(ends), affinity


def test_the_cache_of_voices_forgets():
    voiced = kind(voice=1.0)
    items = [Item(10 * at, 1, voice) for at, voice in enumerate(["a", "b", "c", "a"])]
    together(voiced, items, voice_cache=2)
    assert items[3].ended - items[3].arrived == pytest.approx(2)
    items = [Item(10 * at, 1, voice) for at, voice in enumerate(["a", "b", "a", "c", "a"])]
    together(voiced, items, voice_cache=2)
    assert items[4].ended - items[4].arrived == pytest.approx(1)


def test_a_lost_worker():
    """Its items come back when the lease ends, and every item ends once."""
    items = [Item(0, 10, None), Item(0, 10, None), Item(20, 1, None)]
    result = together(kind(load=7), items, workers=2, lose=5, lease=3)
    # Of the first two one goes on; the other begins again at 8 and waits for the worker that is left, free at 10.
    assert sorted(item.ended for item in items) == pytest.approx([10, 20, 21])
    assert len(result.latencies) == 3
    many = make_load(2000, 5, seconds=1, seed=3)
    together(kind(), many, workers=8, lose=100, lease=30)
    assert all(item.ended is not None for item in many)


def test_cold_starts():
    items = [Item(0, 1, None)]
    together(kind(load=7), items, cold=True)
    assert items[0].ended == pytest.approx(8)


def test_one_redis_saturates():
    """It is a server of its own in front of all workers: M/D/1 as long as it keeps up, and a queue if not."""
    swift = kind(max_batch=1000, step={"1": 1e-9})
    result = simulate(swift, 1, 80, COUNT, {"seconds": 0.01, "length": "fixed"}, redis_rate=100)
    assert result.mean() == pytest.approx(0.01 * (1 + 0.8 / (2 * 0.2)), rel=0.06)
    result = simulate(swift, 1, 200, 5000, {"seconds": 0.01, "length": "fixed"}, redis_rate=100)
    assert result.throughput == pytest.approx(100, rel=0.02)
    assert (shards(50, 100), shards(70, 100), shards(71, 100), shards(1000, 100)) == (1, 1, 2, 15)


def test_loads():
    for arrivals in ("poisson", "regular", "bursts"):
        items = make_load(8000, 4, seconds=3, arrivals=arrivals, voice_count=10)
        assert items[-1].arrived == pytest.approx(2000, rel=0.08)
        assert sum(item.frames for item in items) * FRAME / 8000 == pytest.approx(3, rel=0.05)
        assert {item.voice for item in items} == set(range(10))
    assert len({item.voice for item in make_load(100, 1, voice_count=0)}) == 100
    ends = [make_load(100, 1, seed=seed)[-1].arrived for seed in (1, 1, 2)]
    assert ends[0] == ends[1] != ends[2]


def test_plan():
    """The least number: one less is too slow."""
    load = {"seconds": 1, "length": "exponential"}
    workers = plan(kind(), 6, 4.0, 4000, load)
    assert simulate(kind(), workers, 6, 4000, load).p(0.95) <= 4
    assert simulate(kind(), workers - 1, 6, 4000, load).p(0.95) > 4
    assert plan(kind(), 6, 0.5, 500, load) is None  # the speech itself takes longer


def test_thousands_of_workers():
    batched = kind(max_batch=4, step={"1": FRAME, "4": 2 * FRAME})
    assert batched.busiest(2) == pytest.approx(1)
    result = simulate(batched, 3000, 2000, 8000, {"seconds": 2})
    assert len(result.latencies) == 7200 and 2 < result.p(0.95) < 12


def test_command(tmp_path):
    (tmp_path / "kind.json").write_text(json.dumps({**PLAIN, "name": "small"}))
    (tmp_path / "redis.json").write_text(json.dumps({"items_per_second": 1000}))

    def run(*arguments):
        done = subprocess.run([sys.executable, ROOT / "tools" / "capacity.py", *arguments], capture_output=True,
                              text=True, check=True, cwd=tmp_path)
        return [json.loads(line) for line in done.stdout.splitlines()]
    result, = run("run", "--service", "kind.json", "--workers", "2", "--rate", "0.2", "--items", "500")
    assert result["workers"] == 2 and result["p50"] <= result["p95"] <= result["p99"]
    found = run("plan", "--service", "kind.json=0.5", "--service", "kind.json", "--rate", "1", "--p95", "30",
                "--items", "500")
    assert found[0]["cost"] == found[0]["workers"] * 0.5 and found[1]["cost"] == found[1]["workers"]
    answer, = run("redis", "--rate-file", "redis.json", "--rate", "5000")
    assert answer == {"redis_items_per_second": 1000, "servers": 8}
