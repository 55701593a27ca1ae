#!/usr/bin/env python3
"""The shape of the program, checked: which folder may include which, which symbols leave the library,
and that the public header stands alone.

    test_layers.py SOURCE_ROOT LIBTIMBRE.SO LIBTIMBRE.A CC...
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

PUBLIC = "timbre/timbre.h"
FOUNDATION = {"base", "cpu", "kernels", "weights"}
STAGES = {"io", "resample", "enhance", "tts"}  # these never include each other

# What the files of a folder of src/ may include, beside themselves and the public header.
ALLOWED = {
    "base": set(),
    "cpu": {"base"},
    "kernels": {"base", "cpu"},
    "weights": {"base", "cpu", "kernels"},
    "io": FOUNDATION,
    "resample": FOUNDATION,
    "enhance": FOUNDATION,
    "tts": FOUNDATION,
    "pipeline": FOUNDATION | STAGES,
    "queue": {"base"},
    "worker": {"base", "queue"},
    "server": {"base", "pipeline", "queue", "worker"},
}
# Libraries that only one folder may know.
PRIVATE = {"sqlite3.h": "queue"}
# (file, header): answers leave the server as audio in any container while they are made.
EXCEPTIONS = {("server/output.c", "io/io.h")}
# The command uses the library as everyone does, and starts the server.
CLI_MAY = {PUBLIC, "server/server.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

problems = []


def sources(folder):
    for path, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.join(path, name)


def includes(path):
    with open(path, encoding="utf-8") as file:
        return [(kind, name) for kind, name in INCLUDE.findall(file.read())]


# Below tts/qwen3: what decides what is spoken knows the networks by backend.h alone.
QWEN3_SHARED = ("batch", "prompt", "rules", "text", "voice")


def check_backends(root):
    for folder in QWEN3_SHARED:
        for path in sources(os.path.join(root, "src", "tts", "qwen3", folder)):
            for _, header in includes(path):
                if header.startswith("tts/qwen3/cpu/"):
                    problems.append(f"{os.path.relpath(path, root)} includes {header}: a backend is known by its table")


def check_includes(root):
    src = os.path.join(root, "src")
    folders = sorted(name for name in os.listdir(src) if os.path.isdir(os.path.join(src, name)))
    for folder in folders:
        if folder not in ALLOWED:
            problems.append(f"src/{folder}: test_layers.py does not know this folder")
            continue
        for path in sources(os.path.join(src, folder)):
            name = os.path.relpath(path, src)
            for kind, header in includes(path):
                if PRIVATE.get(header, folder) != folder or (header == "queue/database.h" and folder != "queue"):
                    problems.append(f"src/{name} includes {header}: that is the affair of {PRIVATE.get(header, 'queue')}")
                if kind == "<" or header == PUBLIC:
                    continue
                other = header.split("/")[0] if "/" in header else None
                if other is None or not os.path.exists(os.path.join(src, header)):
                    if not os.path.exists(os.path.join(os.path.dirname(path), header)):
                        problems.append(f'src/{name}: "{header}" is neither below src nor beside the file')
                elif other != folder and other not in ALLOWED[folder] and (name, header) not in EXCEPTIONS:
                    problems.append(f'src/{name} includes "{header}": {folder} may not know {other}')
    for file, header in sorted(EXCEPTIONS):
        path = os.path.join(src, file)
        if os.path.exists(path) and ('"', header) not in includes(path):
            problems.append(f"test_layers.py: src/{file} no longer includes {header}; take the exception out")
    count = 0
    for path in sources(os.path.join(root, "cli")):
        count += 1
        for kind, header in includes(path):
            beside = os.path.exists(os.path.join(os.path.dirname(path), header))
            if kind == '"' and header not in CLI_MAY and not beside:
                problems.append(f'{os.path.relpath(path, root)} includes "{header}": the command uses {PUBLIC}')
    for kind, header in includes(os.path.join(root, "include", PUBLIC)):
        if kind == '"' or "/" in header:
            problems.append(f"{PUBLIC} includes {header}: it must stand alone")
    if count == 0 or len(folders) < 6:
        problems.append("no sources were found")


def symbols(arguments):
    text = subprocess.run(["nm", "--defined-only", *arguments], check=True, capture_output=True, text=True).stdout
    return {line.split()[2] for line in text.splitlines() if len(line.split()) == 3}


def check_symbols(shared, archive):
    exported = symbols(["-D", shared])
    if "tmb_version" not in exported:
        problems.append(f"{shared} does not export tmb_version")
    # Names that begin with an underscore belong to the compiler, its sanitizers and the C library.
    for name in sorted(exported):
        if not name.startswith(("tmb_", "_")):
            problems.append(f"libtimbre.so exports {name}: a symbol that leaves its file begins with tmb_")
    for name in sorted(symbols(["-g", archive])):
        if not name.startswith(("tmb_", "_")):
            problems.append(f"libtimbre.a has the global {name}: a symbol that leaves its file begins with tmb_")


def compiles(command, text, language, extra):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "alone." + ("c" if language == "c" else "cc"))
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return subprocess.run([*command, "-x", language, "-fsyntax-only", *extra, path], capture_output=True, text=True)


def check_header(root, compiler):
    text = f'#include "{PUBLIC}"\nint main(void) {{ return tmb_version() == 0; }}\n'
    flags = ["-I", os.path.join(root, "include"), "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    for standard in ("c11", "c17"):
        result = compiles(compiler, text, "c", ["-std=" + standard, *flags])
        if result.returncode != 0:
            problems.append(f"{PUBLIC} does not compile alone as {standard}:\n{result.stderr}")
    for candidate in (compiler, ["clang"], ["g++"]):
        if shutil.which(candidate[0]) and compiles(candidate, "int x;\n", "c++", []).returncode == 0:
            result = compiles(candidate, text, "c++", ["-std=c++11", *flags])
            if result.returncode != 0:
                problems.append(f"{PUBLIC} does not compile alone as C++:\n{result.stderr}")
            return
    print("no C++ compiler: the header was not tried as C++")


def main():
    root, shared, archive, *compiler = sys.argv[1:]
    check_includes(root)
    check_backends(root)
    check_symbols(shared, archive)
    check_header(root, compiler)
    for problem in problems:
        print(problem)
    print(f"layers: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
