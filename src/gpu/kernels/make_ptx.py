#!/usr/bin/env python3
"""Compiles the kernels to PTX with Clang and writes them as C arrays.

    make_ptx.py OUTPUT.c PTX DEPENDENT CLANG KERNELS.h

PTX and DEPENDENT are the texts themselves, too; CLANG "" means no kernels.

Versions of PTX and architectures are pinned: every driver since CUDA 11.0 (450) takes PTX 7.0, every GPU from sm_80 on
runs it, and a driver refuses PTX that is newer than itself. The second text is for sm_90 and later, whose kernels may
begin while the one before still runs; those instructions came with PTX 7.8 (CUDA 11.8).
"""
import re
import subprocess
import sys

VERSION, TARGET = "7.0", "sm_80"
DEPENDENT_VERSION, DEPENDENT_TARGET = "7.8", "sm_90"


def compile_kernels(clang, source, *definitions):
    command = [clang, "-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib", "--cuda-gpu-arch=" + TARGET,
               "-Wno-unknown-cuda-version", "-Xclang", "-target-feature", "-Xclang",
               "+ptx" + VERSION.replace(".", ""), "-std=c++17", "-ffp-contract=off", "-O3", "-Wall", "-Wextra", "-S",
               *definitions, "-o", "-", source]
    text = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    # Comments name the compiler and the source's folder.
    text = "\n".join(line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("//")) + "\n"
    found = re.search(r"^\.version (\S+)\n\.target (\w+)", text, re.M)
    if not found or found.groups() != (VERSION, TARGET):
        sys.exit(f"{clang} made {found and found.group(0)!r}, not PTX {VERSION} for {TARGET}")
    return text


def dependent_kernels(clang, source):
    """Clang 14 knows no sm_90: it passes the instructions on, and the head of the text says what they are."""
    text = compile_kernels(clang, source, "-DTMB_DEPENDENT_LAUNCH")
    head = f".version {VERSION}\n.target {TARGET}"
    return text.replace(head, f".version {DEPENDENT_VERSION}\n.target {DEPENDENT_TARGET}", 1)


def as_array(name, text):
    lines = "".join(f'    "{line}\\n"\n' for line in text.replace("\\", "\\\\").replace('"', '\\"').splitlines())
    return f"\nconst char {name}[] =\n" + (lines or '    ""\n') + "    ;\n"


def main():
    output, ptx, dependent, clang, source = sys.argv[1:]
    texts = {
        ptx: compile_kernels(clang, source) if clang else "",
        dependent: dependent_kernels(clang, source) if clang else "",
    }
    for path, text in texts.items():
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
    with open(output, "w", encoding="ascii") as file:
        file.write('#include "gpu/kernels/ptx.h"\n' + as_array("tmb_gpu_ptx", texts[ptx]) +
                   as_array("tmb_gpu_ptx_dependent", texts[dependent]))


if __name__ == "__main__":
    main()
