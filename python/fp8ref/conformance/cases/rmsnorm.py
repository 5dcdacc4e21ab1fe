# SPDX-License-Identifier: Apache-2.0
"""Cases of rmsnorm: rows of zeros, subnormals, infinities and NaN, sums that overflow, and many ordinary rows."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, FLOAT32, Array, Stream

SHAPES = ((1, 1), (4, 64), (3, 576), (2, 3, 40), (0, 16), (7, 33), (5,))


# Found by search, for eps 1e-6: an element lies so near to a midpoint of bf16 that one unit in the last place of the
# sum, the mean or 1/sqrt moves it. A root rounded twice, a product with 1/n or a float32 sum hardly shows elsewhere.
# fmt: off
HARD = (
    (0xC0CC, 0x40D3, 0x3F50), (0x4011, 0xC0F3, 0xBE0F), (0xC0D9, 0x40F3, 0xBEFB), (0xBEF2, 0xBECF, 0xC07E),
    (0xBFFE, 0x3EF3, 0x3F73), (0xC009, 0x3EE4, 0xC05A), (0xBE5F, 0x402D, 0xC062), (0x4079, 0x40D8, 0x40B7),
    (0x3FBA, 0x4066, 0xBE88), (0x3F3D, 0xBE40, 0xBEDF), (0x3FD7, 0xBE7F, 0xBED7), (0xC041, 0x3EBA, 0x3F43),
    (0x3F2C, 0x403A, 0xBE18), (0xBEF9, 0x3F89, 0x3FA1), (0xC0F5, 0xC0A6, 0x3FB2), (0x4018, 0xC0B4, 0xBF93),
    (0x3F0E, 0xC0EC, 0xC0FF), (0xC09C, 0x4088, 0xBFAF), (0x3F02, 0xBFB4, 0x3E37), (0xBE40, 0xBE5F, 0xC0D7),
    (0xC067, 0xBE8F, 0x3E82), (0xC0F7, 0xBEAD, 0xBEBB), (0xC047, 0x3ED7, 0xC0F8), (0x3E5D, 0x3EFF, 0x3F0D),
    (0xC061, 0x40F8, 0xBE6F), (0xC058, 0xBFAF, 0xBEB7), (0xC0E4, 0x3E4B, 0x3E6D), (0xBFE4, 0xC080, 0x3F2C),
    (0xBFCD, 0xC0A4, 0xC0C9), (0xBD37, 0x42F5, 0x3DA3), (0xBC63, 0xC025, 0xBF9C), (0xC2F9, 0xBDF6, 0xC26B),
    (0x3D4A, 0xC2F0, 0xC07B), (0xC279, 0x3C1F, 0xBFF9), (0xC025, 0x3C63, 0xBF9C), (0x42FC, 0x3E03, 0xBDED),
    (0xBC23, 0xC2F5, 0xBDBA),
)
# fmt: on


def _trap_rows(width: int) -> Array:
    s = Stream("rmsnorm/traps")
    position = np.arange(width)
    plain = s.normal((width,), FLOAT32)
    rows = [
        np.zeros(width),
        np.full(width, -0.0),
        np.full(width, 2.0**-133),
        np.where(position == 3, 2.0**-126, 0.0),
        np.where(position == 3, np.inf, plain),
        np.where(position == 3, np.nan, plain),
        np.where(position == 3, 3.0e38, plain),  # its square is beyond float32: the sum is infinite
        np.full(width, 1.0e19),
        np.where(position == 3, 1.0, 2.0**-20),
        np.full(width, 1.0),
        s.spread((width,), -60, 60, FLOAT32),
        s.spread((width,), -126, -100, FLOAT32),
    ]
    return np.stack(rows).astype(np.float32).astype(BFLOAT16)


def cases(level: str) -> Iterator[Case]:
    """Each shape with and without weight; each trap under three values of eps."""
    for shape in SHAPES:
        s = Stream(f"rmsnorm/{shape}")
        x, weight = s.normal(shape), s.normal(shape[-1:])
        for name, w in (("weight", weight), ("plain", None)):
            yield Case(f"{shape}/{name}", "rmsnorm", {"x": x, "weight": w, "eps": 1e-5})
    s = Stream("rmsnorm/weights")
    traps = _trap_rows(48)
    for eps in (1e-5, 9.999999747378752e-06, 1e-30):
        for name, w in (("weight", s.normal((48,))), ("special", np.resize(BF16_SPECIAL, 48)), ("plain", None)):
            yield Case(f"traps/{eps}/{name}", "rmsnorm", {"x": traps, "weight": w, "eps": eps})
    # Many rows and scales: each rounding point (mean, + eps, 1/sqrt, x * r, * w) shows in some element.
    for rows in (128, 1 << 15) if level == "full" else (128,):
        s = Stream(f"rmsnorm/rows/{rows}")
        x = np.ldexp(s.normal((rows, 96), FLOAT32), s.integers((rows, 1), -9, 5)).astype(BFLOAT16)
        yield Case(f"rows_{rows}", "rmsnorm", {"x": x, "weight": s.normal((96,)), "eps": 1e-6})
        for width in (1, 2, 3):
            every = s.spread((rows, width), -10, 10)
            yield Case(f"rows_{rows}x{width}", "rmsnorm", {"x": every, "weight": s.normal((width,)), "eps": 1e-6})
    hard = np.array(HARD, dtype=np.uint16).view(BFLOAT16)
    yield Case("hard", "rmsnorm", {"x": hard, "weight": None, "eps": 1e-6})
    yield Case("error/eps_zero", "rmsnorm", {"x": traps, "weight": None, "eps": 0.0})
    yield Case("error/eps_nan", "rmsnorm", {"x": traps, "weight": None, "eps": float("nan")})
    yield Case("error/weight_shape", "rmsnorm", {"x": traps, "weight": BF16_SPECIAL, "eps": 1e-5})
