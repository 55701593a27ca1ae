"""Processes: forks, the end, logging, signals, what an import costs."""

import json
import logging
import os
import subprocess
import sys

import pytest
import timbre
from conftest import NOISY, PACKAGE, PRELOAD, SANITIZED


@pytest.mark.skipif(SANITIZED, reason="a child of a process with threads may wait for ASan's allocator for ever")
def test_a_fork_is_refused_with_a_clear_error(python):
    out = python(f"""
import os, sys, warnings
warnings.simplefilter("ignore")
import timbre
pipeline = timbre.Pipeline(engine="preview")
samples, rate = timbre.read({str(NOISY)!r})
enhancer = timbre.Enhancer(rate)
stream = pipeline.stream("Hello.", ref_audio=(samples, rate))
child = os.fork()
if child == 0:
    refused = 0
    for call in (lambda: pipeline.clone("Hello.", ref_audio=(samples, rate)), lambda: timbre.enhance(samples, rate),
                 pipeline.close, lambda: enhancer.push(samples), lambda: timbre.Pipeline(engine="preview"),
                 pipeline.statistics, enhancer.close):
        try:
            call()
        except timbre.ForkError as error:
            refused += isinstance(error, RuntimeError) and "spawn" in str(error)
    del stream, enhancer, pipeline
    sys.stdout.flush()
    sys.exit(refused)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
print(len(list(stream)) > 0)
pipeline.close()
""")
    assert out.split() == ["7", "True"]


def test_a_child_of_a_process_that_did_not_use_it_may(python):
    assert (
        python("""
import os
import array, timbre
child = os.fork()
if child == 0:
    os._exit(len(timbre.resample(array.array("f", [0.0] * 20), 48000, 24000)))
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status))
""").strip()
        == "10"
    )


def test_a_process_may_end_as_it_likes(python):
    """Work under way at the end, objects that were never closed."""
    out = python(f"""
import threading, timbre
pipeline = timbre.Pipeline(engine="preview")
enhancer = timbre.Enhancer(48000)
stream = pipeline.stream("A long text, of which the end is never heard. " * 20, ref_audio={str(NOISY)!r})
next(stream)
threading.Thread(target=lambda: list(pipeline.stream("Hello.", ref_audio={str(NOISY)!r})), daemon=True).start()
print("end")
""")
    assert out == "end\n"


def test_an_interrupt_ends_a_clone(python):
    out = python(f"""
import _thread, threading, timbre
pipeline = timbre.Pipeline(engine="preview")
def progress(stage, fraction):
    if stage == "speech":
        _thread.interrupt_main()
try:
    pipeline.clone("A long text. " * 200, ref_audio={str(NOISY)!r}, progress=progress)
except KeyboardInterrupt:
    pipeline.wait()
    print(pipeline.statistics()["cancelled_items"])
""")
    assert out.strip() == "1"


def test_the_log_goes_to_logging(caplog, pipeline):
    with caplog.at_level(logging.DEBUG, "timbre"):
        with timbre.Pipeline(engine="preview") as other:
            other.clone("Hello.", ref_audio=NOISY)
    assert any("preview" in record.getMessage() and record.levelno == logging.WARNING for record in caplog.records)
    assert all(record.name == "timbre" for record in caplog.records if "preview" in record.getMessage())


def test_a_handler_that_fails_does_not_end_the_log(caplog):
    class Broken(logging.Handler):
        def emit(self, record):
            raise RuntimeError("broken")

    broken = Broken()
    logger = logging.getLogger("timbre")
    logger.addHandler(broken)
    with timbre.Pipeline(engine="preview") as pipeline:
        pipeline.clone("Hello.", ref_audio=NOISY)
    logger.removeHandler(broken)
    caplog.clear()
    with timbre.Pipeline(engine="preview") as pipeline:
        pipeline.clone("Hello.", ref_audio=NOISY)
    assert any("preview" in record.getMessage() for record in caplog.records)


JUMPED = """
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *out) {
    const int result = (int)syscall(SYS_clock_gettime, clock, out);
    out->tv_sec += clock == CLOCK_REALTIME ? 3600 : 0;
    return result;
}
"""


def test_a_clock_that_is_set_does_not_hold_up_the_log(python, tmp_path):
    """The wall clock goes back an hour right after the library has looked at it. Whoever waits for the log until then
    can still be interrupted."""
    source, library = tmp_path / "jumped.c", tmp_path / "jumped.so"
    source.write_text(JUMPED)
    subprocess.run([*os.environ["TIMBRE_CC"].split(), "-shared", "-fPIC", "-o", library, source], check=True)
    out = python(
        """
import logging, signal, threading, timbre
from timbre import _core

class Slow(logging.Handler):
    def emit(self, record):
        begun.set()
        goes_on.wait()

class Alarm(Exception):
    pass

def on_alarm(number, frame):
    raise Alarm

begun, goes_on = threading.Event(), threading.Event()
logging.getLogger("timbre").addHandler(Slow())
signal.signal(signal.SIGALRM, on_alarm)
# Loading the engine says that the key travels unencrypted.
pipeline = timbre.Pipeline(engine="remote", remote_url="http://localhost:1", remote_key="k")
pipeline.preload()
begun.wait()
try:
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    _core.log_flush()
except Alarm:
    print("interrupted")
goes_on.set()
pipeline.close()
print("closed")
""",
        LD_PRELOAD=":".join(filter(None, [PRELOAD, str(library)])),
    )
    assert out.split() == ["interrupted", "closed"]


def test_what_an_import_brings(python):
    """The measure is printed; what is asserted does not depend on the machine."""
    out = python("""
import sys, time
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
before, start = peak(), time.perf_counter()
import timbre
seconds, modules = time.perf_counter() - start, sorted(sys.modules)
import json
print(json.dumps({"seconds": seconds, "kilobytes": peak() - before, "modules": modules}))
""")
    cost = json.loads(out)
    print(f"import timbre: {cost['seconds'] * 1000:.0f} ms, {cost['kilobytes'] / 1024:.1f} MB")
    assert not {"numpy", "asyncio", "json", "logging", "typing_extensions", "concurrent.futures", "tempfile"} & set(
        cost["modules"]
    )
    # A sanitizer's shadow memory counts, too.
    assert SANITIZED or cost["kilobytes"] < 20 * 1024


@pytest.mark.skipif(not os.path.isdir(os.path.join(PACKAGE, "timbre")), reason="the package is not in a build folder")
def test_the_extension_uses_the_limited_api_alone():
    library = next(
        os.path.join(PACKAGE, "timbre", name)
        for name in os.listdir(os.path.join(PACKAGE, "timbre"))
        if name.endswith(".abi3.so")
    )
    names = {
        line.split()[-1].split("@")[0]
        for line in subprocess.run(
            ["nm", "-D", "--undefined-only", library], capture_output=True, text=True, check=True
        ).stdout.splitlines()
    }
    wanted = {name for name in names if name.startswith(("Py", "_Py"))}
    assert (
        wanted and not {"PyObject_GetBuffer", "PyUnicode_AsUTF8AndSize", "PyUnicode_AsUTF8"} & wanted
    )  # of later versions
    assert sys.version_info >= (3, 9)
