#!/usr/bin/env python3
"""Compiles *.cu here to *.ptx with NVRTC 12.0.140, or checks that this gives the same files.

    pip install nvidia-cuda-nvrtc-cu12==12.0.140
    python3 src/decode/gpu/build_ptx.py [--check] [--nvrtc DIR]

That version writes PTX ISA 8.0, which every driver since R525 (CUDA 12.0) reads. DIR holds
libnvrtc.so.12; without it the package is looked for in this Python, then in target/venv.
Exit status: 0 done or the same, 1 another file, 3 no such NVRTC here.
"""

import ctypes
import glob
import hashlib
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["kernels", "lossless"]
VERSION = "12.0.140"
# Multiplication and addition are rounded one by one: the bytes must be those of the CPU.
OPTIONS = ["--gpu-architecture=compute_60", "--fmad=false", "--std=c++14"]


def find_nvrtc(given):
    root = os.path.join(HERE, "..", "..", "..")
    places = [given] if given else [
        *(os.path.join(path, "nvidia", "cuda_nvrtc", "lib") for path in sys.path),
        *glob.glob(os.path.join(root, "target/venv/lib/python3*/site-packages/nvidia/cuda_nvrtc/lib")),
    ]
    for place in places:
        path = os.path.join(place, "libnvrtc.so.12")
        # The version by its number is not in the library: the package's directory name says it.
        site = os.path.normpath(os.path.join(place, "..", "..", ".."))
        packages = glob.glob(os.path.join(site, "nvidia_cuda_nvrtc_cu12-*.dist-info"))
        if os.path.exists(path) and any(VERSION in os.path.basename(p) for p in packages):
            return path
    return None


def compile_ptx(library, name, source):
    nvrtc = ctypes.CDLL(library)
    program = ctypes.c_void_p()

    def call(name, *args):
        status = getattr(nvrtc, name)(*args)
        if status != 0:
            size = ctypes.c_size_t()
            nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
            log = ctypes.create_string_buffer(size.value + 1)
            nvrtc.nvrtcGetProgramLog(program, log)
            sys.exit(f"{name}: {status}\n{log.value.decode()}")

    call("nvrtcCreateProgram", ctypes.byref(program), source, f"{name}.cu".encode(), 0, None, None)
    options = (ctypes.c_char_p * len(OPTIONS))(*(o.encode() for o in OPTIONS))
    call("nvrtcCompileProgram", program, len(OPTIONS), options)
    size = ctypes.c_size_t()
    call("nvrtcGetPTXSize", program, ctypes.byref(size))
    ptx = ctypes.create_string_buffer(size.value)
    call("nvrtcGetPTX", program, ptx)
    return ptx.value.decode()


def make(library, name, only_check):
    target = os.path.join(HERE, f"{name}.ptx")
    with open(os.path.join(HERE, f"{name}.cu"), "rb") as file:
        source = file.read()
    digest = hashlib.sha256(source).hexdigest()
    head = f"// {name}.cu sha256 {digest}\n// nvrtc {VERSION} {' '.join(OPTIONS)}\n"
    text = head + compile_ptx(library, name, source)
    if only_check:
        with open(target) as file:
            same = file.read() == text
        print(f"{name}: the same" if same else f"{name}.ptx is another file than NVRTC makes")
        return 0 if same else 1
    with open(target, "w") as file:
        file.write(text)
    return 0


def main():
    args = sys.argv[1:]
    given = args[args.index("--nvrtc") + 1] if "--nvrtc" in args else None
    library = find_nvrtc(given)
    if library is None:
        print(f"no NVRTC {VERSION}: pip install nvidia-cuda-nvrtc-cu12=={VERSION}", file=sys.stderr)
        return 3
    status = 0
    for name in NAMES:
        status |= make(library, name, "--check" in args)
    return status


sys.exit(main())
