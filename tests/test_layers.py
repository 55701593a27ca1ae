#!/usr/bin/env python3
"""The shape of the program, checked: which folder may include which, which symbols leave the library,
that the public header stands alone, and that what the pages for contributors name is there.

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
    "gpu": {"base"},
    "io": FOUNDATION,
    "resample": FOUNDATION,
    "enhance": FOUNDATION,
    "tts": FOUNDATION | {"gpu"},
    "pipeline": FOUNDATION | STAGES | {"gpu"},
    "queue": {"base"},
    "worker": {"base", "queue"},
    "server": {"base", "pipeline", "queue", "worker"},
}
# Headers that only one folder may know: a store is known by the tables in queue/.
PRIVATE = {
    "queue/sqlite": lambda header: header == "sqlite3.h" or header.startswith("queue/sqlite/"),
    "queue/redis": lambda header: header.startswith(("hiredis/", "queue/redis/")),
}
# (file, header): the one place that chooses a store.
MAKERS = {("queue/store.c", "queue/sqlite/sqlite.h"), ("queue/store.c", "queue/redis/store.h")}
# (file, header): answers leave the server as audio in any container while they are made.
# The kernels' language for the CPU is the tests' affair.
EXCEPTIONS = {("server/output.c", "io/io.h"), ("gpu/kernels/dialect.h", "emulated.h")}
# Opaque in backend.h, and each backend's own.
OWN_TYPES = {"tmb_net", "tmb_net_sequence", "tmb_net_stream"}
# The command uses the library as everyone does, and starts the server.
CLI_MAY = {PUBLIC, "server/server.h"}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)

problems = []


def sources(folder):
    for path, _, names in os.walk(folder):
        for name in sorted(names):
            if name.endswith((".c", ".h")):
                yield os.path.join(path, name)


def includes(path, below=None):
    """What a file includes; with `below` by its place there, also if it is named from the file's own folder."""
    with open(path, encoding="utf-8") as file:
        found = INCLUDE.findall(file.read())
    if below is None:
        return found
    beside = [os.path.normpath(os.path.join(os.path.dirname(path), name)) for _, name in found]
    return [(kind, os.path.relpath(full, below) if kind == '"' and os.path.exists(full) else name)
            for (kind, name), full in zip(found, beside)]


# Below tts/qwen3: what decides what is spoken knows the networks by backend.h alone.
QWEN3_SHARED = ("batch", "prompt", "rules", "text", "voice")


def backends(root):
    """A folder with a file NAME_backend.c is a backend's."""
    place = os.path.join(root, "src", "tts", "qwen3")
    for name in sorted(os.listdir(place)):
        folder = os.path.join(place, name)
        if os.path.isdir(folder) and any(file.endswith("_backend.c") for file in os.listdir(folder)):
            yield f"tts/qwen3/{name}/"


def check_backends(root):
    private = tuple(backends(root))
    if len(private) < 2:
        problems.append(f"the backends of qwen3 are not found: {private}")
    for folder in QWEN3_SHARED:
        for path in sources(os.path.join(root, "src", "tts", "qwen3", folder)):
            for _, header in includes(path, os.path.join(root, "src")):
                if header.startswith(private):
                    problems.append(f"{os.path.relpath(path, root)} includes {header}: a backend is known by its table")


# The scheduler's own files; the parts of an item (preparation, finishing, delivery) tell it by the events of item.h.
SCHEDULER = {"scheduler.c", "phases.c", "prepare.c", "prepare_reading.c", "prepare_voice.c", "batch.c", "lanes.c",
             "overflow.c", "room.c"}


def check_scheduler(root):
    for path in sources(os.path.join(root, "src", "pipeline")):
        name = os.path.basename(path)
        found = includes(path, os.path.join(root, "src"))
        if name not in SCHEDULER and ('"', "pipeline/scheduler_internal.h") in found:
            problems.append(f"src/pipeline/{name} includes scheduler_internal.h: that is the affair of its own files")
        with open(path, encoding="utf-8") as file:
            if name != "phases.c" and re.search(r"->phase\s*=[^=]", file.read()):
                problems.append(f"src/pipeline/{name} sets a phase: phases.c does")


# errno and the field are parts of an error; what its message says is for people. How each language would read one:
THE_ERROR = r"(?:e|err|error|exc|exception|problem|reason|refused|failure)"
PYTHON_TEXT = rf"(?:str\({THE_ERROR}\)|\b{THE_ERROR}\.(?:message|args\[0\]))"
BY_TEXT = {
    ".c": re.compile(r"\b(?:strstr|strn?cmp|strn?casecmp|strr?chr|strc?spn|memmem|memcmp|sscanf|regexec|fnmatch)"
                     r"\s*\([^;{}?]*(?:->|\.)message\b"),
    ".py": re.compile(rf"(?:\bin|[!=]=)\s+{PYTHON_TEXT}|{PYTHON_TEXT}\s*(?:[!=]=|in\b)|"
                      rf"{PYTHON_TEXT}\.(?:startswith|endswith|r?find|r?index|count|r?partition|r?split)\(|"
                      rf"\bre\.\w+\([^\n]*{PYTHON_TEXT}"),
    ".js": re.compile(r"\.message\s*(?:[!=]==?|\??\.(?:includes|match|startsWith|endsWith|indexOf|search|split)\()|"
                      r"[!=]==?\s*\w+\.message\b|\.(?:test|exec)\([^)\n]*\.message\b"),
}
BY_TEXT[".h"] = BY_TEXT[".c"]


def check_texts(root):
    for folder in ("src", "cli", "python", "examples"):
        for path, _, names in os.walk(os.path.join(root, folder)):
            for name in sorted(names):
                pattern = BY_TEXT.get(os.path.splitext(name)[1])
                if pattern is None:
                    continue
                with open(os.path.join(path, name), encoding="utf-8") as file:
                    for match in pattern.finditer(file.read()):
                        problems.append(f"{os.path.relpath(os.path.join(path, name), root)}: {match[0]}: "
                                        "no decision is made from a message's text")


TYPE = re.compile(r"\}\s*(tmb_\w+);|\bstruct (tmb_\w+) \{")


def check_names(root):
    """No two types of one name, though no file may see both: a reader and a debugger see them."""
    homes = {}
    for path in sources(os.path.join(root, "src")):
        with open(path, encoding="utf-8") as file:
            for match in TYPE.finditer(file.read()):
                homes.setdefault(match[1] or match[2], set()).add(os.path.relpath(path, root))
    for name, files in sorted(homes.items()):
        if len(files) > 1 and name not in OWN_TYPES:
            problems.append(f"{name} is a type in each of {', '.join(sorted(files))}")


# Pages for those who change the program: the files and symbols that they name in code.
PAGES = ("CONTRIBUTING.md", "docs/code-style.md", "docs/design.md", "docs/internals", "tests/fuzz/README.md")
SPAN = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w.-][\w./-]*(?:\.(?:c|h|py|js|json|md|ini|build|lua)|/)")
SYMBOL = re.compile(r"\b(?:tmb|TMB|cli)_\w*\w\b(?!…)")
PLACEHOLDERS = re.compile(r"NAME|SET|TARGET")


def check_pages(root, more=()):
    pages, words = list(more), set()
    files = {"/" + name for name in os.listdir(root)}
    for page in PAGES:
        path = os.path.join(root, page)
        pages += [os.path.join(path, name) for name in sorted(os.listdir(path))] if os.path.isdir(path) else [path]
    for top in ("src", "cli", "include", "python", "tests", "bench", "docs", "tools", "scripts", "packaging",
                "examples"):
        for folder, _, names in os.walk(os.path.join(root, top)):
            files.add("/" + os.path.relpath(folder, root))
            for name in names:
                path = os.path.join(folder, name)
                files.add("/" + os.path.relpath(path, root))
                if name.endswith((".c", ".h", ".py")):
                    with open(path, encoding="utf-8") as file:
                        words.update(re.findall(r"\b(?:tmb|TMB|cli)_\w+", file.read()))
    ends = {name[at.start():] for name in files for at in re.finditer("/", name)}
    for page in pages:
        with open(page, encoding="utf-8") as file:
            spans = SPAN.findall(file.read())
        for span in spans:
            if PLACEHOLDERS.search(span):
                continue
            if FILE.fullmatch(span) and "/" + span.rstrip("/") not in ends:
                problems.append(f"{os.path.relpath(page, root)} names {span}: there is no such file")
            for symbol in SYMBOL.findall(span):
                if symbol not in words and not symbol.endswith("_"):
                    problems.append(f"{os.path.relpath(page, root)} names {symbol}: there is no such symbol")


THREAD = re.compile(r'(?:setname_np\([^,]*,|pool_create(?:_elastic)?\()\s*"([a-z]+-[a-z]+)"')


def check_map(root):
    """Each folder of src/ is in the page about the design, each thread in that about threads."""
    def page(name):
        with open(os.path.join(root, "docs", name), encoding="utf-8") as file:
            return file.read()
    design, threads = page("design.md") + page("internals/map.md"), page("internals/threads-and-locks.md")
    src = os.path.join(root, "src")
    for folder, _, names in os.walk(src):
        place = os.path.relpath(folder, src)
        if place != "." and place.count("/") < 2 and f"{os.path.basename(place)}/" not in design:
            problems.append(f"src/{place}/ is not in docs/design.md")
        for name in names:
            if name.endswith(".c"):
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    for thread in THREAD.findall(file.read()):
                        if thread not in threads:
                            problems.append(f"src/{place}/{name}: {thread} is not in "
                                            "docs/internals/threads-and-locks.md")


def check_includes(root):
    src = os.path.join(root, "src")
    folders = sorted(name for name in os.listdir(src) if os.path.isdir(os.path.join(src, name)))
    for folder in folders:
        if folder not in ALLOWED:
            problems.append(f"src/{folder}: test_layers.py does not know this folder")
            continue
        for path in sources(os.path.join(src, folder)):
            name = os.path.relpath(path, src)
            for kind, header in includes(path, src):
                inside = os.path.dirname(name)
                for owner, private in PRIVATE.items():
                    if private(header) and inside != owner and (name, header) not in MAKERS:
                        problems.append(f"src/{name} includes {header}: that is the affair of {owner}")
                if kind == "<" or header == PUBLIC:
                    continue
                other = header.split("/")[0] if "/" in header else None
                if other is None or not os.path.exists(os.path.join(src, header)):
                    if (name, header) not in EXCEPTIONS and not os.path.exists(
                            os.path.join(os.path.dirname(path), header)):
                        problems.append(f'src/{name}: "{header}" is neither below src nor beside the file')
                elif other != folder and other not in ALLOWED[folder] and (name, header) not in EXCEPTIONS:
                    problems.append(f'src/{name} includes "{header}": {folder} may not know {other}')
    for file, header in sorted(EXCEPTIONS):
        path = os.path.join(src, file)
        if os.path.exists(path) and ('"', header) not in includes(path):
            problems.append(f"test_layers.py: src/{file} no longer includes {header}; take the exception out")
    count = 0
    for folder, who, may in (("cli", "the command", CLI_MAY), ("python/src", "the Python package", {PUBLIC})):
        for path in sources(os.path.join(root, folder)):
            count += 1
            for kind, header in includes(path):
                beside = os.path.exists(os.path.join(os.path.dirname(path), header))
                if kind == '"' and header not in may and not beside:
                    problems.append(f'{os.path.relpath(path, root)} includes "{header}": {who} uses {PUBLIC}')
    for kind, header in includes(os.path.join(root, "include", PUBLIC)):
        if kind == '"' or "/" in header:
            problems.append(f"{PUBLIC} includes {header}: it must stand alone")
    if count == 0 or len(folders) < 6:
        problems.append("no sources were found")


def check_sources(root):
    check_includes(root)
    check_backends(root)
    check_scheduler(root)
    check_names(root)
    check_texts(root)


def symbols(arguments):
    text = subprocess.run(["nm", "--defined-only", *arguments], check=True, capture_output=True, text=True).stdout
    return {line.split()[2] for line in text.splitlines() if len(line.split()) == 3}


def check_symbols(shared, archive):
    exported = symbols(["-D", shared])
    if "tmb_version" not in exported:
        problems.append(f"{shared} does not export tmb_version")
    # Names with an underscore first belong to the compiler, its sanitizers and the C library; and one is libgcov's.
    for name in sorted(exported - {"mangle_path"}):
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
    check_sources(root)
    check_pages(root)
    check_map(root)
    check_symbols(shared, archive)
    check_header(root, compiler)
    for problem in problems:
        print(problem)
    print(f"layers: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
