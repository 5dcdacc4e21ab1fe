# SPDX-License-Identifier: Apache-2.0
"""One call of a public function: its name and arguments."""

from __future__ import annotations

from typing import Any


class Case:
    """A named call. Cases compare by identity, so that results can be remembered."""

    def __init__(self, name: str, function: str, **arguments: Any) -> None:
        self.name = name
        self.function = function
        self.arguments = arguments

    def __repr__(self) -> str:
        return self.name
