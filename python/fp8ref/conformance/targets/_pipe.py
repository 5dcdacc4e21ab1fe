# SPDX-License-Identifier: Apache-2.0
"""A program that reads cases and writes results: ``--pipe "ssh gpu ./runner"``. spec/exchange.md"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np

from ..outcome import Array, Outcome
from ._plain import TYPES, Plain, plain
from ._program import Program, ProgramError
from ._target import OUTPUTS, Target, TargetError

GREETING: Final = "fp8ref-pipe 1"
LIMIT = 120.0  # seconds for each case
START = 60.0  # seconds for the handshake, if not more
FAILURES = 20  # in a row, and it is not started any more; [PIPE-FAILURE]
TIMEOUTS = 3
ANSWERS = ("result", "unsupported", "error")


class PipeTarget(Target):
    """A program that speaks the protocol of spec/exchange.md; it is started at once and serves all calls.

    Args:
        command: program and arguments as one would type them; no shell is in between.
        limit: seconds that it has for each case.

    Raises:
        TargetError: it cannot be started, or does not answer the handshake.

    Example:
        >>> with PipeTarget("./runner") as target:  # doctest: +SKIP
        ...     print(target.functions())
        ('scaled_mm',)
    """

    def __init__(self, command: str, limit: float = LIMIT) -> None:
        self.name = command
        self._limit = limit
        self._variables: dict[str, str] = {}
        self._facts: dict[str, str] = {}
        self._functions: tuple[str, ...] = tuple(OUTPUTS)
        self._threads = ""
        self._asked = 0
        self._failures = self._timeouts = 0  # in a row
        self._case = ""
        self._state = "idle"
        try:
            self._command = shlex.split(command)
        except ValueError as error:
            raise TargetError(f"pipe {command!r}: {error}") from None
        if not self._command:
            raise TargetError("pipe: the command is empty")
        self._program: Program | None = None
        self._start()

    def functions(self) -> tuple[str, ...]:
        """As :meth:`Target.functions`; all there are, if the handshake does not say."""
        return self._functions

    def begin(self, case: str) -> None:
        """As :meth:`Target.begin`."""
        self._case = case

    def call(self, function: str, arguments: Mapping[str, Any], implied: frozenset[str] = frozenset()) -> Outcome:
        """As :meth:`Target.call`."""
        name, self._case = self._case, ""
        if self._failures >= FAILURES or self._timeouts >= TIMEOUTS:
            return Outcome(error="ExitError", message=f"not asked: {self.name} failed too often in a row")
        try:
            program = self._program or self._start()
            self._asked += 1
            self._state = "asked"
            program.limit(self._limit)
            program.send(_message(self._asked, plain(function, arguments), name))
            outcome = _answer(program, self._asked, function)
        except ProgramError as error:
            self._end_failed(error)
            return Outcome(error=error.kind, message=str(error))
        except TargetError as error:  # it started once and does not any more
            self._failures = FAILURES
            return Outcome(error="ExitError", message=str(error))
        self._failures = self._timeouts = 0
        self._state = "idle"
        return outcome

    def set_threads(self, threads: int) -> str:
        """As :meth:`Target.set_threads`: by the variable of the handshake, in a new process. [PIPE-THREADS]"""
        if not self._threads:
            return "the program names no variable for its threads"
        self.close()
        self._variables[self._threads] = str(threads)
        self._start()
        return ""

    def facts(self) -> dict[str, str]:
        """As :meth:`Target.facts`: those of the handshake."""
        return {"command": self.name, **self._facts}

    def close(self) -> None:
        """As :meth:`Target.close`."""
        if self._program is not None:
            if self._state == "idle":
                self._program.leave()
            else:  # the user interrupted a call
                self._program.kill()
            self._program = None

    def _end_failed(self, error: ProgramError) -> None:
        """What an old process still says must not count for the next case. [PIPE-FAILURE]"""
        self._failures += 1
        self._timeouts += error.kind == "TimeoutError"
        if self._program is not None:
            self._program.kill()
            self._program = None

    def _start(self) -> Program:
        """Start it and shake hands. [PIPE-START] [PIPE-HANDSHAKE]"""
        try:
            program = Program(self._command, self._variables)
        except (OSError, ValueError) as error:  # a command with a NUL is a ValueError
            raise TargetError(f"pipe {self.name!r} cannot be started: {error}") from None
        program.limit(max(self._limit, START))
        program.send([f"{GREETING}\n".encode()])
        try:
            self._shake_hands(program)
        except ProgramError as error:
            program.kill()
            raise TargetError(f"pipe {self.name!r}: no handshake: {error}") from None
        except BaseException:  # an interrupted start leaves nothing behind
            program.kill()
            raise
        self._program, self._asked, self._state = program, 0, "idle"
        return program

    def _shake_hands(self, program: Program) -> None:
        line = program.line(repr(GREETING))
        if line != GREETING:
            raise ProgramError("ProtocolError", f"expected {GREETING!r}, got {line!r}")
        while (line := program.line("'end' of the handshake")) != "end":
            kind, _, rest = line.partition(" ")
            if kind == "functions":
                self._functions = tuple(rest.split())
                if unknown := set(self._functions) - set(OUTPUTS):
                    raise ProgramError("ProtocolError", f"unknown function {min(unknown)!r}")
            elif kind == "fact" and " " in rest:
                name, _, text = rest.partition(" ")
                self._facts[name] = text
            elif kind == "threads" and rest:
                self._threads = rest
            else:
                raise ProgramError("ProtocolError", f"expected 'functions', 'fact', 'threads' or 'end', got {line!r}")


def _message(number: int, case: Plain, name: str) -> Iterator[bytes | memoryview]:
    """A case as it is sent. [PIPE-CASE]"""
    lines = [f"case {number} {case.function} {name}".rstrip()]
    for key, value in case.values.items():
        lines.append(f"{'text' if isinstance(value, str) else 'number'} {key} {value}")
    yield "".join(f"{line}\n" for line in lines).encode()
    for key, tensor in case.tensors.items():
        sizes = "".join(f" {size}" for size in tensor.shape)
        yield f"tensor {key} {tensor.dtype.name} {tensor.nbytes} {tensor.ndim}{sizes}\n".encode()
        yield tensor.tobytes()
        yield b"\n"
    yield b"end\n"


def _answer(program: Program, number: int, function: str) -> Outcome:
    """What it answers to a case. [PIPE-ANSWER]"""
    expected = f"'result {number}', 'unsupported {number} WHY' or 'error {number} WHY'"
    line = program.line(expected)
    kind, _, rest = line.partition(" ")
    said, _, reason = rest.partition(" ")
    if kind not in ANSWERS or said != str(number) or (kind == "result" and reason):
        raise ProgramError("ProtocolError", f"expected {expected}, got {line!r}")
    if kind == "unsupported":
        return Outcome(unsupported=reason or "the program does not say why")
    if kind == "error":
        return Outcome(error="RunnerError", message=reason)
    arrays: dict[str, Array] = {}
    wrong = ""
    while (line := program.line(f"'tensor' or 'end' of result {number} of {function}")) != "end":
        name, array, problem = _tensor(program, line, f"result {number}")
        wrong = wrong or problem or (f"two outputs {name!r}" if name in arrays else "")
        arrays[name] = array
    if wrong:  # whole and in its place, so the next answer can be read
        return Outcome(error="ProtocolError", message=wrong)
    return Outcome(arrays)


def _tensor(program: Program, line: str, where: str) -> tuple[str, Array, str]:
    """Its name, the array, and what is wrong with it although its bytes could be read. [PIPE-TENSOR]"""
    expected = "'tensor NAME TYPE BYTES RANK SIZE...'"
    words = line.split(" ")
    if len(words) < 5 or words[0] != "tensor" or not all(w.isascii() and w.isdigit() for w in words[3:]):
        raise ProgramError("ProtocolError", f"expected {expected} or 'end' of {where}, got {line!r}")
    name, dtype, (size, rank, *shape) = words[1], words[2], (int(word) for word in words[3:])
    data = program.data(size, f"tensor {name} of {where}")
    if dtype not in TYPES:
        return name, np.empty(0), f"expected a type out of {', '.join(TYPES)}, got {line!r}"
    needed = math.prod(shape) * TYPES[dtype].itemsize
    if rank != len(shape) or size != needed:
        return name, np.empty(0), f"expected {rank} sizes and {needed} bytes, got {line!r}"
    try:
        return name, np.frombuffer(data, TYPES[dtype]).reshape(shape), ""
    except (ValueError, OverflowError) as error:  # more sizes than numpy has, or a size of its own beyond any memory
        return name, np.empty(0), f"expected an array, got {line!r}: {error}"
