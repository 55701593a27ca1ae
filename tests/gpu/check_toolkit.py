#!/usr/bin/env python3
"""What NVIDIA's own tools say of our code, if they are there.

    check_toolkit.py DRIVER.h KERNELS.h KERNELS.ptx

The declarations of the driver's functions are our own: with NVIDIA's cuda.h a compiler compares each with the official
one (how many parameters there are, and of each whether it is a pointer and how large it is), the layouts of the
structs, and the numbers that have names. cuda.h is looked for in CUDA's usual folder and in .cache/cuda, where
scripts/setup puts it. nvcc, if there is one, compiles the kernels, and finds the same as Clang.
"""
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
SKIPPED = 77

COMPARE = """
#include <cstddef>
#include <type_traits>

template <class A, class B> constexpr bool alike() {
    return sizeof(A) == sizeof(B) && std::is_pointer<A>::value == std::is_pointer<B>::value;
}
template <class Ours, class Theirs> struct same;
template <class R, class... A, class S, class... B> struct same<R (*)(A...), S (*)(B...)> {
    template <bool...> struct list;
    static constexpr bool value = [] {
        if constexpr (sizeof...(A) == sizeof...(B)) {
            return alike<R, S>() && std::is_same<list<true, alike<A, B>()...>, list<alike<A, B>()..., true>>::value;
        }
        return false;
    }();
};
"""
NUMBERS = {
    "TMB_CUDA_SUCCESS": "CUDA_SUCCESS", "TMB_CUDA_OUT_OF_MEMORY": "CUDA_ERROR_OUT_OF_MEMORY",
    "TMB_CUDA_NO_DEVICE": "CUDA_ERROR_NO_DEVICE", "TMB_CUDA_NO_JIT_COMPILER": "CUDA_ERROR_JIT_COMPILER_NOT_FOUND",
    "TMB_CUDA_UNSUPPORTED_PTX": "CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
    "TMB_CUDA_JIT_DISABLED": "CUDA_ERROR_JIT_COMPILATION_DISABLED", "TMB_CUDA_NOT_READY": "CUDA_ERROR_NOT_READY",
    "TMB_CUDA_CAPABILITY_MAJOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR",
    "TMB_CUDA_CAPABILITY_MINOR": "CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR",
}
STRUCTS = {
    ("tmb_cuda_kernel_node", "CUDA_KERNEL_NODE_PARAMS_v1"): {
        "function": "func", "grid": "gridDimX", "block": "blockDimX", "shared_bytes": "sharedMemBytes",
        "parameters": "kernelParams", "extra": "extra"},
    ("tmb_cuda_edge", "CUgraphEdgeData"): {"from_port": "from_port", "to_port": "to_port", "type": "type"},
}


def assertions(header):
    functions = re.findall(r'X\((\w+),\s*"(\w+)"', header.replace("\\\n", ""))
    if len(functions) < 30:
        sys.exit(f"the header has the functions {functions}")
    for field, symbol in functions:
        yield f"same<decltype(tmb_cuda::{field}), decltype(&{symbol})>::value", symbol
    numbers = set(re.findall(r"\b(TMB_CUDA_[A-Z_]+) = \d+", header))
    if numbers != set(NUMBERS):
        sys.exit(f"named numbers: {sorted(numbers ^ set(NUMBERS))} are in the header or in this test alone")
    for ours, theirs in NUMBERS.items():
        yield f"(int){ours} == (int){theirs}", ours
    for (ours, theirs), fields in STRUCTS.items():
        yield f"sizeof({ours}) == sizeof({theirs})", ours
        for field, official in fields.items():
            yield f"offsetof({ours}, {field}) == offsetof({theirs}, {official})", f"{ours}.{field}"
    yield "CU_GRAPH_KERNEL_NODE_PORT_PROGRAMMATIC == 1 && CU_GRAPH_DEPENDENCY_TYPE_PROGRAMMATIC == 1", "the edge"


def check_declarations(path, folder):
    """False if there is no cuda.h, or nothing that compiles it."""
    places = [pathlib.Path("/usr/local/cuda/include"), *ROOT.glob(".cache/cuda/nvidia/*/include")]
    include = next((place for place in places if (place / "cuda.h").exists()), None)
    compiler = next(filter(None, map(shutil.which, ("c++", "g++", "clang++"))), None)
    if include is None or compiler is None:
        print("no cuda.h, or no C++ compiler: the declarations were not compared")
        return False
    header = path.read_text()
    program = folder / "compare.cpp"
    checks = list(assertions(header))
    program.write_text(
        "#define __CUDA_API_VERSION_INTERNAL 1\n#include <cuda.h>\n" + COMPARE + f'#include "{path.resolve()}"\n' +
        "".join(f'static_assert({condition}, "{what}");\n' for condition, what in checks))
    result = subprocess.run([compiler, "-std=c++17", "-fsyntax-only", f"-I{include}", f"-I{ROOT / 'include'}",
                             f"-I{ROOT / 'src'}", program], capture_output=True, text=True)
    if result.returncode != 0:
        sys.exit(f"{include}/cuda.h says otherwise:\n{result.stderr}")
    print(f"{len(checks)} declarations are those of {include}/cuda.h")
    return True


def check_nvcc(kernels, ptx, folder):
    """False if there is no nvcc."""
    nvcc = shutil.which("nvcc") or shutil.which("/usr/local/cuda/bin/nvcc")
    if nvcc is None:
        print("no nvcc: the kernels were not compiled by it")
        return False
    out = folder / "kernels.ptx"
    for more in ([], ["-DTMB_DEPENDENT_LAUNCH"]):
        result = subprocess.run([nvcc, "-x", "cu", "-ptx", "-arch=sm_90" if more else "-arch=sm_80", "-fmad=false",
                                 *more, kernels, "-o", out], capture_output=True, text=True)
        if result.returncode != 0:
            sys.exit(f"{nvcc} does not compile the kernels:\n{result.stdout}{result.stderr}")
        entries = [set(re.findall(r"^\.visible \.entry (\w+)\(", text.read_text(), re.M)) for text in (out, ptx)]
        if entries[0] != entries[1] or len(entries[0]) < 10:
            sys.exit(f"{nvcc} and Clang have different kernels: {sorted(entries[0] ^ entries[1])}")
    print(f"{nvcc} compiles {len(entries[0])} kernels")
    return True


def main():
    driver, kernels, ptx = map(pathlib.Path, sys.argv[1:])
    with tempfile.TemporaryDirectory() as name:
        found = [check_declarations(driver, pathlib.Path(name)), check_nvcc(kernels, ptx, pathlib.Path(name))]
    sys.exit(0 if any(found) else SKIPPED)


if __name__ == "__main__":
    main()
