"""The systemd unit's promises without systemd: its environment, its folders, and as much of its sandbox as `unshare`
and `setpriv` give. The whole of it is for a machine that runs systemd."""
import os
import pathlib
import re
import shutil
import socket
import subprocess
import urllib.request

import pytest
from support import PATIENCE, TIMBRE

ROOT = pathlib.Path(__file__).parent.parent.parent
UNIT = (ROOT / "packaging/systemd/timbre.service.in").read_text()
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
DENOISER = os.environ.get("TIMBRE_DENOISER") or CACHE / "timbre/DeepFilterNet3_onnx.tar.gz"

SANDBOX = ["unshare", "--mount", "--map-root-user"]
# Everything read-only but the service's own folders, no home, no privileges to be had.
INSIDE = """set -e
mount --rbind / / && mount --bind "$1" "$1" && mount -o remount,bind,ro /
mount -t tmpfs tmpfs "$HIDDEN"
if touch /etc/timbre-may-write-here 2>/dev/null; then exit 99; fi
exec setpriv --no-new-privs --bounding-set=-all --inh-caps=-all "$2" serve --port 0
"""


def can_sandbox():
    if not (shutil.which("unshare") and shutil.which("setpriv")):
        return False
    return subprocess.run([*SANDBOX, "true"], capture_output=True).returncode == 0


def environment_of_the_unit(folder):
    """What systemd gives: the unit's own variables, %C and %S replaced, and no HOME."""
    variables = dict(
        pair.split("=", 1) for line in re.findall(r"^Environment=(.*)$", UNIT, re.M) for pair in line.split()
    )
    variables = {name: value.replace("%C", str(folder / "cache")) for name, value in variables.items()}
    return {
        **variables,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "STATE_DIRECTORY": str(folder / "state"),
        "CACHE_DIRECTORY": str(folder / "cache" / "timbre"),
        "NOTIFY_SOCKET": str(folder / "notify"),
        "TIMBRE_DENOISER": str(folder / "denoiser.tar.gz"),
        "HIDDEN": str(folder / "home"),
    }


@pytest.mark.skipif(not can_sandbox(), reason="unshare and setpriv are not there, or may not")
def test_it_starts_as_the_unit_starts_it(tmp_path):
    for name in ("state", "cache/timbre", "home"):
        (tmp_path / name).mkdir(parents=True)
    shutil.copy(DENOISER, tmp_path / "denoiser.tar.gz")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(str(tmp_path / "notify"))
        notify.settimeout(PATIENCE)
        running = subprocess.Popen(
            [*SANDBOX, "bash", "-c", INSIDE, "bash", tmp_path, os.path.abspath(TIMBRE)],
            env=environment_of_the_unit(tmp_path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            line = running.stdout.readline()
            assert line.startswith("listening on http://127.0.0.1:"), (line, running.stderr.read())
            message = notify.recv(4096).decode()
            assert "READY=1" in message.splitlines(), message
            with urllib.request.urlopen(line.split()[-1] + "/health/ready", timeout=PATIENCE) as answer:
                assert answer.status == 200
            assert (tmp_path / "state" / "state.db").exists()
        finally:
            running.terminate()
            running.communicate(timeout=PATIENCE)
    assert running.returncode == 0
