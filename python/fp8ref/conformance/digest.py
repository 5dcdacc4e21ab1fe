# SPDX-License-Identifier: Apache-2.0
"""A fingerprint of what was asked and of the right answers, so that two runs can be known to be of one suite.

[REPORT-DIGEST]
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .cases import Case, ModelCase
from .outcome import Outcome


class Digest:
    """SHA-256 over names, arguments and golden's results of cases, in their order.

    Example:
        >>> Digest().add(Case("one", "residual", {"x": np.float32(1)}), Outcome(error="OpError")).text()[:23]
        'sha256:e711894ab8129371'
    """

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def add(self, case: Case | ModelCase, expected: Outcome) -> Digest:
        """One more case."""
        if isinstance(case, ModelCase):
            head: tuple[Any, ...] = (case.name, case.config, case.tokens, case.cut, case.accumulate)
            given: Mapping[str, Any] = {**case.tensors, **{f"image {n}": x for n, x in case.vision_states.items()}}
        else:
            head, given = (case.name, case.function), case.arguments
        self._words(*head, expected.error)
        for name, value in (*given.items(), *expected.arrays.items()):
            self._value(name, value)
        return self

    def text(self) -> str:
        """``sha256:`` and 64 hexadecimal digits."""
        return f"sha256:{self._hash.hexdigest()}"

    def _words(self, *words: Any) -> None:
        self._hash.update(json.dumps(words, sort_keys=True, default=str).encode() + b"\0")

    def _value(self, name: str, value: Any) -> None:
        if isinstance(value, np.ndarray | np.generic):
            self._words(name, value.dtype.name, value.shape)
            self._hash.update(np.ascontiguousarray(value).tobytes())
        else:
            self._words(name, value)
