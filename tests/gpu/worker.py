# SPDX-License-Identifier: Apache-2.0
"""The process of one part: its items in order, each with its rows, on stdout. Started by gate.py only."""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
# The tests' folder in the place of this one, whose modules are called gpu.<name>.
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if Path(path or ".").resolve() != HERE)]

from gpu.gate import Settings, failed  # noqa: E402

Rows = Iterable[tuple[str, dict[str, Any]]]  # the kind and the row
Items = Mapping[str, Callable[[], Rows]]
LOST = 3  # exit code: the context of the device is gone, and with it this process


def _lost(error: BaseException) -> bool:
    """Whether the error stays: CUDA's sticky ones make every later call fail."""
    if not any(word in str(error) for word in ("CUDA error", "cudaError", "illegal memory access", "DeviceError")):
        return False
    try:
        import torch

        torch.cuda.synchronize()
        torch.ones(1, device="cuda").item()
    except Exception:
        return True
    return False


def run(part: str, items: Items, skip: int, deadline: float, write: Callable[[dict[str, Any]], None]) -> int:
    """All items but the first ``skip``; those that do not fit into the time are reported as not run."""
    for place, (name, item) in enumerate(items.items()):
        if place < skip:
            continue
        write({"begin": name})
        try:
            if time.monotonic() > deadline:
                raise TimeoutError("not run: out of time")
            for kind, row in item():
                write({"kind": kind, "row": row})
        except Exception as error:
            traceback.print_exc()
            kind, row = failed(part, name, f"{type(error).__name__}: {error}")
            if _lost(error):  # the parent reports the item and starts another process
                write({"lost": f"{type(error).__name__}: {error}"})
                return LOST
            write({"kind": kind, "row": row})
        write({"end": name})
        _release()
    return 0


def _release() -> None:
    """Give back the device memory of an item: others allocate beside torch."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def main() -> int:
    """Import the part and run it; whatever libraries print goes to stderr."""
    part, start = sys.argv[1], json.loads(sys.argv[2])
    deadline = time.monotonic() + start["deadline"] - 2
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def write(message: dict[str, Any]) -> None:
        out.write(json.dumps(message) + "\n")
        out.flush()

    module = importlib.import_module(f"gpu.part_{part}")
    items = module.items(Settings(**start["settings"]))
    if hasattr(module, "facts"):
        write({"fact": module.facts()})
    return run(part, items, start["skip"], deadline, write)


if __name__ == "__main__":
    sys.exit(main())
