"""`python -m timbre` and the script `timbre`: the command that lies in this package, or the one in PATH."""

from __future__ import annotations

import os
import sys


def command() -> str | None:
    """The command's file, or None: there is none."""
    inside = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "timbre")
    if os.access(inside, os.X_OK):
        return inside
    import shutil

    found = shutil.which("timbre")
    # The script of this package runs this file: not once more.
    return found if found is not None and os.path.realpath(found) != os.path.realpath(sys.argv[0]) else None


def main() -> None:
    """Becomes the command."""
    path = command()
    if path is None:
        sys.exit("timbre: this package was built without the command, and there is none in PATH")
    sys.stdout.flush()
    os.execv(path, ["timbre", *sys.argv[1:]])


if __name__ == "__main__":
    main()
