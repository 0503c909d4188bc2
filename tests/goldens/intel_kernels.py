"""Run a program so that MKL multiplies matrices in the steps it takes on processors by Intel.

MKL asks a function of its own whether the processor is one of those; a library loaded before it answers first.
"""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

_QUESTION = "mkl_serv_intel_cpu_true"


def multiplies_as_on_intel() -> bool:
    """Whether this process has been started by `run_with_intel_kernels`."""
    return hasattr(ctypes.CDLL(None), _QUESTION)


def run_with_intel_kernels(program: str, arguments: list[str]) -> int | None:
    """Run a Python program and return its exit code; None where that cannot be: without Linux, gcc and AVX-512."""
    cpu = Path("/proc/cpuinfo")
    if platform.machine() != "x86_64" or not cpu.exists() or " avx512f " not in cpu.read_text():
        return None
    if shutil.which("gcc") is None or not torch.backends.mkl.is_available():
        return None
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "intel.so"
        compiled = subprocess.run(
            ["gcc", "-shared", "-fPIC", "-x", "c", "-", "-o", str(library)],
            input=f"int {_QUESTION}(void) {{ return 1; }}",
            text=True,
        )
        if compiled.returncode:
            return None
        environment = {**os.environ, "LD_PRELOAD": str(library)}
        return subprocess.run([sys.executable, program, *arguments], env=environment).returncode
