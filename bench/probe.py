"""What both sides of the capacity model measure alike: processor time of single items, one right behind the other."""
import os
import pathlib
import time

SENTENCE = "This is one of the sentences that are spoken to see how long it takes. "


def speak(server, reference, sentences):
    """Returns the seconds of speech of an item of its own request."""
    answer = server.clone(SENTENCE * sentences, path="/voice-clone-enhanced", seed=1, max_seconds=3.2 * sentences,
                          ref_audio=reference, timeout=600, ref_text="A reference of a few seconds.")
    assert answer.status == 200 and "error" not in answer.json()["items"][0], answer
    return answer.json()["items"][0]["duration"]


def processor_time(servers):
    """Seconds that the servers have had, with programs that they started and that have ended."""
    ticks = 0
    for server in servers:
        fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rsplit(") ", 1)[1].split()
        ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def single_item(server, reference, count, rest=0.0):
    """Processor seconds of an item of one sentence, as `count` of them have it on average, so many seconds apart."""
    before = processor_time([server])
    for _ in range(count):
        time.sleep(rest)
        speak(server, reference, 1)
    server.wait_idle()
    return (processor_time([server]) - before) / count
