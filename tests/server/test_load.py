"""Many clients. Here for seconds; TIMBRE_FULL_TESTS=1 makes it as long as docs/benchmarks.md says.

No test compares times: the figures of `load.py beside` are in docs/benchmarks.md.
"""
import pytest
from load import Storm, beside, soak, time_to_leave
from strangers import Strangers
from support import FULL, SANITIZED, Server


@pytest.mark.slow
def test_soak():
    """What requests need once they need at the first hundred; from then on nothing is added, also by strangers
    beside them."""
    with Server() as server:
        before, after = soak(server, *((2000, 500) if FULL else (240, 60)), beside=Strangers)
        assert after.descriptors <= before.descriptors, (before, after)
        assert after.threads <= before.threads, (before, after)
        assert after.memory <= before.memory * (1.02 if FULL else 1.04), (before, after)
        assert not list((server.state / "tmp").iterdir())


def test_storm():
    """64 clients, good, bad, slow and vanishing, and strangers beside them: no wrong answer, and nothing left of them.
    (The server ends with an error where a sanitizer saw a leak.)"""
    with Server() as server:
        storm = Storm(server)
        # With sanitizers an answer takes so much longer that many clients wait for one another, not for the server.
        before, after, reserved, budget = storm.run(64 if FULL or not SANITIZED else 12, 60 if FULL else 5, Strangers)
        assert storm.wrong == []
        assert storm.counts["whole"] > 0 and storm.counts["bad"] > 0 and storm.counts["vanished"] > 0, storm.counts
        assert after.descriptors <= before.descriptors, (before, after)
        assert after.threads <= before.threads, (before, after)
        assert 0 < reserved <= budget
        assert not list((server.state / "tmp").iterdir())
        # What was stored is there, and nothing else.
        assert server.clone("Hello there.", ref_audio=storm.ref).status == 200


@pytest.mark.slow
def test_beside_a_batch():
    """Short requests are answered while a batch of one request runs, again and again."""
    with Server("--max-batch", 8) as server:
        _, _, seconds, live = beside(server, 8, 10 if FULL else 1, items=100)
        assert seconds and live >= 4


def test_leaving_frees_the_place():
    with Server() as server:
        assert len(time_to_leave(server, 5)) == 5
