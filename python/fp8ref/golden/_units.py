# SPDX-License-Identifier: Apache-2.0
"""Tensor cores and how matrix products chain their steps, as rows of data. spec/mma.md has the same tables."""

from __future__ import annotations

from dataclasses import dataclass

TILE = 128  # elements of K of one promotion, and the grain of split-K [MMA-PROMOTE] [MMA-SPLIT-K]


@dataclass(frozen=True)
class Result:
    """What a step's exact sum is converted to. [MMA-RESULT]"""

    name: str
    dtype: str  # of the number that holds it
    bits: int  # significant bits
    emin: int  # exponent of the smallest normal number
    rounding: str  # "toward_zero", or "nearest" with ties to even


RESULTS = {
    row.name: row
    for row in (
        Result("e8m13", "float32", bits=14, emin=-126, rounding="toward_zero"),
        Result("fp32", "float32", bits=24, emin=-126, rounding="toward_zero"),
        Result("fp16", "float16", bits=11, emin=-14, rounding="nearest"),
    )
}


@dataclass(frozen=True)
class Unit:
    """One tensor core on one class of operands: a chain of steps of ``block`` products. [MMA-UNITS]"""

    name: str
    operands: str  # "fp8" (E4M3, E5M2 and mixed), "bf16" or "fp16"
    block: int  # L: products of one step
    fraction_bits: int  # F: terms are cut below 2**(E - F)
    result: Result
    floor: int  # E is at least this
    evidence: str  # how sure this is: "recorded", "published" or "inferred"
    order: str = "chain"  # or "rewritten": FP8 as FP16, pairs of k first, the accumulator added last [MMA-REWRITE]

    @property
    def out_dtype(self) -> str:
        """The type of the accumulator."""
        return self.result.dtype


def _rows() -> tuple[Unit, ...]:
    """All units. The names are those of instructions; their operands, L, F, result, floor of E and evidence follow."""
    e8m13, fp32, fp16 = RESULTS["e8m13"], RESULTS["fp32"], RESULTS["fp16"]
    ampere = [
        Unit(name, operands, 8, 24, result, floor, evidence)
        for name, evidence in (("sm80_mma", "published"), ("sm89_mma", "recorded"))
        for operands, result, floor in (("bf16", fp32, -132), ("fp16", fp32, -132), ("fp16", fp16, -20))
    ]
    later = [
        Unit(name, operands, 16, 25, result, floor, evidence)
        for name, evidence in (
            ("sm90_mma_sync", "recorded"),
            ("sm90_wgmma", "published"),
            ("sm100_tcgen05", "published"),
            ("sm120_mma", "published"),
        )
        for operands, result, floor in (("bf16", fp32, -133), ("fp16", fp32, -133), ("fp16", fp16, -21))
    ]
    fp8 = [
        Unit("sm89_mma", "fp8", 16, 13, e8m13, -132, "recorded"),
        Unit("sm89_mma", "fp8", 16, 13, fp16, -20, "recorded"),
        Unit("sm90_wgmma", "fp8", 32, 13, e8m13, -133, "recorded"),
        Unit("sm90_wgmma", "fp8", 32, 13, fp16, -21, "published"),
        Unit("sm90_mma_sync", "fp8", 16, 25, fp32, -133, "inferred", "rewritten"),
        Unit("sm90_mma_sync", "fp8", 16, 25, fp16, -21, "recorded", "rewritten"),
        Unit("sm100_tcgen05", "fp8", 32, 25, fp32, -133, "published"),
        Unit("sm100_tcgen05", "fp8", 32, 25, fp16, -21, "published"),
        Unit("sm120_mma", "fp8", 32, 25, fp32, -133, "published"),
        Unit("sm120_mma", "fp8", 32, 25, fp16, -21, "published"),
    ]
    return (*fp8, *ampere, *later)


UNITS = {(row.name, row.operands, row.out_dtype): row for row in _rows()}
UNIT_NAMES = tuple(dict.fromkeys(name for name, _, _ in UNITS))


@dataclass(frozen=True)
class Chain:
    """How a matrix product of FP8 codes walks over K. [MMA-CHAIN] [MMA-PROMOTE]"""

    name: str
    unit: str
    interval: int | None  # a fresh chain for so many elements of K, added in float32; None: one chain


ACCUMULATORS = {
    row.name: row
    for row in (
        Chain("sm90_wgmma", "sm90_wgmma", None),
        Chain("sm90_wgmma_promoted", "sm90_wgmma", TILE),
        Chain("sm90_mma_sync", "sm90_mma_sync", None),
        Chain("sm89_mma", "sm89_mma", None),
        Chain("sm100_tcgen05", "sm100_tcgen05", None),
        Chain("sm120_mma", "sm120_mma", None),
    )
}


@dataclass(frozen=True)
class Mode:
    """What every matrix product of a model runs on. [MMA-MODES]"""

    name: str
    fp8: str | None  # the accumulator of FP8 matrix products; None: the hardware has no FP8 unit
    bf16: str  # "exact", or the unit of all others


MODES = {
    row.name: row
    for row in (
        Mode("exact", fp8="exact", bf16="exact"),
        Mode("sm90", fp8="sm90_wgmma", bf16="sm90_wgmma"),
        Mode("sm89", fp8="sm89_mma", bf16="sm89_mma"),
        Mode("sm80", fp8=None, bf16="sm80_mma"),
    )
}


def units_of(operands: str, out_dtype: str) -> tuple[str, ...]:
    """The names of the units that take such operands and accumulate in that type."""
    return tuple(name for name in UNIT_NAMES if (name, operands, out_dtype) in UNITS)
