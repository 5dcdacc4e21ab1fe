# SPDX-License-Identifier: Apache-2.0
"""Builds the extension with its CUDA part for the GPU at hand, into the source tree. Started by gate.py only.

Wheels are unpacked into a folder that only the gate looks into; nothing of the machine's Python changes. If the CUDA
part does not compile, the CPU part is built without it, for what is checked against it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def install(wheels: str, site: Path) -> None:
    """The wheels of a folder, without their dependencies and without a network."""
    found = sorted(str(path) for path in Path(wheels).glob("*.whl")) if wheels else []
    if not found or site.exists():
        return
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
    subprocess.run([*pip, "--no-cache-dir", "--target", str(site), *found], check=True)


def compile_extension(folder: Path, cuda: str, architecture: str) -> int:
    """CMake and ninja; the exit code. Compiled modules go into the package."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-G", "Ninja", "-DSKBUILD=ON", f"-DFP8REF_CUDA={cuda}"]
    configure += [f"-DPython_EXECUTABLE={sys.executable}", f"-DCMAKE_CUDA_ARCHITECTURES={architecture}"]
    build = ["cmake", "--build", str(folder), "-j", str(os.cpu_count() or 1)]
    code = 0
    for command in (configure, [*build, "--target", "_ext"], build):  # what the CPU needs comes before slow kernels
        code = subprocess.run(command, check=False).returncode
        for module in folder.glob("_*.so"):
            shutil.copy2(module, ROOT / "python" / "fp8ref" / module.name)
        if code != 0 and command is configure:
            break
    return code


def main() -> int:
    """The build."""
    settings = json.loads(sys.argv[1])
    work = Path(settings["work"])
    work.mkdir(parents=True, exist_ok=True)
    os.dup2(os.open(work / "build.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
    os.dup2(1, 2)
    os.nice(10)  # the compiler of the probes comes first
    install(settings["wheels"], work / "site")
    code = compile_extension(work / "cmake", "ON", settings["architecture"])
    if code != 0:
        compile_extension(work / "cmake-cpu", "OFF", settings["architecture"])
    return code


if __name__ == "__main__":
    sys.exit(main())
