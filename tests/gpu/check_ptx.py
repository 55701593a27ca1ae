#!/usr/bin/env python3
"""The kernels' PTX stays of the version that every driver takes, and NVIDIA's assembler, if there is one, makes code
for every architecture of it: no register is spilled, no kernel needs more shared memory than every GPU has. Each kernel
says how many threads its blocks have at most, so that the assembler leaves registers for all of them.

    check_ptx.py KERNELS.ptx DEPENDENT.ptx

The assembler is looked for in PATH, in CUDA's usual folder, and in .cache/ptxas, where scripts/setup puts it.
"""
import os
import pathlib
import re
import shutil
import subprocess
import sys

TEXTS = (("7.0", "sm_80", ("sm_80", "sm_86", "sm_89", "sm_90", "sm_100", "sm_120")),
         ("7.8", "sm_90", ("sm_90", "sm_100", "sm_120")))
SHARED_BYTES = 48 << 10
# Threads of a block at most, of kernels with more than the usual ones; a multiprocessor has so many registers.
THREADS = {"tmb_attend_linear": 512, "tmb_attend_linear_mma": 512}
USUAL_THREADS, REGISTERS = 256, 64 << 10


def find_assembler():
    cached = pathlib.Path(__file__).resolve().parents[2] / ".cache/ptxas"
    found = [shutil.which("ptxas"), shutil.which("/usr/local/cuda/bin/ptxas")]
    found += [str(path) for path in sorted(cached.glob("nvidia/*/bin/ptxas")) if os.access(path, os.X_OK)]
    return next((path for path in found if path), None)


def check_threads(text):
    kernels = re.findall(r"^\.visible \.entry (\w+)\(", text, re.M)
    said = re.findall(r"^\.visible \.entry (\w+)\([^)]*\)\n\.maxntid (\d+, 1, 1)\n\.minnctapersm 1\n", text, re.M)
    bounds = dict(said)
    for name in kernels:
        wanted = f"{THREADS.get(name, USUAL_THREADS)}, 1, 1"
        if bounds.get(name) != wanted:
            sys.exit(f"{name} says {bounds.get(name)} of its block's threads, not {wanted}")
    if len(kernels) < 10 or not set(THREADS) <= set(kernels):
        sys.exit(f"the text has the kernels {kernels}")


def check_waits(text):
    """Each kernel waits for those before it, and reads and writes nothing of theirs before that."""
    kernels = re.findall(r"^\.visible \.entry (\w+)\(.*?^}$", text, re.M | re.S)
    bodies = re.findall(r"^\.visible \.entry \w+\(.*?^}$", text, re.M | re.S)
    if len(kernels) < 10:
        sys.exit(f"the text has the kernels {kernels}")
    for name, body in zip(kernels, bodies):
        before, wait, _ = body.partition("griddepcontrol.launch_dependents; griddepcontrol.wait;")
        if not wait or body.count("griddepcontrol.wait") != 1:
            sys.exit(f"{name} does not wait for the kernels before it, once")
        early = re.search(r"^.*\b(ld|st|atom|red)\.(?!param)[\w.]+\s(?!.*\[%SP).*$", before, re.M)
        if early:
            sys.exit(f"{name} reads or writes before it waits: {early.group(0).strip()}")


def assemble(assembler, path, architecture):
    """False if the assembler does not know the architecture."""
    result = subprocess.run([assembler, "-arch=" + architecture, "-v", path, "-o", os.devnull], capture_output=True,
                            text=True)
    report = result.stdout + result.stderr
    if result.returncode != 0 and "is not defined for option 'gpu-name'" in report:
        print(architecture, "is not known to this ptxas")
        return False
    spilled = [int(n) for n in re.findall(r"(\d+) bytes spill", report)]
    shared = [int(n) for n in re.findall(r"(\d+) bytes smem", report)]
    registers = [int(n) for n in re.findall(r"Used (\d+) registers", report)]
    if result.returncode != 0 or any(spilled) or max(shared) > SHARED_BYTES:
        sys.exit(f"{path}, {architecture}: {report}")
    for name, used in re.findall(r"Compiling entry function '(\w+)'.*?Used (\d+) registers", report, re.S):
        if (int(used) + 7) // 8 * 8 * THREADS.get(name, USUAL_THREADS) > REGISTERS:
            sys.exit(f"{path}, {architecture}: a block of {name} needs more registers than there are: {used} a thread")
    print(f"{architecture}: at most {max(registers)} registers, {max(shared)} bytes of shared memory")
    return True


def main():
    assembler = find_assembler()
    for (version, target, architectures), path in zip(TEXTS, sys.argv[1:], strict=True):
        with open(path, encoding="ascii") as file:
            text = file.read()
        if not text.startswith(f".version {version}\n.target {target}\n"):
            sys.exit(f"{path} is not of version {version} for {target}: {text[:60]}")
        check_threads(text)
        if version == TEXTS[0][0] and "griddepcontrol" in text:
            sys.exit(f"{path} has instructions that came later")
        if version != TEXTS[0][0]:
            check_waits(text)
        if assembler is None:
            continue
        if not any([assemble(assembler, path, architecture) for architecture in architectures]):
            sys.exit("this ptxas knows none of " + ", ".join(architectures))
    if assembler is None:
        print("no ptxas: only the texts were looked at")


if __name__ == "__main__":
    main()
