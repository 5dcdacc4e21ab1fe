# SPDX-License-Identifier: Apache-2.0
"""Cases are inputs that never drift: names are unique, and the bytes of the quick level are pinned by a digest.

A name means one set of bits for ever, so what was checked once must be what is checked now. [VERSION-NAMES]
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

import numpy as np
import pytest

from fp8ref.conformance import LEVELS, Case, ModelCase, cases_of
from fp8ref.conformance.cases import e4m3
from fp8ref.conformance.cases._stream import Stream
from fp8ref.table import ops

STEMS = [op.stem for op in ops()]

# sha256 of all inputs of the quick level. A change here is a change of the suite, and must be meant.
DIGESTS = {
    "e4m3": "75b6671be2d99ccb57e9367519edd70484ffe5df2064dd575aaf4f7c3a10ef5c",
    "quantize": "e17e46d2ba9a20652bb0b468da17336aa49862489d19adeaaeb2d7eb028a42f9",
    "mma": "23c418a2e889d67c94bb55b14f7bc112dd8ee8d9352d41439a2eeacdef0d6341",
    "scaled_mm": "8655de37a2ffedfa20def8172fbff81ec0e71f356da44e62440ae193258b25cf",
    "grouped_mm": "cebba2c570e0b846e18a254dfa09f06e4eef84c9a25c07ad611366ea494ba2f8",
    "linear": "32b49d0d8e8c4f6fcbcfc0d4ae8ba5b0cd99ad28c14c98987d7558f7829b253c",
    "rmsnorm": "71d9024c4e43c9639774164615d918404bd6d6d54cb95e3983661de343d643a3",
    "rope": "7484d916107da795695292996c0bf1de2f6cbe4b6c22ef6cd6fda620c35c3b47",
    "attention": "cb0a98834612099881862a6db85a8d4406df2d7ca25e10a43507fd82957a1693",
    "temperature": "5ce086ab4b2b0d51123de1e6401a664bf6fb0b19daa9a8ab9ee9bc329a56754d",
    "route": "5e72008a9eea3e7dbf77fc320f57e03d47f7da317fed53907eaea663a8210d6c",
    "silu_mul": "6cb5afdd089f5960687b580c008e1b2aef8ec1a6cc795955406fd2a6851136ad",
    "residual": "af69ab4aa5f5f965df7485269f5b5eef16e4d222674aefb1127d60683dd54b3c",
    "sample": "cfaa89d3a29307f74897005584862c7aa4c239b91193a472bcea33f77ced7b85",
    "llama": "ace6b828ad6153ae40c6cc4b89da77e0a5bf0be28869c4c57b3e582651fb8844",
}


def _arguments(case: Case | ModelCase) -> Mapping[str, Any]:
    if isinstance(case, Case):
        return {"function": case.function, **case.arguments}
    run = {"run": (case.tokens, case.cut, case.accumulate)}
    images = {f"image {token}": states for token, states in case.vision_states.items()}
    return {"config": str(sorted(case.config.items())), **case.tensors, **run, **images}


def digest(cases: Iterable[Case | ModelCase]) -> str:
    """Names, argument names, types, shapes and bytes."""
    total = hashlib.sha256()
    for case in cases:
        for key, value in _arguments(case).items():
            total.update(f"{case.name}|{key}|".encode())
            if isinstance(value, np.ndarray | np.generic):
                array = np.asarray(value)
                total.update(f"{array.dtype.name}{array.shape}".encode() + np.ascontiguousarray(array).tobytes())
            else:
                total.update(repr(value).encode())
    return total.hexdigest()


@pytest.mark.parametrize("stem", STEMS)
def test_inputs_are_pinned(stem: str) -> None:
    assert digest(cases_of(stem, "quick")) == DIGESTS[stem]


@pytest.mark.parametrize("stem", STEMS)
def test_full_holds_all_of_quick(stem: str) -> None:
    names = {level: [case.name for case in cases_of(stem, level)] for level in LEVELS[:2]}
    assert all(len(set(found)) == len(found) for found in names.values())
    assert len(names["quick"]) >= 5
    quick = set(names["quick"])
    assert digest(case for case in cases_of(stem, "full") if case.name in quick) == DIGESTS[stem]


def test_exhaustive_encode_is_every_float32() -> None:
    first, *_, last = (case.arguments["x"].view(np.uint32)[[0, -1]].tolist() for case in islice(e4m3.exhaustive(), 4))
    assert (first, last) == ([0, 2**24 - 1], [2**24, 2**25 - 1])
    assert "encode/nan/every_fp32_00" in {case.name for case in islice(e4m3.exhaustive(), 2)}


def test_unknown_level() -> None:
    with pytest.raises(ValueError, match="unknown level 'slow'"):
        next(cases_of("e4m3", "slow"))


def test_words_do_not_depend_on_how_they_are_asked_for() -> None:
    whole, parts = Stream("name"), Stream("name")
    assert whole.words((6,)).tolist() == [*parts.words((2,)).tolist(), *parts.words((2, 2)).ravel().tolist()]
    assert Stream("name").words((6,)).tolist() != Stream("another").words((6,)).tolist()


def test_words_are_those_of_splitmix64() -> None:
    """The first words from the state 1234567, as the author's C code prints them."""
    stream = Stream("any")
    stream._key = np.array([1234567], dtype=np.uint64)
    assert stream.words((3,)).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_finite_codes_hold_no_nan() -> None:
    assert len(np.unique(Stream("codes").codes((20000,)).view(np.uint8))) == 254
