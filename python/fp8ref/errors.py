# SPDX-License-Identifier: Apache-2.0
"""Every error that fp8ref raises on purpose.

One base class, so that ``except fp8ref.errors.Fp8RefError`` catches all of them; each is also the builtin exception
that a caller would expect. The C++ core has classes of the same names, translated at the binding.

Example:
    >>> import fp8ref
    >>> try:
    ...     fp8ref.quantize([[1.0]], rule="nobody.knows")
    ... except fp8ref.errors.OpError as error:
    ...     print(type(error).__name__)
    OpError
"""

from __future__ import annotations


class Fp8RefError(Exception):
    """Base class of all errors of this package."""


class OpError(Fp8RefError, ValueError):
    """Arguments that an operation has no meaning for; the message names the op, the shapes and what was expected."""


class BackendError(Fp8RefError, RuntimeError):
    """A backend is unknown, or it is not available in this installation or on this machine."""


class DeviceError(Fp8RefError, RuntimeError):
    """What a CUDA device, its driver or its memory reports; the message names the op, or what is missing."""


class CheckpointError(Fp8RefError, ValueError):
    """A checkpoint is damaged: the message names the file and, where there is one, the tensor or the config key."""


class UnsupportedError(CheckpointError):
    """A checkpoint is well formed, but asks for something that fp8ref does not implement (and does not guess)."""


class TokenizerError(Fp8RefError, ValueError):
    """Text cannot be turned into tokens: a missing or damaged tokenizer, or a chat template that refuses."""
