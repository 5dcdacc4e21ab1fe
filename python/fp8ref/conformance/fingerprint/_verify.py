# SPDX-License-Identifier: Apache-2.0
"""Predictions of the inferred parameters against the target, on random operands. [FINGERPRINT-VERIFY]"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ...golden._round import round_to
from ..cases._stream import FLOAT8, Array, Stream
from ..outcome import difference
from ._arithmetic import Arithmetic
from ._subject import Subject

FLOAT16 = -14  # the exponent of its smallest normal number
LENGTHS = (128, 256, 640, 1280)  # of K


@dataclass(frozen=True)
class Verified:
    """How many outputs were predicted, and how many of them differ."""

    outputs: int
    differing: int


def operands(name: str, rows: int, k: int) -> Iterator[tuple[Array, Array]]:
    """Codes of every size; as quantized weights have them; sums that cancel, whose last bits are seen."""
    s = Stream(f"fingerprint/{name}/{k}")
    yield s.codes((rows, k)), s.codes((rows, k))
    yield s.code_bell((rows, k)), s.code_bell((rows, k))
    a, b = s.codes((rows, k)), s.code_bell((rows, k))
    half = k // 2
    a[:, half:] = a[:, :half]
    b[:, half:] = (b[:, :half].view(np.uint8) ^ 0x80).view(FLOAT8)
    a[:, ::17] = s.codes((rows, len(range(0, k, 17))))
    yield a, b


def _smaller(codes: Array) -> Array:
    """The same with magnitudes below 2, so that sums stay in the range of float16."""
    return (codes.view(np.uint8) & 0xBF).view(FLOAT8)


def verify(subject: Subject, arithmetic: Arithmetic) -> Verified:
    """Scales are 1, so that the output is the accumulator, rounded."""
    outputs = differing = 0
    for k in LENGTHS:
        for a, b in operands("verify", subject.rows, k):
            if arithmetic.emin == FLOAT16:
                a, b = _smaller(a), _smaller(b)
            with np.errstate(over="ignore", invalid="ignore"):
                expected = round_to(arithmetic.accumulate(a, b), subject.out_dtype)
            got = subject.mm(a, b)
            outputs += got.size
            differing += int(np.count_nonzero(difference(expected, got)))
    return Verified(outputs, differing)


def unstable(subject: Subject) -> Verified:
    """Outputs that differ between two calls with the same operands. [FINGERPRINT-REPRODUCIBLE]"""
    outputs = differing = 0
    for a, b in operands("twice", subject.rows, LENGTHS[-1]):
        first = subject.mm(a, b)
        for _ in range(2):
            subject.mm(b, a)
            outputs += first.size
            differing += int(np.count_nonzero(difference(first, subject.mm(a, b))))
    return Verified(outputs, differing)
