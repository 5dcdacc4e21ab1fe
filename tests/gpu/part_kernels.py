# SPDX-License-Identifier: Apache-2.0
"""Part ``kernels``: every way to compute scaled_mm by itself, without Python's backend: bits against cpu, and speed."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gpu.gate import Settings
    from gpu.worker import Items

ROOT = Path(__file__).resolve().parents[2]
TERA = 1e12
# The part of the FP64 tensor cores' speed that is wanted of a way: what needs fewer operations is wanted to be faster.
TARGETS = {"exact, float64 tensor cores": 0.8, "exact, int8 tensor cores": 2.4}

Rows = Iterator[tuple[str, dict[str, Any]]]


def _compile(settings: Settings) -> Path:
    work = Path(settings.work)
    number, program = settings.architecture, work / "kernels"
    command = ["nvcc", f"-gencode=arch=compute_{number},code=sm_{number}", "-std=c++20", "--expt-relaxed-constexpr"]
    command += [
        "-I",
        str(ROOT / "cpp"),
        "-I",
        str(ROOT / "cpp" / "include"),
        str(ROOT / "tests" / "gpu" / "kernels.cu"),
    ]
    command += [str(work / "cmake" / f"libfp8ref_{part}.a") for part in ("cuda", "cpu")]
    subprocess.run([*command, "-o", str(program)], check=True)
    return program


def rows(name: str, output: str, code: int, ceiling: float) -> Rows:
    """What the program said about one way, and what went wrong if it ended early."""
    for line in output.splitlines():
        message = json.loads(line)
        if "conformance" in message:
            yield "conformance", message["conformance"]
            continue
        rate, label = message["speed"]["rate"] / TERA, message["speed"]["name"]
        of = "TFLOP/s against torch.mm float64 4096^3"
        row = {"name": f"kernel {label} {of}", "ours": float(f"{rate:.4g}"), "peer": float(f"{ceiling:.4g}")}
        yield "bench", row | {"ratio": round(rate / ceiling, 4), "target": TARGETS.get(name)}
    if code not in (0, 1):
        error = f"the program ended with code {code}"
        yield "conformance", {"op": "scaled_mm kernel", "shape": name, "elements": 0, "differ": None, "error": error}


def _run(settings: Settings) -> Rows:
    from gpu import timing
    from gpu.part_bench import matmul

    program = _compile(settings)
    taken = timing.seconds({"ceiling": matmul((4096, 4096, 4096), "float64")}, rounds=5)["ceiling"]
    ceiling = 2 * 4096**3 / taken / TERA
    names = subprocess.run([str(program), "--list"], stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()
    for name in names:  # a process for each: one that loses the device does not take the others along
        done = subprocess.run([str(program), name], stdout=subprocess.PIPE, text=True, check=False)
        yield from rows(name, done.stdout, done.returncode, ceiling)


def items(settings: Settings) -> Items:
    """One program, all ways in turn."""
    return {"kernels": partial(_run, settings)}
