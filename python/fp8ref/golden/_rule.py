# SPDX-License-Identifier: Apache-2.0
"""What a scale rule is: the choices that tell one library's bits from another's. [QUANT-RULE]"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MINS = float(np.float32(1.0 / (448.0 * 512.0)))  # the smallest scale of vLLM and FBGEMM, 4.3596542e-06
LARGEST, SMALLEST, NAN = 0x7E, 0xFE, 0x7F  # codes of 448, -448 and NaN

# The words that a row may use; spec/quantize.md says what each of them means.
VOCABULARY: dict[str, tuple[str, ...]] = {
    "granularity": ("row", "tensor", "group", "block"),
    "amax_nan": ("ignored", "propagates"),
    "amax_type": ("float32", "input", "float64"),
    "upper_bound": ("none", "amax", "scale"),
    "scale": (
        "given",
        "given multiplier",
        "amax/448",
        "amax*(1/448)",
        "1/(448/amax)",
        "1/((1/amax)*448)",
        "amax*(1/448), 448/amax",
    ),
    "scale_type": ("float32", "input", "float64"),
    "unit_amax": ("none", "zero or infinite", "zero or NaN"),
    "infinite_multiplier": ("kept", "one", "largest float32", "largest input"),
    "zero_scale": ("kept", "epsilon"),
    "power": ("none", "down", "log2 down", "up", "up, finite", "log2 up", "log2 up, no infinity", "log2 nearest"),
    "search": ("none", "mse"),
    "quantize": ("x/s", "x*(1/s)", "x*(1/s), 1/0 is 0", "x*a"),
    "quantize_type": ("float32", "input"),
    "zero": ("signed", "positive"),
}


@dataclass(frozen=True)
class Rule:
    """One scale rule as data, walked by one interpreter. ``"input"`` as a type means the dtype T of the tensor.

    The fields stand in the order in which the interpreter reads them. [QUANT-RULE]
    """

    name: str  # system.rule, or system.rule@version where a version or a platform has other bits
    version: str  # of the system
    source: str  # file or function whose bits these are
    granularity: str  # one scale per "row", "tensor", "group" (1 x 128) or "block" (128 x 128)
    amax_nan: str = "ignored"  # a NaN element is "ignored" by amax, or it "propagates" into amax
    amax_type: str = "float32"  # the type of the floor and of the bound of amax
    amax_floor: float = 0.0  # amax is at least this
    empty_amax: float = 0.0  # amax of no elements [QUANT-EMPTY]
    upper_bound: str = "none"  # scale_ub bounds "amax" or the "scale"; "none": the rule takes no bound
    scale: str = "amax/448"  # the scale s; expressions with 448/amax make a multiplier a, and s = 1/a
    scale_type: str = "float32"  # the type that each step of that expression rounds to
    unit_amax: str = "none"  # amaxes for which a = 1
    infinite_multiplier: str = "kept"  # what an infinite a becomes
    scale_floor: float = 0.0  # the scale is at least this
    zero_scale: str = "kept"  # a scale of 0 is "kept", or becomes the "epsilon" of scale_type
    power: str = "none"  # how s, or a (the two "down"), becomes a power of two
    search: str = "none"  # "mse" tries smaller amaxes [QUANT-MSE]
    quantize: str = "x/s"  # the number y that is encoded
    quantize_type: str = "float32"  # the type that each step of that expression rounds to
    nan_code: int = NAN  # the code of a NaN quotient
    zero: str = "signed"  # -0 keeps its sign ("signed"), or a zero point is added and it does not ("positive")

    def __post_init__(self) -> None:
        for field, words in VOCABULARY.items():
            if getattr(self, field) not in words:
                raise ValueError(f"{self.name}: {field}={getattr(self, field)!r}; known: {', '.join(words)}")

    @property
    def given(self) -> bool:
        """Whether the caller gives the scale (or the multiplier)."""
        return self.scale.startswith("given")
