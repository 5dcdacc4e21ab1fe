# SPDX-License-Identifier: Apache-2.0
"""Cases under a claim: the operands of every case, with the accumulator and the order of scales claimed. [CLAIM-CASES]

A trap is laid for all accumulators alike, but a case names one. Here the trap is laid for the one that is claimed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from ..golden._blocks import PROMOTIONS
from ..golden._mm_args import ONE_VALUE, blocks_of
from ..golden._operand import ACCUMULATORS
from ..golden._units import MODES, UNITS
from ..golden.linear import ACCUMULATORS as LINEAR
from ..golden.mma import OPERANDS, OUT_DTYPES
from .cases import Case

DERIVED = ("accumulate", "epilogue")  # what a case can be asked under; each rule has cases for every trap of its own
Arguments = Mapping[str, Any]
Covers = Callable[[Case], bool]


def derived(case: Case, policies: Mapping[str, str]) -> dict[str, Any] | None:
    """The arguments of a case under other policies; None where golden has no such combination.

    Args:
        case: one that golden does not refuse.
        policies: values of the arguments in ``DERIVED``.

    Example:
        >>> one = np.full((1, 32), 0x38, np.uint8)
        >>> case = Case("one", "mma", {"a": one, "b": one})
        >>> derived(case, {"accumulate": "sm80_mma"}) is None  # has no FP8 operands
        True
    """
    arguments = {**case.arguments, **policies}
    accumulate = arguments.get("accumulate", "exact")
    if case.function in ("scaled_mm", "grouped_mm"):
        return _product(arguments) if accumulate in ACCUMULATORS else None
    if case.function == "mma":
        kind = OPERANDS.get(arguments["a"].dtype, "fp8")  # uint8 holds FP8 codes
        return arguments if (accumulate, kind, arguments.get("out_dtype", OUT_DTYPES[0])) in UNITS else None
    known: dict[str, Iterable[str]] = {"linear": LINEAR, "attention": MODES}
    return arguments if accumulate in known[case.function] else None


def _product(arguments: dict[str, Any]) -> dict[str, Any] | None:
    """A scaled product: orders of blocks take one scale for each block, a row's for all of its own."""
    a, b = arguments["a"], arguments["b"]
    m, n, blocks = len(a), b.shape[-2], blocks_of(a.shape[1])
    a_scale, b_scale = np.asarray(arguments["a_scale"]), np.asarray(arguments["b_scale"])
    tiles = {(*b.shape[:-2], rows, blocks) for rows in (n, blocks_of(n))}
    in_blocks = a_scale.shape == (m, blocks) and b_scale.shape in tiles
    if arguments.get("epilogue", "a_b") in PROMOTIONS:
        if not in_blocks:
            arguments["a_scale"] = _spread(a_scale, (m, blocks))
            arguments["b_scale"] = _spread(b_scale, (*b.shape[:-1], blocks))
        return {**arguments, "split_k": 1}  # [MM-BLOCK-ORDERS]
    values = (*ONE_VALUE, (m, 1)), (*ONE_VALUE, (len(b),), (n, 1), (len(b), 1), (*b.shape[:-2], n, 1))
    in_values = a_scale.shape in values[0] and b_scale.shape in values[1]
    return arguments if in_values or arguments.get("accumulate", "exact") == "exact" else None


def _spread(scale: Any, shape: tuple[int, ...]) -> Any:
    """Scales of the whole, of experts or of rows as scales of blocks."""
    wide = scale.reshape(()) if scale.shape in ONE_VALUE else scale
    if wide.ndim == 1:  # one for each expert
        wide = wide[:, None, None]
    return np.array(np.broadcast_to(wide, shape))


def content(case: Case, defaults: Arguments) -> bytes:
    """What a case asks: a digest of its arguments, those that are left out included."""
    total = hashlib.blake2b(case.function.encode(), digest_size=16)
    for key, value in sorted({**defaults, **case.arguments}.items()):
        if isinstance(value, np.ndarray | np.generic):
            total.update(f"{key}|{value.dtype.name}{value.shape}|".encode())
            total.update(np.ascontiguousarray(value).tobytes())
        else:
            total.update(f"{key}|{value!r}|".encode())
    return total.digest()


def renamed(name: str, was: Arguments, policies: Mapping[str, str]) -> str:
    """The name with the policies in it replaced; those that it does not have come last.

    Example:
        >>> renamed("cancel/exact/float32", {"accumulate": "exact"}, {"accumulate": "sm89_mma"})
        'cancel/sm89_mma/float32'
    """
    parts = name.split("/")
    for key, value in policies.items():
        old = was[key]
        if old == value:
            continue
        if old in parts:
            parts[parts.index(old)] = value
        else:
            parts.append(value)
    return "/".join(parts)


def under(
    cases: Callable[[], Iterable[Case]],
    covers: Covers,
    policies_of: Callable[[str], Mapping[str, str]],
    defaults_of: Callable[[str], Arguments],
) -> Iterator[Case]:
    """The cases that a claim covers, and each other one under its policies, once. [CLAIM-CASES]

    Args:
        cases: yields all cases of an op, each time it is called, in the same order.
        covers: whether a case has the claimed policies already.
        policies_of: the claimed policies of a function.
        defaults_of: all arguments of a function with their defaults.
    """
    names, seen = set[str](), set[bytes]()
    for case in filter(covers, cases()):
        names.add(case.name)
        seen.add(content(case, defaults_of(case.function)))
    for case in cases():
        if covers(case):
            yield case
            continue
        known = defaults_of(case.function)
        policies = {key: value for key, value in policies_of(case.function).items() if key in DERIVED}
        arguments = derived(case, policies) if policies and "misuse" not in case.flags else None
        if arguments is None:
            continue
        name = renamed(case.name, {**known, **case.arguments}, policies)
        if name in names:  # other operands, which have that name already
            name = f"{case.name}@{','.join(policies.values())}"
        found = replace(case, name=name, arguments=arguments)
        key = content(found, known)
        if key not in seen:
            seen.add(key)
            names.add(name)
            yield found
