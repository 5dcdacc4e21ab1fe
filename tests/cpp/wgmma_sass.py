# SPDX-License-Identifier: Apache-2.0
"""The machine code of the wgmma kernels: ``wgmma_sass.py OBJECT...``, the objects of cpp/cuda/wgmma_kernel_*.cu.

Each kernel works on Hopper's FP8 tensor cores and holds what decides its bits: chains that begin with zero, fp32 sums
of chains where they are promoted and nowhere else, steps of the epilogue that round to nearest and keep subnormals, and
no spills. Exits with 77 where CUDA's disassembler is not installed (nvidia-cuda-cuobjdump, nvidia-cuda-nvdisasm).
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SKIPPED = 77
# The kernels of each file: whether their chains are promoted, and their operands.
KERNELS: dict[str, list[tuple[str, str]]] = {
    "chain": [("chain", "E4M3.E4M3")] * 2,
    "promoted": [("promoted", "E4M3.E4M3")] * 2,
    "few_rows": [("chain", "E4M3.E4M3"), ("promoted", "E4M3.E4M3")],
    "grouped": [("chain", "E4M3.E4M3"), ("promoted", "E4M3.E4M3")],
    "e5m2": [("chain", types) for types in ("E4M3.E5M2", "E5M2.E4M3", "E5M2.E5M2")],
    "promoted_e5m2": [("promoted", types) for types in ("E4M3.E5M2", "E5M2.E4M3", "E5M2.E5M2")],
}
# Each is put into the code of every kernel, and must be found there.
DEFECTS: dict[str, Callable[[str], str]] = {
    "another instruction": lambda code: code.replace("QGMMA", "HGMMA"),
    "another format": lambda code: re.sub(r"(QGMMA\S*\.F)32", r"\g<1>16", code, count=1),
    "a chain that never begins": lambda code: code.replace("RZ, !UPT", "R24"),
    "a spill": lambda code: code + "        /*ffe0*/    STL [R1], R0 ;\n",
    "a product rounded toward zero": lambda code: code.replace("FMUL R", "FMUL.RZ R", 1),
    "subnormals flushed": lambda code: code.replace("FFMA R", "FFMA.FTZ R", 1),
    "no scales": lambda code: code.replace("FMUL", "MOV"),
    "promotion exchanged": lambda code: (
        re.sub(r"\bFADD\b", "MOV", code)
        if re.search(r"\bFADD\b", code)
        else code + "        /*ffe0*/    FADD R1, R2, R3 ;\n"
    ),
}


def faults(code: str, chains: str, operands: str) -> list[str]:
    """What is wrong with the code of a kernel."""
    found = []
    products = re.findall(r"\b(Q|H|I|B)GMMA\.(\S+)", code)
    if not products or any(kind != "Q" or f"x32.F32.{operands}" not in form for kind, form in products):
        found.append(f"no QGMMA of {operands} into F32, or another besides it")
    if not re.search(r"\bQGMMA\S* \S+, \S+ RZ, !UPT", code):
        found.append("no chain begins with zero")
    sums = re.findall(r"\bFADD\S* [^;]*", code)
    if chains == "chain" and sums:
        found.append("sums of chains")
    if chains == "promoted" and not (any(", RZ, " in each for each in sums) and any("RZ" not in each for each in sums)):
        found.append("no sums of chains, beginning with zero")
    if not re.search(r"\bFMUL\b", code) or not re.search(r"\bFFMA\b", code):
        found.append("no epilogue")
    if inexact := re.findall(r"\b(?:FADD|FMUL|FFMA)\S*\.(?:FTZ|RZ|RM|RP|SAT)\b", code):
        found.append(f"{inexact[0]}: not rounded to nearest, or subnormals flushed")
    if re.search(r"\b(?:LDL|STL)\b", code):
        found.append("local memory")
    return found


def kernels(listing: str) -> dict[str, str]:
    """Kernel name to code."""
    parts = re.split(r"^\s*Function : (\S+)$", listing, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def check(stem: str, listing: str) -> list[str]:
    """The faults of a file's kernels, and the defects that would not have been found."""
    found = kernels(listing)
    expected = KERNELS[stem]
    if len(found) != len(expected):
        return [f"{len(found)} kernels, not {len(expected)}"]
    wrong, left = [], list(expected)
    for name, code in found.items():
        chains = "chain" if "FP8FastAccum" in name else "promoted"
        types = [types for kind, types in left if kind == chains and f"F32{types.replace('.', '')}_" in name]
        operands = next(iter(types), "")
        if not operands:
            wrong.append(f"an unexpected kernel: {chains}, {name}")
            continue
        left.remove((chains, operands))
        wrong += [f"{chains} of {operands}: {fault}" for fault in faults(code, chains, operands)]
        wrong += [f"not found: {what}" for what, make in DEFECTS.items() if not faults(make(code), chains, operands)]
    return wrong


def disassembler() -> Path | None:
    """Cuobjdump: of the toolkit, or of PyPI."""
    if on_path := shutil.which("cuobjdump"):
        return Path(on_path)
    spec = importlib.util.find_spec("nvidia")
    for place in spec.submodule_search_locations or [] if spec else []:
        if (tool := Path(place) / "cu13" / "bin" / "cuobjdump").exists():
            return tool
    return None


def main(objects: list[str]) -> int:
    """Checks the objects; the exit status."""
    tool = disassembler()
    if tool is None or not shutil.which("nvdisasm", path=f"{tool.parent}{os.pathsep}{os.environ['PATH']}"):
        print("skipped: no cuobjdump and nvdisasm (pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm)")
        return SKIPPED
    environment = os.environ | {"PATH": f"{tool.parent}{os.pathsep}{os.environ['PATH']}"}
    by_stem = {Path(name).name.split(".")[0].removeprefix("wgmma_kernel_"): name for name in objects}
    wrong = [f"{stem}: not among the objects" for stem in KERNELS if stem not in by_stem]
    for stem, name in by_stem.items():
        command = [str(tool), "-sass", name]
        listing = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
        wrong += [f"{stem}: {fault}" for fault in check(stem, listing)]
    print("\n".join(wrong) or f"{len(by_stem)} objects: QGMMA, no spills")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
