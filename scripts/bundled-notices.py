#!/usr/bin/env python3
"""The notices of what a wheel bundles, to standard output: bundled-notices.py UNPACKED_WHEEL

For each shared library: the Debian package that it came from, its version, and that package's copyright file.
"""

import pathlib
import re
import subprocess
import sys


def original_name(name):
    """libsndfile-1b2c3d4e.so.1.0.35, as auditwheel calls it, is libsndfile.so.1.0.35."""
    return re.sub(r"-[0-9a-f]{8}(?=\.so|[.\d]*\.so)", "", name)


def owners(names):
    """{library: [package, version, source, its version]} of the libraries that the linker finds."""
    candidates = {}
    for name in names:
        for folder in ("/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib", "/lib"):
            path = pathlib.Path(folder, name)
            if path.exists():
                real = str(path.resolve())
                for one in (str(path), real, real.replace("/usr/lib/", "/lib/")):
                    candidates.setdefault(one, set()).add(name)  # one file may be bundled under two names
    # It fails if it knows nothing of one of them, and tells of the others.
    found = subprocess.run(["dpkg-query", "-S", *candidates], capture_output=True, text=True).stdout
    packages = {}
    for line in found.splitlines():
        package, _, path = line.partition(": ")
        packages |= dict.fromkeys(candidates[path], package.split(",")[0])
    missing = sorted(set(names) - set(packages))
    if missing:
        sys.exit(f"bundled-notices: no package owns {', '.join(missing)}")
    versions = {}
    form = "${binary:Package} ${Version} ${source:Package} ${source:Version}\n"
    wanted = sorted(set(packages.values()))
    listed = subprocess.run(
        ["dpkg-query", "-W", "-f", form, *wanted], check=True, capture_output=True, text=True
    ).stdout
    for line in listed.splitlines():
        package, *rest = line.split()
        versions[package.split(":")[0]] = [package.split(":")[0], *rest]
    return {name: versions[package.split(":")[0]] for name, package in packages.items()}


def main(folder):
    libraries = sorted(pathlib.Path(folder, "timbre.libs").iterdir())
    known = owners([original_name(library.name) for library in libraries])
    packages = {}
    for library in libraries:
        packages.setdefault(tuple(known[original_name(library.name)]), []).append(library.name)
    print(
        "timbre itself is under the Apache License 2.0 (LICENSE in the .dist-info folder). This wheel also holds:\n\n"
        "DeepFilterNet3_onnx.tar.gz: the weights of DeepFilterNet3 by Hendrik Schröter, under the MIT License or the\n"
        "Apache License 2.0, at your choice.\n\n"
        "Shared libraries of Debian 12, unchanged but for their names and search paths; each may be replaced by\n"
        "another build of it. Their sources are Debian's source packages of these versions\n"
        "(https://snapshot.debian.org):\n"
    )
    for (package, version, source, source_version), names in sorted(packages.items()):
        print(f"  {package} {version} (source {source} {source_version}): {', '.join(names)}")
    for package, version, _, _ in sorted(packages):
        text = pathlib.Path("/usr/share/doc", package, "copyright").read_text(encoding="utf-8", errors="replace")
        print(f"\n{'=' * 100}\n{package} {version}\n{'=' * 100}\n\n{text.rstrip()}")


main(sys.argv[1])
