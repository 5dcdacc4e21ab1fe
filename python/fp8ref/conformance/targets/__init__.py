# SPDX-License-Identifier: Apache-2.0
"""What can be checked: a backend, a Python function, a C library, a program at the end of a pipe. [TARGET-CALL]"""

from __future__ import annotations

from ._backend import BackendTarget
from ._callable import CallableTarget, functions_of
from ._library import LibraryTarget
from ._open import open_target
from ._pipe import PipeTarget
from ._target import Target, TargetError

__all__ = [
    "BackendTarget",
    "CallableTarget",
    "LibraryTarget",
    "PipeTarget",
    "Target",
    "TargetError",
    "functions_of",
    "open_target",
]
