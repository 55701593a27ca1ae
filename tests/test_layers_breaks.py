#!/usr/bin/env python3
"""Breaks each rule of test_layers.py once, in a copy of the sources, and expects it to say so.

    test_layers_breaks.py SOURCE_ROOT
"""
import os
import shutil
import sys
import tempfile

import test_layers

# (the file that breaks it, what is added to it, the part of the problem that is told)
BREAKS = [
    # Folders.
    ("src/base/text.c", '#include "io/io.h"', 'base may not know io'),
    ("src/io/reader.c", '#include "resample/resample.h"', "io may not know resample"),
    ("src/worker/worker.c", '#include "pipeline/item.h"', "worker may not know pipeline"),
    ("src/server/http.c", '#include "tts/engine.h"', "server may not know tts"),
    ("src/server/output.c", '#include "io/encoder.h"', "server may not know io"),
    ("src/io/reader.c", '#include "nowhere.h"', "neither below src nor beside the file"),
    ("cli/main.c", '#include "base/error.h"', "the command uses timbre/timbre.h"),
    ("python/src/module.c", '#include "base/error.h"', "the Python package uses timbre/timbre.h"),
    ("include/timbre/timbre.h", '#include "base/error.h"', "it must stand alone"),
    ("src/new/new.c", "", "does not know this folder"),
    # A store is known by its tables.
    ("src/server/queue_api.c", "#include <sqlite3.h>", "the affair of queue/sqlite"),
    ("src/server/queue_api.c", '#include "queue/sqlite/database.h"', "the affair of queue/sqlite"),
    ("src/worker/worker.c", '#include "queue/sqlite/sqlite.h"', "the affair of queue/sqlite"),
    ("src/queue/upload.c", '#include "sqlite/sqlite.h"', "the affair of queue/sqlite"),
    ("src/server/queue_api.c", "#include <hiredis/hiredis.h>", "the affair of queue/redis"),
    ("src/server/queue_api.c", '#include "queue/redis/wire.h"', "the affair of queue/redis"),
    # A backend is known by its table.
    ("src/tts/qwen3/batch/step.c", '#include "tts/qwen3/cpu/lm/lm.h"', "a backend is known by its table"),
    ("src/tts/qwen3/batch/step.c", '#include "../cpu/cpu_audio.h"', "a backend is known by its table"),
    ("src/tts/qwen3/batch/step.c", '#include "tts/qwen3/cuda/cuda_lm.h"', "a backend is known by its table"),
    ("src/tts/qwen3/rules/rules.c", '#include "tts/qwen3/cpu/cpu_audio.h"', "a backend is known by its table"),
    ("src/tts/qwen3/batch/step.c", '#include "tts/qwen3/new/new_lm.h"', "a backend is known by its table"),
    # The scheduler's own.
    ("src/pipeline/finishing.c", '#include "pipeline/scheduler_internal.h"', "the affair of its own files"),
    ("src/pipeline/delivery.c", '#include "scheduler_internal.h"', "the affair of its own files"),
    ("src/pipeline/prepare.c", "static void f(tmb_item *item) { item->phase = 0; }", "sets a phase"),
    # Names.
    ("src/server/item.h", "typedef struct tmb_item { int x; } tmb_item;", "tmb_item is a type in each of"),
    # Decisions by text, in each language.
    ("src/server/item.c", 'static bool f(const tmb_error *e) { return strstr(e->message, "disk") != NULL; }', "strstr"),
    ("cli/main.c", "static int f(tmb_error e) { return strncmp(e.message, text, 4); }", "strncmp"),
    ("python/src/errors.c", "static int f(tmb_error e) { return strcmp(text, e.message); }", "strcmp"),
    ("examples/clone_batch.c", "static char *f(tmb_error e) { return strchr(e.message, ':'); }", "strchr"),
    ("python/timbre/_errors.py", 'def f(error): return "disk" in str(error)', "in str(error)"),
    ("python/timbre/_errors.py", 'def f(error): return error.args[0] == "full"', "error.args[0] =="),
    ("python/timbre/_aio.py", 'def f(error): return str(error).startswith("no")', "startswith("),
    ("python/timbre/_aio.py", 'def f(error): return re.search("a.c", str(error))', "re.search("),
    ("src/server/web/server.js", 'const f = error => error.message.includes("full");', ".message.includes("),
    ("src/server/web/server.js", "const f = error => /full/.test(error.message);", ".test(error.message"),
    ("src/server/web/server.js", 'const f = error => error.message === "full";', ".message ==="),
]


def problems(root):
    test_layers.problems.clear()
    test_layers.check_sources(root)
    return list(test_layers.problems)


def copy_sources(root, copy):
    """The files that are broken, and those that a rule looks at by name; of the others, which need not be read again
    for each break, only that they are there."""
    whole = {name for name, _, _ in BREAKS} | {"src/pipeline/item.h"}
    # The backend that is added defines a type of the same name as this header does.
    whole.add("src/tts/qwen3/cuda/cuda_lm.h")
    whole |= {os.path.join("src", name) for name, _ in test_layers.EXCEPTIONS}

    def copy_one(source, target):
        if os.path.relpath(source, root) in whole:
            shutil.copy(source, target)
        else:
            open(target, "w", encoding="utf-8").close()

    for folder in ("src", "cli", "python", "examples", "include"):
        shutil.copytree(os.path.join(root, folder), os.path.join(copy, folder), copy_function=copy_one,
                        ignore=shutil.ignore_patterns("__pycache__", "audio", "voices"))


def main():
    root = os.path.abspath(sys.argv[1])
    failures = 0
    with tempfile.TemporaryDirectory() as copy:
        copy_sources(root, copy)
        # A backend that somebody adds by the page: its sequences are its own, its headers too.
        added = os.path.join(copy, "src/tts/qwen3/new")
        os.makedirs(added)
        with open(os.path.join(added, "new_backend.c"), "w", encoding="utf-8") as file:
            file.write("struct tmb_net_sequence {\n    int x;\n};\n")
        open(os.path.join(added, "new_lm.h"), "w", encoding="utf-8").close()
        whole = problems(copy)
        if whole:
            print("without a break:", *whole, sep="\n  ")
            failures += 1
        for name, added, expected in BREAKS:
            path = os.path.join(copy, name)
            is_new = not os.path.exists(path)
            if is_new:
                os.makedirs(os.path.dirname(path))
                before = ""
            else:
                with open(path, encoding="utf-8") as file:
                    before = file.read()
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"{before}\n{added}\n")
            found = problems(copy)
            if not found or any(expected not in problem or os.path.dirname(name) not in problem and
                                os.path.basename(name) not in problem for problem in found):
                print(f"{name} with {added!r}: {found}, not one with {expected!r}")
                failures += 1
            if is_new:
                shutil.rmtree(os.path.dirname(path))
            else:
                with open(path, "w", encoding="utf-8") as file:
                    file.write(before)
        gone = ["gone.c", "src/gone/", "tmb_" + "gone"]
        page = os.path.join(copy, "page.md")
        with open(page, "w", encoding="utf-8") as file:
            there = ["item.h", "src/io/", "tmb_item", "src/kernels/NAME.c"]
            file.write("".join(f"`{name}`, " for name in gone + there))
        test_layers.problems.clear()
        test_layers.check_pages(root, [page])
        if [problem.split(" names ")[1].split(":")[0] for problem in test_layers.problems] != gone:
            print("a page that names what is not there:", *test_layers.problems)
            failures += 1
    print(f"layers-breaks: {len(BREAKS)} breaks, {failures} not noticed as they should be")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
