# SPDX-License-Identifier: Apache-2.0
"""Backends of this package as targets; they also run whole models."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from ...backends import backend
from ...errors import OpError
from ..cases import Case, ModelCase
from ..outcome import Array, Arrays, Outcome
from ._target import OUTPUTS, Target


class BackendTarget(Target):
    """``fp8ref.backend(name)``, or anything with the same functions as attributes."""

    def __init__(self, implementation: Any) -> None:
        self.implementation = backend(implementation) if isinstance(implementation, str) else implementation
        self.name = self.implementation.name

    def functions(self) -> tuple[str, ...]:
        """As :meth:`Target.functions`."""
        return tuple(name for name in OUTPUTS if hasattr(self.implementation, name))

    def call(self, function: str, arguments: Mapping[str, Any], implied: frozenset[str] = frozenset()) -> Outcome:
        """As :meth:`Target.call`; an OpError is an outcome, any other exception a defect of ours that is not caught."""
        given = dict(arguments)
        if "out" in given:  # written in place: each call gets its own
            given["out"] = np.array(given["out"])
        try:
            result = getattr(self.implementation, function)(**given)
        except OpError as error:
            return Outcome(error=type(error).__name__)
        outputs = result if isinstance(result, tuple) else (result,)
        return Outcome(dict(zip(OUTPUTS[function], map(np.asarray, outputs), strict=True)))

    def run(self, case: Case | ModelCase) -> Outcome:
        """The outcome of a case, of a whole model too."""
        if isinstance(case, ModelCase):
            return Outcome(_trace(case, self.name))
        return self.call(case.function, case.arguments)


def _trace(case: ModelCase, name: str) -> Arrays:
    """Write the model to a temporary checkpoint, feed the tokens in chunks and keep every traced value."""
    from ...checkpoint import write_checkpoint
    from ...model import load

    with tempfile.TemporaryDirectory(prefix="fp8ref-") as folder:
        write_checkpoint(folder, case.config, case.tensors)
        model = load(folder, backend=name, accumulate=case.accumulate)
        values: Arrays = {}
        for start, chunk, image in case.forwards():

            def keep(key: str, value: Array, start: int = start) -> None:
                values[f"token {start}: {key}"] = np.array(value)

            model.forward(chunk, trace=keep, vision_states=image)
        return values
