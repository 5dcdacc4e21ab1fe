# SPDX-License-Identifier: Apache-2.0
"""Shapes and types of results, from the arguments alone: for targets whose outputs the caller makes. [ABI-OUTPUTS]"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import ml_dtypes
import numpy as np

from ...golden._foreign import as_array
from ...golden._rule_steps import scale_shape
from ...golden._rules import RULES
from ..claim import defaults
from ._target import OUTPUTS

Spec = tuple[tuple[int, ...], str]  # shape, and name of the type
FLOAT8 = "float8_e4m3fn"


def dtype_of(name: str) -> np.dtype[Any]:
    """The numpy type of that name, those of ml_dtypes too."""
    return np.dtype(getattr(ml_dtypes, name, name))


def _quantize(g: SimpleNamespace) -> tuple[Spec, ...]:
    x = as_array(g.x)
    granularity = RULES[g.rule].granularity if g.rule in RULES else "tensor"
    return (x.shape, FLOAT8), (scale_shape(granularity, x.shape), "float32")


def _shape(x: Any) -> tuple[int, ...]:
    return as_array(x).shape


def _rows(g: SimpleNamespace) -> tuple[int, int]:
    """(M, N) of a product of a and b."""
    return _shape(g.a)[0], _shape(g.b)[-2]


def _dispatch(g: SimpleNamespace) -> tuple[Spec, ...]:
    rows = as_array(g.experts).size
    return ((rows, *_shape(g.x)[1:]), "bfloat16"), ((rows,), "int64"), ((g.num_experts + 1,), "int64")


# Of each function, as many as OUTPUTS names.
SPECS: dict[str, Callable[[SimpleNamespace], tuple[Spec, ...]]] = {
    "encode": lambda g: ((_shape(g.x), FLOAT8),),
    "decode": lambda g: ((_shape(g.codes), "float32"),),
    "quantize": _quantize,
    "dequantize": lambda g: ((_shape(g.codes), g.out_dtype),),
    "mma": lambda g: ((_rows(g), g.out_dtype),),
    "scaled_mm": lambda g: ((_rows(g), g.out_dtype),),
    "grouped_mm": lambda g: ((_rows(g), g.out_dtype),),
    "linear": lambda g: (((_shape(g.x)[0], _shape(g.weight)[0]), "bfloat16"),),
    "rmsnorm": lambda g: ((_shape(g.x), "bfloat16"),),
    "rope_frequencies": lambda g: (((g.head_dim // 2,), "float32"),),
    "rope_table": lambda g: (((*_shape(g.positions), *_shape(g.frequencies)), "float32"),) * 2,
    "rope": lambda g: ((_shape(g.x), "bfloat16"),),
    "temperature_factors": lambda g: ((_shape(g.positions), "float32"),),
    "temperature": lambda g: ((_shape(g.x), "bfloat16"),),
    "attention": lambda g: ((_shape(g.q), "bfloat16"),),
    "route": lambda g: (((*_shape(g.logits)[:1], g.top_k), "int64"), ((*_shape(g.logits)[:1], g.top_k), "bfloat16")),
    "dispatch": _dispatch,
    "combine": lambda g: ((_shape(g.shared), "bfloat16"),),
    "silu_mul": lambda g: ((_shape(g.gate), "bfloat16"),),
    "residual": lambda g: ((_shape(g.x), "bfloat16"),),
    "gated_residual": lambda g: ((_shape(g.x), "bfloat16"),),
    "sample": lambda g: ((_shape(g.logits)[:-1], "int64"),),
}


def outputs_of(function: str, arguments: Mapping[str, Any]) -> dict[str, tuple[tuple[int, ...], np.dtype[Any]]]:
    """Shape and type of each result of a function of spec/ops.toml for arguments that golden takes, by name.

    Raises:
        LookupError, TypeError, ValueError: for some of the arguments that golden refuses.

    Example:
        >>> outputs_of("sample", {"logits": np.zeros((2, 5), np.float32)})
        {'ids': ((2,), dtype('int64'))}
    """
    given = SimpleNamespace(**{**defaults(function), **arguments})
    specs = SPECS[function](given)
    return {name: (shape, dtype_of(dtype)) for name, (shape, dtype) in zip(OUTPUTS[function], specs, strict=True)}
