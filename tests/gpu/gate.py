# SPDX-License-Identifier: Apache-2.0
"""The GPU gate: builds fp8ref on a machine with a GPU, nvcc and torch, and measures what no other machine can.

    python tests/gpu/gate.py [--parts PART,...] [--minutes 9] [--wheels DIR] [--out record.json] [--quick]

It needs no network: what the machine's Python lacks (nvidia-cutlass, nlohmann-json, mmaemu) is taken from the wheels in
DIR. Each part runs in a process of its own, one item after the other; an item that fails, hangs or loses the device
leaves a row that says so, and the next item starts in a new process. The record on disk is whole at any moment. Exit
code 0: nothing differed (or there is no CUDA device: then one line says so); 1: something did, and it is listed.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
# The tests' folder in the place of this one, whose modules are called gpu.<name>.
sys.path[:] = [str(HERE.parent), *(path for path in sys.path if Path(path or ".").resolve() != HERE)]

from gpu import device, gate_record  # noqa: E402

# The parts in their order, the most telling first, and the seconds that each may take; the build runs meanwhile.
PARTS = {"probes": 100, "build": 240, "kernels": 50, "conformance": 110, "torch": 50, "forward": 70, "bench": 150}
SILENCE = 90.0  # an item that says nothing for so long hangs
AT_LEAST = 10.0
LOG_LINES = 30
ROOM = 20e9  # bytes that the checkpoints of a whole run take, and more


@dataclass(frozen=True)
class Settings:
    """What the parts need to know; it travels to their processes as JSON."""

    work: str
    wheels: str
    level: str  # quick or whole
    architecture: str
    scratch: str = ""  # for checkpoints of gigabytes, removed at the end; else in work

    def environment(self) -> dict[str, str]:
        """The environment of everything that the gate starts: sources, and the packages of the wheels."""
        paths = [str(ROOT / "python"), str(ROOT / "tests"), str(Path(self.work) / "site")]
        paths += [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
        return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1"}


def _say(text: str) -> None:
    print(text, flush=True)


def end_all(process: subprocess.Popen[bytes]) -> None:
    """A process that leads a session of its own, and whatever it started: compilers, the probes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


class Part:
    """One part in its process. The process prints a JSON object a line: an item begins, a row, the end."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name, self.settings = name, settings
        self.item, self.error, self.done = "", "", 0

    def run(self, record: gate_record.Record, deadline: float) -> str:
        """All items until the deadline; how it ended."""
        while True:
            state = self._process(record, deadline)
            if state != "restart":
                return state

    def _process(self, record: gate_record.Record, deadline: float) -> str:
        command = [sys.executable, str(Path(__file__).with_name("worker.py")), self.name]
        started = {"settings": vars(self.settings), "skip": self.done, "deadline": deadline - time.monotonic()}
        process = subprocess.Popen(
            [*command, json.dumps(started)],
            stdout=subprocess.PIPE,
            env=self.settings.environment(),
            cwd=ROOT,
            start_new_session=True,
        )
        try:
            why = self._listen(process, record, deadline)
        finally:
            end_all(process)
        code = process.wait()
        if code == 0 and not why:
            return "complete"
        error = why or self.error or f"the process ended with code {code}"
        record.add(*failed(self.name, self.item or "start", error))
        self.done += 1
        restart = bool(self.item) and not why.startswith("cut")
        return "restart" if restart else f"{error}, at {self.item or 'its start'}"

    def _listen(self, process: subprocess.Popen[bytes], record: gate_record.Record, deadline: float) -> str:
        """Take what the process says until it ends, or say why it must not go on."""
        assert process.stdout is not None
        watch = selectors.DefaultSelector()
        watch.register(process.stdout, selectors.EVENT_READ)
        heard, pending = time.monotonic(), b""
        while True:
            now = time.monotonic()
            if now > deadline:
                return "cut: out of time"
            if now - heard > SILENCE:
                return "nothing heard for too long"
            if not watch.select(timeout=0.2):
                continue
            data = os.read(process.stdout.fileno(), 1 << 16)
            if not data:
                process.wait()
                return ""
            heard = now
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                self._take(record, line)

    def _take(self, record: gate_record.Record, line: bytes) -> None:
        message: dict[str, Any] = json.loads(line)
        if "begin" in message:
            self.item, self.error = message["begin"], ""
        elif "end" in message:
            self.done += 1
            self.item = ""
        elif "lost" in message:
            self.error = message["lost"]
        elif "fact" in message:
            record.document.update(message["fact"])
        else:
            record.add(message["kind"], message["row"])


def failed(part: str, item: str, error: str) -> tuple[str, gate_record.Row]:
    """The row of an item that gave no result."""
    error = " ".join(error.split())[:400]
    if part == "probes":
        return "probes", {"id": item, "expected": "a result", "measured": error, "held": False}
    if part == "bench":
        return "bench", {"name": item, "ours": None, "peer": None, "ratio": None, "error": error}
    row = {"op": part if part != "conformance" else item, "shape": item, "elements": 0, "differ": None, "error": error}
    return "conformance", row


def run_parts(parts: list[str], settings: Settings, record: gate_record.Record, seconds: float) -> None:
    """One part after the other; the build runs beside the probes."""
    end = time.monotonic() + seconds
    build: subprocess.Popen[bytes] | None = None
    if "build" in parts:
        command = [sys.executable, str(Path(__file__).with_name("build.py")), json.dumps(vars(settings))]
        build = subprocess.Popen(command, env=settings.environment(), cwd=ROOT, start_new_session=True)
    try:
        for place, name in enumerate(order := [name for name in PARTS if name in parts]):
            start = time.monotonic()
            if end - start < AT_LEAST:
                record.finish(name, "not started: out of time", 0)
                continue
            later = sum(PARTS[other] for other in order[place + 1 :])
            budget = max(AT_LEAST, min(PARTS[name], end - start - later / 2))
            _say(f"--- {name}, at most {budget:.0f} s")
            if name == "build":
                assert build is not None
                state = _wait(build, budget, record)
                if state != "complete":
                    _say(_tail(Path(settings.work) / "build.log"))
            else:
                state = Part(name, settings).run(record, start + budget)
            record.finish(name, state, time.monotonic() - start)
            _say(f"    {name}: {state} after {time.monotonic() - start:.0f} s")
    finally:
        if build is not None:
            end_all(build)


def _wait(build: subprocess.Popen[bytes], seconds: float, record: gate_record.Record) -> str:
    try:
        code = build.wait(seconds)
    except subprocess.TimeoutExpired:
        end_all(build)
        code = -1
    if code == 0:
        return "complete"
    error = "cut: out of time" if code == -1 else f"the build ended with code {code}"
    record.add(*failed("build", "build", error))
    return error


def _tail(log: Path) -> str:
    """What a compiler said last; lines about what was compiled are left out."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    lines = [line for line in text.splitlines() if not line.startswith(("[", "--"))]
    return "\n".join(line[:240] for line in lines[-LOG_LINES:])


def _roomy() -> str | None:
    """A folder in memory where there is one with room, else where temporary files go."""
    memory = Path("/dev/shm")
    return str(memory) if memory.is_dir() and shutil.disk_usage(memory).free > ROOM else None


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="which of " + ", ".join(PARTS))
    parser.add_argument("--minutes", type=float, default=9.0, help="all of it ends after so many")
    parser.add_argument("--wheels", default="", help="a folder of wheels that the machine's Python lacks")
    parser.add_argument("--out", default=str(ROOT / "build" / "gate" / "record.json"))
    parser.add_argument("--work", default=str(ROOT / "build" / "gate"), help="where things are built")
    parser.add_argument("--commit", default="", help="full hash, where the tree is no git repository")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller items")
    arguments = parser.parse_args()
    arguments.parts = [part for part in arguments.parts.split(",") if part]
    unknown = sorted(set(arguments.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown part {unknown[0]}; known: {', '.join(PARTS)}")
    return arguments


def main() -> int:
    """The gate."""
    arguments = _arguments()
    found = device.find()
    if isinstance(found, str):
        _say(f"skipped: {found}")
        return 0
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    facts = {"gpu": found.name, "driver": found.driver, "cuda": device.toolkit(), "date": today}
    facts |= {"commit": arguments.commit or device.commit(ROOT), "capability": found.capability}
    record = gate_record.Record(Path(arguments.out), **facts)
    record.write()
    level = "quick" if arguments.quick else "whole"
    wheels = str(Path(arguments.wheels).resolve()) if arguments.wheels else ""
    with tempfile.TemporaryDirectory(prefix="fp8ref-gate-", dir=_roomy()) as scratch:
        settings = Settings(str(Path(arguments.work).resolve()), wheels, level, found.architecture, scratch)
        try:
            run_parts(arguments.parts, settings, record, arguments.minutes * 60)
        finally:  # also where a person stops it
            record.write()
    problems = gate_record.failures(record.document)
    for line in problems:
        _say(line)
    _say(gate_record.summary(record.document))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
