# SPDX-License-Identifier: Apache-2.0
"""Runs what is exhaustive and writes the record that spec/evidence/ keeps.

    python tests/record.py BUILD     # BUILD: a CMake build with -DFP8REF_TESTS=ON, where MPFR was found

It takes about ten minutes on two cores. Nothing is written unless all of it ran.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / "spec" / "evidence" / "exhaustive.json"
CHECKED = ("e4m3", "rope")  # ops whose conformance cases have an exhaustive level


def _output(*command: str) -> str:
    """stdout of a command; stderr is passed on. A difference is an exit code of 1, and part of the record."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    if done.returncode not in (0, 1):
        sys.exit(f"{command[0]} failed with exit code {done.returncode}")
    return done.stdout


def _processor() -> str:
    """The name that Linux gives the processor, elsewhere the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def record(build: Path) -> dict[str, Any]:
    """Everything, as one document."""
    sweep = json.loads(_output(str(build / "tests" / "cpp" / "sweep"), "--exhaustive"))
    command = [sys.executable, "-m", "fp8ref", "check", *CHECKED, "--level", "exhaustive", "--json", "-"]
    return {
        "date": datetime.date.today().isoformat(),
        "commit": _output("git", "rev-parse", "HEAD").strip(),
        "machine": _processor(),
        "cores": os.cpu_count(),
        "sweep": sweep,
        "check": json.loads(_output(*command)),
    }


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    text = json.dumps(record(Path(sys.argv[1])), indent=2) + "\n"
    RECORD.parent.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=RECORD.parent, delete=False, encoding="utf-8") as aside:
        aside.write(text)
    Path(aside.name).replace(RECORD)
    print(f"wrote {RECORD.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
