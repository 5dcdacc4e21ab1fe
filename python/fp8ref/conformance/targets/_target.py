# SPDX-License-Identifier: Apache-2.0
"""The one interface of all targets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from ...errors import Fp8RefError
from ...table import ops
from ..outcome import Outcome

# Functions of spec/ops.toml, and the names of what each returns.
OUTPUTS: dict[str, tuple[str, ...]] = {name: outputs for op in ops() for name, outputs in op.outputs.items()}


class TargetError(Fp8RefError, RuntimeError):
    """A target cannot be used at all: it does not exist, cannot be loaded, or does not answer."""


class Target(ABC):
    """An implementation of some functions of spec/ops.toml."""

    name: str  # for reports: pkg.mod:function, libx.so, the command

    @abstractmethod
    def functions(self) -> tuple[str, ...]:
        """The functions that it implements, as far as one can know without a call."""

    def begin(self, case: str) -> None:  # noqa: B027  most targets need no name
        """The next call is for this case, ``op/name``; other calls have no name."""

    @abstractmethod
    def call(self, function: str, arguments: Mapping[str, Any], implied: frozenset[str] = frozenset()) -> Outcome:
        """The outcome for arguments of the golden function; nothing that the target does raises an error here.

        Args:
            function: a name of :meth:`functions`.
            arguments: by the names of the golden function; numpy arrays, numbers, strings, None, a mapping.
            implied: arguments that the claim fixes: a target that has no such argument is called without it.
        """

    def set_threads(self, threads: int) -> str:
        """Compute with so many threads; returns why that is not possible, or nothing."""
        return "the target says nothing of threads"

    def facts(self) -> dict[str, str]:
        """What a claim file says of it: version, device and so on."""
        return {}

    def close(self) -> None:  # noqa: B027  most targets have nothing to end
        """End it."""

    def __enter__(self) -> Target:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
