# SPDX-License-Identifier: Apache-2.0
"""Golden's functions by name, called with other arguments than a case has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from ...golden import (
    attention,
    e4m3,
    grouped_mm,
    linear,
    mma,
    quantize,
    residual,
    rmsnorm,
    rope,
    route,
    sample,
    scaled_mm,
    temperature,
)
from ...golden import silu_mul as silu
from ...golden._args import E5M2, FLOAT8, fail
from ._evidence import Array, Evidence

REFUSED = type(fail("", ""))  # what golden raises
FUNCTIONS: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        attention.attention,
        e4m3.encode,
        e4m3.decode,
        grouped_mm.grouped_mm,
        linear.linear,
        mma.mma,
        quantize.quantize,
        quantize.dequantize,
        residual.residual,
        residual.gated_residual,
        rmsnorm.rmsnorm,
        rope.rope_frequencies,
        rope.rope_table,
        rope.rope,
        route.route,
        route.dispatch,
        route.combine,
        sample.sample,
        scaled_mm.scaled_mm,
        silu.silu_mul,
        temperature.temperature_factors,
        temperature.temperature,
    )
}


def full_arguments(call: Evidence) -> dict[str, Any]:
    """The arguments of a call with golden's defaults; codes given as uint8 are E4M3."""
    given = inspect.signature(FUNCTIONS[call.function]).bind(**call.arguments)
    given.apply_defaults()
    arguments = dict(given.arguments)
    for name in ("a", "b", "codes"):
        value = arguments.get(name)
        if isinstance(value, np.ndarray) and value.dtype == np.uint8:
            arguments[name] = value.view(FLOAT8)
    return arguments


def golden(call: Evidence, **changes: Any) -> Any:
    """Golden's answer with some arguments changed; None where it refuses them."""
    arguments = {**full_arguments(call), **changes}
    if isinstance(arguments.get("out"), np.ndarray):
        arguments["out"] = arguments["out"].copy()
    try:
        return FUNCTIONS[call.function](**arguments)
    except REFUSED:
        return None


def is_code(x: Any) -> bool:
    """Whether an argument holds FP8 codes."""
    return isinstance(x, np.ndarray) and x.dtype in (FLOAT8, E5M2)


def is_float(x: Any) -> bool:
    """Whether an argument holds numbers that are no codes."""
    return isinstance(x, np.ndarray | np.generic) and x.dtype.kind not in "biu" and not is_code(x)


def real(x: Any) -> Array:
    """Numbers in float64, exactly; signalling NaNs do not warn."""
    with np.errstate(invalid="ignore"):
        return np.asarray(x).astype(np.float64)
