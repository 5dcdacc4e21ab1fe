# SPDX-License-Identifier: Apache-2.0
"""A runner of spec/exchange.md for tests: residual in numpy, right or with one defect.

    python pipe_runner.py DEFECT LOG

Each start appends its process id to LOG. Most defects show in cases whose name has "subnormal" in it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

DEFECT, LOG = sys.argv[1], Path(sys.argv[2])
READ, WRITE = sys.stdin.buffer, sys.stdout.buffer
HANDSHAKE = {
    "greeting": "fp8ref-pipe 2\nend\n",
    "no_handshake": "",
    "handshake": "fp8ref-pipe 1\nhello\nend\n",
    "unknown_function": "fp8ref-pipe 1\nfunctions nothing\nend\n",
    "threads": "fp8ref-pipe 1\nthreads OMP_NUM_THREADS\nfact threads {threads}\nend\n",
}
RIGHT = "fp8ref-pipe 1\nfunctions residual\nfact device none, a test\nend\n"


def say(text: str, data: bytes = b"") -> None:
    WRITE.write(text.encode() + data)
    WRITE.flush()


def read_case(first: bytes) -> tuple[str, str, dict[str, Any]]:
    _, number, _, name = first.decode().split()
    tensors = {}
    while (line := READ.readline()) != b"end\n":
        kind, key, *rest = line.decode().split()
        if kind == "tensor":
            words = np.frombuffer(READ.read(int(rest[1])), np.uint16)
            assert READ.read(1) == b"\n"
            tensors[key] = words.reshape([int(size) for size in rest[3:]])
    return number, name, tensors


def residual(x: Any, y: Any) -> Any:
    with np.errstate(all="ignore"):
        total = (x.astype(np.uint32) << 16).view(np.float32) + (y.astype(np.uint32) << 16).view(np.float32)
    bits = total.view(np.uint32)
    if DEFECT != "truncates":
        bits = np.where(np.isnan(total), bits, bits + 0x7FFF + (bits >> 16 & 1))
    return (bits >> 16).astype(np.uint16)


def answer(number: str, out: Any, dtype: str = "bfloat16", name: str = "out", cut: int = 0, size: int = 0) -> None:
    data = out.tobytes() + bytes(max(cut, 0))
    data = data[: len(data) + min(cut, 0)]
    shape = "".join(f" {n}" for n in out.shape)
    say(f"result {number}\ntensor {name} {dtype} {out.nbytes + size} {out.ndim}{shape}\n", data + b"\nend\n")


def defective(number: str, out: Any) -> None:
    """What a case gets from a runner with the defect."""
    match DEFECT:
        case "leaves":
            print("the last words", file=sys.stderr, flush=True)
            say(f"result {number}\ntensor out bfloat16 ")
            os._exit(3)
        case "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        case "silent":
            time.sleep(60)
        case "garbage":
            say("Hello, world\n")
        case "flood":
            say("", b"x" * 100_000)
        case "number":
            answer(str(int(number) + 1), out)
        case "few_bytes":
            answer(number, out, cut=-2)
        case "fewer_bytes":
            answer(number, out, cut=-200)
        case "many_bytes":
            answer(number, out, cut=2)
        case "count":
            answer(number, out, size=2, cut=2)
        case "type":
            answer(number, out, "float16")
        case "unknown_type":
            answer(number, out, "float99")
        case "shape":
            answer(number, out.reshape(1, -1))
        case "other_output":
            answer(number, out, name="result")
        case "no_output":
            say(f"result {number}\nend\n")
        case "refuses":
            say(f"unsupported {number} not on a Monday\n")
        case "fails":
            say(f"error {number} illegal memory access\n")
        case _:
            answer(number, out)


def main() -> None:
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"{os.getpid()}\n")
    if DEFECT == "no_handshake":
        print("no such device", file=sys.stderr)
        return
    assert READ.readline() == b"fp8ref-pipe 1\n"
    say(HANDSHAKE.get(DEFECT, RIGHT).format(threads=os.environ.get("OMP_NUM_THREADS", "")))
    while first := READ.readline():
        if DEFECT == "early":  # a long answer before the case is read
            say(
                f"result {first.split()[1].decode()}\ntensor out bfloat16 {1 << 24} 1 {1 << 23}\n",
                bytes(1 << 24) + b"\n",
            )
        number, name, tensors = read_case(first)
        if DEFECT == "early":
            say("end\n")
            continue
        out = residual(tensors["x"], tensors["y"])
        if "subnormal" in name:
            defective(number, out)
        else:
            answer(number, out)


if __name__ == "__main__":
    main()
