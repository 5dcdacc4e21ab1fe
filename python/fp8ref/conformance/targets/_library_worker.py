# SPDX-License-Identifier: Apache-2.0
"""The process that a C library runs in: a crash there is an answer, not the end of a report. [ABI-PROCESS]

Run as a program, ``python _library_worker.py FD LIBRARY``, it needs nothing but the standard library, so that a new one
is there at once. It receives ``("call", function, arguments)`` or ``("threads", n)`` and sends what came of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from multiprocessing.connection import Connection
from typing import Any

GUARD = 1 << 16  # bytes before and behind each tensor, of this value
CANARY = 0xC3
ALIGNMENT = 64
INTACT = bytes([CANARY]) * (GUARD + ALIGNMENT)
PREFIX = "fp8ref_"


class Tensor(ctypes.Structure):
    """``fp8ref_tensor``."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("ndim", ctypes.c_int32),
        ("dtype", ctypes.c_int32),
    )


class Guarded:
    """A tensor of a call between canaries."""

    def __init__(self, dtype: int, shape: tuple[int, ...], data: bytes) -> None:
        self.given, self.size = data, len(data)
        self._memory = (ctypes.c_char * (2 * GUARD + self.size + ALIGNMENT))()
        base = ctypes.addressof(self._memory)
        self._start = GUARD + -(base + GUARD) % ALIGNMENT
        end = self._start + self.size
        ctypes.memset(base, CANARY, self._start)
        ctypes.memmove(base + self._start, data, self.size)
        ctypes.memset(base + end, CANARY, len(self._memory) - end)
        self._shape = (ctypes.c_int64 * len(shape))(*shape)
        self.descriptor = Tensor(base + self._start, self._shape, len(shape), dtype)

    def data(self) -> bytes:
        """What is there now."""
        return bytes(memoryview(self._memory)[self._start : self._start + self.size])

    def damage(self) -> str:
        """What was written beside it."""
        view, end = memoryview(self._memory), self._start + self.size
        before, after = bytes(view[: self._start]), bytes(view[end:])
        for part, place in ((before, "before its start"), (after, "past its end")):
            if part != INTACT[: len(part)]:
                return f"{len(part) - part.count(CANARY)} bytes written {place}"
        return ""


class Library:
    """The functions of a loaded library."""

    def __init__(self, path: str) -> None:
        self._library = ctypes.CDLL(path, mode=os.RTLD_NOW | os.RTLD_LOCAL)

    def find(self, name: str, result: Any = ctypes.c_int32) -> Any:
        """A function, or None."""
        try:
            function = getattr(self._library, PREFIX + name)
        except AttributeError:
            return None
        function.restype = result
        return function

    def text(self, name: str) -> str:
        """What a function that returns text says; nothing where it is missing."""
        function = self.find(name, ctypes.c_char_p)
        return "" if function is None else (function() or b"").decode("utf-8", "replace")

    def about(self, functions: tuple[str, ...]) -> dict[str, Any]:
        """Which of these functions there are, the version of the ABI, and the library's own."""
        abi = self.find("abi_version")
        return {
            "functions": tuple(name for name in functions if self.find(name) is not None),
            "abi": 1 if abi is None else int(abi()),
            "version": self.text("version"),
        }

    def call(self, function: str, arguments: list[tuple[Any, ...]]) -> dict[str, Any]:
        """The status, the text of an error, the data of outputs, and what was written that must not be."""
        passed: list[Any] = []
        tensors: list[tuple[str, str, Guarded]] = []
        for kind, name, *value in arguments:
            if kind in ("input", "output"):
                tensors.append((kind, name, Guarded(*value)))
                passed.append(ctypes.byref(tensors[-1][2].descriptor))
            else:
                passed.append(PLAIN[kind](*value))
        status = int(self.find(function)(*passed))
        damage = [f"{name}: {text}" for _, name, tensor in tensors if (text := tensor.damage())]
        changed = [name for kind, name, tensor in tensors if kind == "input" and tensor.data() != tensor.given]
        return {
            "status": status,
            "text": self.text("last_error") if status else "",
            "damage": damage,
            "changed": changed,
            "outputs": {name: tensor.data() for kind, name, tensor in tensors if kind == "output"},
        }

    def set_threads(self, threads: int) -> str:
        """Why that is not possible, or nothing."""
        function = self.find("set_threads")
        if function is None:
            return "the library has no fp8ref_set_threads"
        status = int(function(ctypes.c_int32(threads)))
        return "" if status == 0 else f"fp8ref_set_threads: status {status}: {self.text('last_error')}"


# How arguments that are no tensors are passed.
PLAIN: dict[str, Any] = {
    "null": lambda: None,
    "text": ctypes.c_char_p,
    "integer": ctypes.c_int64,
    "number": ctypes.c_double,
    "integers": lambda *values: ctypes.byref((ctypes.c_int64 * len(values))(*values)),
    "numbers": lambda *values: ctypes.byref((ctypes.c_double * len(values))(*values)),
}


def main(descriptor: int, path: str) -> None:
    """Answer until the other end is closed."""
    with Connection(descriptor) as connection:
        functions = connection.recv()
        try:
            library = Library(path)
        except OSError as error:
            connection.send({"failed": str(error)})
            return
        connection.send(library.about(functions))
        try:
            while True:
                what, *rest = connection.recv()
                connection.send(library.call(*rest) if what == "call" else library.set_threads(*rest))
        except EOFError:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
