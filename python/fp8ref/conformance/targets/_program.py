# SPDX-License-Identifier: Apache-2.0
"""A program at the other end of two pipes: bytes to it, lines and bytes from it, each within a time. [PIPE-FAILURE]

Threads move the bytes, so neither side waits for the other to read first, however large the messages are.
"""

from __future__ import annotations

import io
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import IO, cast

LONGEST_LINE = 4096  # [PIPE-LINES]
QUOTED = 5  # last lines of standard error that an error shows
CHUNK = 1 << 16
PATIENCE = 3.0  # seconds that a program has to leave by itself


class ProgramError(Exception):
    """It did not say what it should have; ``kind`` is the error that an outcome has."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Program:
    """A running program.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env={**os.environ, **environment}
        )
        self._held = bytearray()
        self._chunks: queue.Queue[bytes] = queue.Queue(64)
        self._messages: queue.SimpleQueue[list[bytes | memoryview] | None] = queue.SimpleQueue()
        self._last: deque[str] = deque(maxlen=QUOTED)
        self._ended = threading.Event()
        self._deadline = self._limit = 0.0
        assert self._child.stdin and self._child.stdout and self._child.stderr
        self._threads = [
            threading.Thread(target=work, args=(stream,), daemon=True)
            for work, stream in (
                (self._write, self._child.stdin),
                (self._read, self._child.stdout),
                (self._pass_on, self._child.stderr),
            )
        ]
        for thread in self._threads:
            thread.start()

    def _write(self, stream: IO[bytes]) -> None:
        """Until the end, or until nobody reads: then the reader finds out why."""
        try:
            while (message := self._messages.get()) is not None:
                for part in message:
                    view = memoryview(part)
                    while view:  # a pipe takes a part of what is large
                        view = view[stream.write(view) :]
        except OSError:
            pass
        finally:
            with suppress(OSError):
                stream.close()

    def _read(self, stream: IO[bytes]) -> None:
        """An empty chunk is the end. The queue is bounded: a program that never stops talking has to wait."""
        chunk = b"more"
        while chunk and not self._ended.is_set():
            chunk = stream.read(CHUNK)
            while not self._ended.is_set():
                try:
                    self._chunks.put(chunk, timeout=0.2)
                    break
                except queue.Full:
                    continue

    def _pass_on(self, stream: IO[bytes]) -> None:
        """What it says to people goes to people."""
        lines = io.BufferedReader(cast(io.RawIOBase, stream))
        for line in iter(lambda: lines.readline(LONGEST_LINE), b""):
            text = line.decode(errors="backslashreplace")
            self._last.append(text.strip())
            sys.stderr.write(text)
            sys.stderr.flush()

    def limit(self, seconds: float) -> None:
        """What is read from now on must come within that time."""
        self._limit = seconds
        self._deadline = time.monotonic() + seconds

    def send(self, parts: Iterable[bytes | memoryview]) -> None:
        """Write, some time."""
        self._messages.put(list(parts))

    def _more(self, expected: str) -> None:
        """Wait for the next bytes."""
        try:
            chunk = self._chunks.get(timeout=max(self._deadline - time.monotonic(), 0))
        except queue.Empty:
            raise ProgramError("TimeoutError", f"expected {expected} within {self._limit:g} s{self._said()}") from None
        if not chunk:
            raise ProgramError("ExitError", f"expected {expected}, but the program {self._end()}{self._said()}")
        self._held += chunk

    def _end(self) -> str:
        """How it ended."""
        try:
            code = self._child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return "closed its output"
        self._threads[2].join(PATIENCE)  # its last words
        return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def _said(self) -> str:
        """The end of what it wrote to standard error, and what it wrote instead of an answer."""
        held = f"; it wrote {bytes(self._held[:60])!r}" if self._held else ""
        return held + (f"; standard error: {' | '.join(self._last)}" if self._last else "")

    def line(self, expected: str) -> str:
        """The next line without its end; ``expected`` says in errors what it should have been.

        Raises:
            ProgramError: no line within the time.
        """
        while (end := self._held.find(b"\n", 0, LONGEST_LINE + 1)) < 0:
            if len(self._held) > LONGEST_LINE:
                start = bytes(self._held[:40])
                raise ProgramError("ProtocolError", f"expected {expected}, got a line of more bytes: {start!r}...")
            self._more(expected)
        line = bytes(self._held[:end])
        del self._held[: end + 1]
        return line.decode(errors="backslashreplace")

    def data(self, count: int, expected: str) -> bytes:
        """So many bytes, and the newline after them.

        Raises:
            ProgramError: they do not come within the time, or no newline follows.
        """
        while len(self._held) <= count:
            self._more(f"{count} bytes and a newline of {expected}, got {len(self._held)} bytes")
        found, mark = bytes(self._held[:count]), bytes(self._held[count : count + 1])
        if mark != b"\n":
            raise ProgramError(
                "ProtocolError", f"expected a newline after the {count} bytes of {expected}, got {mark!r}"
            )
        del self._held[: count + 1]
        return found

    def leave(self) -> None:
        """Close its input; end it if it does not leave. [PIPE-END]"""
        self._messages.put(None)
        with suppress(subprocess.TimeoutExpired):
            self._child.wait(PATIENCE)
        self.kill()

    def kill(self) -> None:
        """End it now, politely at first: ssh takes its other end along then."""
        self._ended.set()
        self._messages.put(None)
        if self._child.poll() is None:
            self._child.terminate()
            try:
                self._child.wait(1.0)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
        for thread, stream in zip(self._threads[1:], (self._child.stdout, self._child.stderr), strict=True):
            thread.join(1.0)
            if stream is not None and not thread.is_alive():  # else a child of the program still holds the other end
                stream.close()
