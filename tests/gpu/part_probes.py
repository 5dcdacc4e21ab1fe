# SPDX-License-Identifier: Apache-2.0
"""Part ``probes``: compiles probes.cu for the GPU at hand and runs it. E18 needs torch and is in part ``torch``."""

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
TILES = {"quick": "64", "whole": "2048"}  # of 512 dot products, for each instruction and family


FORMS = ("wgmma_ss", "wgmma_rs", "mma_sync")  # a process for each, so that one that hangs does not hide the others

Rows = Iterator[tuple[str, dict[str, Any]]]


def _compile(settings: Settings) -> Rows:
    work = Path(settings.work)
    work.mkdir(parents=True, exist_ok=True)
    number = settings.architecture
    command = ["nvcc", f"-gencode=arch=compute_{number},code=sm_{number}", "-std=c++20", "-O2"]
    command += ["-I", str(ROOT / "cpp" / "include"), str(ROOT / "tests" / "gpu" / "probes.cu")]
    subprocess.run([*command, "-o", str(work / "probes")], check=True)
    yield from ()


def run_form(settings: Settings, form: str) -> Rows:
    """The program on the instructions of one form."""
    command = [str(Path(settings.work) / "probes"), "--form", form, "--tiles", TILES[settings.level]]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.stdout:
        last = (done.stderr.strip() or "no message").splitlines()[-1]
        raise RuntimeError(f"the probes ended with code {done.returncode} and no result: {last}")
    document = json.loads(done.stdout)
    if "descriptor" in document and form == FORMS[0]:
        wanted = "leading dimension along K"
        found = document["descriptor"]
        yield "probes", {"id": "descriptor", "expected": wanted, "measured": found, "held": found == wanted}
    for row in document["probes"]:
        yield "probes", row


def items(settings: Settings) -> Items:
    """The compiler first; wgmma before mma.sync."""
    return {"compile": lambda: _compile(settings), **{form: partial(run_form, settings, form) for form in FORMS}}
