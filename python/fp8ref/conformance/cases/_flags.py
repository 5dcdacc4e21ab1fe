# SPDX-License-Identifier: Apache-2.0
"""Which traps a case holds: flags out of a closed list, by patterns of names. [CASE-FLAGS]"""

from __future__ import annotations

import functools
import re
from fnmatch import translate

# The closed list, each with the mistake that it is there for.
FLAGS = {
    "midpoint": "a number between two of the output: rounding that is not to nearest even, or done twice",
    "overflow": "448, 464, 480 and what is beyond the output's largest number: saturation, NaN, infinity",
    "subnormal": "numbers below the smallest normal one, read or written: flushed to zero",
    "signed_zero": "zeros of both signs: a sign that is lost or made up",
    "nan": "NaN among the inputs: clamped to a number, spread too far, or lost in a maximum",
    "infinity": "infinities among the inputs: in scales, in sums of both signs, times zero",
    "amax_zero": "a row, group or tensor of zeros to be quantized: 0/0, a floor, a scale of 1",
    "dead_row": "rows or experts of zeros in a product, with the scales that they get",
    "rule_witness": "the smallest inputs on which two scale rules part",
    "k_tail": "K that no block, step or interval divides: the rest is dropped, or read from beyond the end",
    "odd_shape": "sizes that no tile divides, and vectors of one",
    "empty_shape": "sizes of zero",
    "empty_group": "experts without rows",
    "padding_row": "rows that belong to no expert: to be left alone",
    "exponent_spread": "products far apart: what is cut away depends on the accumulator",
    "extreme_scale": "scales at both ends of float32, and orders in which only some products overflow",
    "cancellation": "sums whose large terms cancel: the order of the sum, and its precision",
    "accumulator_probe": "one property of a tensor core each: block, fraction bits, cut, promotion, order",
    "known_bug": "inputs on which a library was wrong once",
    "misuse": "arguments that golden refuses; a stranger's target is not asked them",
}

_MISUSE = ("error/*",)
# Patterns of case names, as in a shell, by op and flag.
PATTERNS: dict[str, dict[str, tuple[str, ...]]] = {
    "e4m3": {
        "midpoint": ("*/midpoints_*", "*/onnxruntime_16938", "*/all_*"),
        "overflow": ("*/overflow_fp64", "*/grid_fp32", "*/midpoints_*", "*/beyond_largest", "*/all_*"),
        "subnormal": ("*/tiny_fp64", "*/all_*", "decode/*", "*/grid_fp32"),
        "signed_zero": ("*/tiny_fp64", "*/all_*", "decode/*"),
        "nan": ("*/overflow_fp64", "*/all_*", "decode/*"),
        "infinity": ("*/overflow_fp64", "encode/*/all_*"),
        "odd_shape": ("*/shape_*",),
        "empty_shape": ("*/empty",),
        "known_bug": ("*/onnxruntime_16938", "*/beyond_largest"),
        "misuse": ("encode/unknown_overflow",),
    },
    "quantize": {
        "midpoint": ("*/midpoints*", "*/traps", "*/together"),
        "overflow": ("*/largest", "*/bound_1200*", "*/bound_0.7*", "*/traps", "*/typical", "*/late"),
        "subnormal": ("*/smallest", "*/tiny", "*/traps", "*/together", "dequantize/*/rows"),
        "signed_zero": ("*/negative_zero", "*/traps", "*/together", "*/special", "dequantize/*/rows"),
        "nan": (
            "*/nan", "*/all_nan", "*/inf_and_nan", "*/traps", "*/together", "*/witnesses", "*/witness/nan_*",
            "dequantize/*/rows",
        ),
        "infinity": (
            "*/inf", "*/minus_inf", "*/inf_and_nan", "*/traps", "*/together", "*/witnesses",
            "*/witness/*infinit*",
        ),
        "amax_zero": ("*/zero", "*/negative_zero", "*/traps", "*/together", "*/witnesses", "*/witness/dead"),
        "rule_witness": (
            "*/witness*", "*/mantissas", "*/amax_*", "*/beside_powers", "*/floor*", "*/midpoints_4?.000", "*/late",
        ),
        "odd_shape": ("*/1x1", "*/3x37", "*/3x129", "*/129x131", "*/257x2", "*/2x257", "*_by_*"),
        "empty_shape": ("*/2x0", "*/0x8"),
        "exponent_spread": ("*/one_outlier", "*/spread_*", "*/traps", "*/together"),
        "extreme_scale": ("*/typical", "*/smallest", "*/largest", "*/inf", "*/nan", "*/zero", "*/bound_3e+38*"),
        "misuse": (
            "unknown_rule", "bound_not_taken", "*/negative", "*/no_scale", "*/bound_0.0_*", "*/bound_-1.0_*",
            "*/bound_nan_*", "*/bound_inf_*", "dequantize/negative_scale", "dequantize/9x9_by_2x1",
        ),
    },
    "mma": {
        "midpoint": ("probe/E6*", "probe/E14d*", "fp16/float16/finite/*", "e4m3/float16/finite/*"),
        "overflow": ("probe/E15*", "probe/E11a/*", "bf16/*/any_bits/*", "fp16/*/finite/*"),
        "subnormal": ("probe/E8/*", "probe/E11[b-g]/*", "probe/E14f*", "probe/E14h*", "floor*", "*/special_c/*"),
        "signed_zero": ("probe/E9a/*", "*/special_c/*"),
        "nan": ("probe/E10a/*", "probe/E11[jk]/*", "*/any_bits/*", "*/special_c/*"),
        "infinity": ("probe/E10[bcd]/*", "probe/E11[hi]/*", "e5m2/*/any_bits/*", "*/special_c/*"),
        "k_tail": ("*/normal_*", "*/cancelling/*", "probe/E13/*"),
        "empty_shape": ("empty/*",),
        "exponent_spread": ("*/finite/*", "*/from_zero/*", "*/small_products/*", "4x6x640/*"),
        "cancellation": ("*/cancelling/*", "probe/E1?/*", "probe/E15b/*"),
        "accumulator_probe": ("probe/*", "*/nothing_but_c/*"),
        "misuse": _MISUSE,
    },
    "scaled_mm": {
        "midpoint": ("*midpoint/*", "block_sums/tie*", "e4m3/*/tie", "e4m3/*/1.0*", "e4m3/*/0.99*", "probe/E6*"),
        "overflow": ("e4m3/*", "*extreme*", "e8m0/*"),
        "subnormal": ("large_and_small/*", "extreme_scales*", "reversed_extremes/*", "probe/E8/*", "e8m0/*", "e4m3/*"),
        "signed_zero": ("signed_zeros/*", "dead_rows*"),
        "nan": ("nan_codes/*", "nan/*", "block_specials/*", "bias/special/*", "e8m0/*", "*/any_bits/*", "probe/E10a/*"),
        "infinity": (
            "extreme_scales*", "reversed_*", "block_specials/*", "bias/special/*", "e5m2/*/infinite*", "e4m3/*/inf",
        ),
        "dead_row": ("dead_rows*", "block_specials/*"),
        "k_tail": (
            "tail_*", "5x7x3?/*", "17x19x200/*", "k40/*", "k300/*", "k1100/*", "*/2x3x127/*", "*/3x4x129/*",
            "*x300/*",
        ),
        "odd_shape": ("1x1x1/*", "5x7x*", "1x65x64/*", "65x9x64/*", "17x19x200/*", "blocks/4x130x300/*"),
        "empty_shape": ("2x3x0/*", "0x5x32/*", "3x0x32/*", "blocks/3x2x0/*", "blocks/?x?x200/*", "e5m2/*/2x3x0/*"),
        "exponent_spread": ("spread/*", "large_and_small/*", "e5m2/midpoint/*", "block_sums/*", "tail_*"),
        "extreme_scale": (
            "extreme_scales*", "reversed_*", "orders/*/extreme/*", "block_specials/*", "e8m0/*", "dead_rows*",
        ),
        "cancellation": ("cancel_*", "bias/cancel/*", "block_sums/cancel*", "k*/split_*", "large_and_small/*"),
        "accumulator_probe": ("probe/*", "k*/split_*", "e5m2/*x*x*/*", "spread/*"),
        "known_bug": ("orders/vllm_swap/*", "e4m3/*/pytorch_190449", "dead_rows*"),
        "misuse": _MISUSE,
    },
    "grouped_mm": {
        "midpoint": ("bf16_midpoint",),
        "overflow": ("in_place_e4m3",),
        "signed_zero": ("dead_expert*",),
        "nan": ("nan_codes", "padding_is_nan*"),
        "infinity": ("padding_is_nan*", "e5m2/e5m2_*"),
        "dead_row": ("dead_expert*",),
        "k_tail": ("tail_*", "blocks/*", "e5m2/*", "*_groups*", "scales/*"),
        "odd_shape": ("boundary/one_row_each", "blocks/*/channels", "blocks/*/blocks", "tail_*"),
        "empty_shape": ("no_experts", "no_rows_in_a", "k_is_zero"),
        "empty_group": ("empty_*", "one_expert*", "no_rows*", "policy/*", "boundary/empty_groups", "tail_*"),
        "padding_row": ("rows_of_no_group*", "padding_is_nan*", "in_place_e4m3", "boundary/rows_of_no_group"),
        "exponent_spread": ("spread/*", "boundary/*"),
        "extreme_scale": ("dead_expert*",),
        "cancellation": ("cancel/*",),
        "accumulator_probe": ("spread/*", "cancel/*", "policy/*"),
        "known_bug": ("dead_expert*", "padding_is_nan*"),
        "misuse": _MISUSE,
    },
    "linear": {
        "midpoint": ("*_midpoint", "both_midpoints"),
        "overflow": ("overflow", "special_outer"),
        "subnormal": ("underflow", "subnormal", "special_*"),
        "signed_zero": ("special_*", "underflow", "dead_rows*"),
        "nan": ("special_*", "unit/*/special"),
        "infinity": ("special_*", "unit/*/special"),
        "dead_row": ("dead_rows*",),
        "k_tail": ("5x7x31", "3x9x257", "unit/*", "probe/*"),
        "odd_shape": ("1x1x1", "5x7x31", "3x9x257", "9x33x64"),
        "empty_shape": ("2x3x0", "0x4x8", "3x0x8"),
        "exponent_spread": ("spread_*", "unit/*"),
        "cancellation": ("cancel_*", "unit/*/cancel*"),
        "accumulator_probe": ("probe/*", "unit/*"),
        "misuse": _MISUSE,
    },
    "rmsnorm": {
        "midpoint": ("hard", "rows_128*"),
        "overflow": ("traps/*",),
        "subnormal": ("traps/*",),
        "signed_zero": ("traps/*",),
        "nan": ("traps/*",),
        "infinity": ("traps/*",),
        "dead_row": ("traps/*",),
        "odd_shape": ("(1, 1)/*", "(7, 33)/*", "(5,)/*", "rows_128x*"),
        "empty_shape": ("(0, 16)/*",),
        "exponent_spread": ("traps/*", "rows_128"),
        "misuse": _MISUSE,
    },
    "rope": {
        "midpoint": ("interleaved/midpoints/*",),
        "subnormal": ("rope/subnormal", "interleaved/subnormal"),
        "signed_zero": ("rope/special", "interleaved/special"),
        "nan": ("rope/special", "interleaved/special"),
        "infinity": ("rope/special", "interleaved/special"),
        "odd_shape": ("rope/1x1x2", "rope/33x5x10", "interleaved/33x5x10"),
        "empty_shape": ("rope/0x4x8", "rope/4x0x8", "table/empty", "interleaved/0x4x8"),
        "cancellation": ("interleaved/cancel",),
        "misuse": ("*/error/*",),
    },
    "route": {
        "midpoint": ("dispatch/?x*", "combine/listed/*", "combine/rounded_first", "combine/*/near"),
        "overflow": ("combine/listed/*",),
        "subnormal": ("dispatch/subnormal", "route/traps/*", "combine/listed/*"),
        "signed_zero": (
            "route/traps/*", "route/special", "dispatch/special", "combine/special/*", "combine/minus_zero",
        ),
        "nan": ("route/traps/*", "route/special", "route/every_logit", "dispatch/special", "combine/special/*"),
        "infinity": ("route/traps/*", "route/special", "route/every_logit", "dispatch/special", "combine/special/*"),
        "odd_shape": ("route/1x1/1", "route/last", "dispatch/9x16/1", "combine/9x1"),
        "empty_shape": ("*/0x*", "*/no_columns"),
        "empty_group": ("dispatch/groups/*",),
        "exponent_spread": ("combine/cancel", "combine/bits"),
        "cancellation": ("combine/cancel", "combine/listed/*"),
        "misuse": ("*/error/*",),
    },
    "temperature": {
        "midpoint": ("product/midpoints/*",),
        "overflow": ("product/special", "factors/scale/3.4e+38"),
        "subnormal": ("product/subnormal", "factors/scale/1e-44"),
        "signed_zero": ("product/special",),
        "nan": ("product/special", "product/bits"),
        "infinity": ("product/special",),
        "odd_shape": ("product/1x1x1", "product/7x5x33"),
        "empty_shape": ("product/0x2x4", "product/2x0x4", "factors/empty"),
        "extreme_scale": ("factors/floor/*e*", "factors/scale/*e*"),
        "misuse": ("*/error/*",),
    },
    "attention": {
        "midpoint": ("flat/midpoints", "*/weight/denominator", "pairs/*"),
        "overflow": ("flat/largest", "*/special/overflow*", "scores/60", "*/weight/of_*"),
        "subnormal": ("flat/subnormal", "*/weight/-*", "*/special/underflow", "scores/-130"),
        "signed_zero": ("special/mixed",),
        "nan": (
            "special/nan/*", "special/mixed", "special/invisible", "*/special/invisible_nan", "*/special/nan/*",
            "*/special/t_nan", "chunked/special/nan/*",
        ),
        "infinity": (
            "special/inf/*", "special/minus_inf/*", "*opposite_infinities", "*/special/inf/*", "*/special/t_inf",
            "chunked/special/inf/*",
        ),
        "dead_row": ("*special/no_term", "*/no_term", "*/empty_block", "*/empty_superblock"),
        "odd_shape": ("1x1x1x1x1/*", "*3x3x6x2x5/*", "2x70x3x3x32/*", "*/2x300x2x1x17/*", "chunked/*", "*/chunked/*"),
        "empty_shape": ("0x4x2x1x8/*", "no_keys"),
        "exponent_spread": ("scores/*", "values/spread", "*/gap/*"),
        "extreme_scale": ("scale/*",),
        "cancellation": ("flat/cancel", "*/cancel*", "*/scores", "*/top/*"),
        "accumulator_probe": ("*/weight/*", "*/blocks_*", "*/superblocks", "*/gap/*", "*/top/*"),
        "misuse": ("error/*", "*/error"),
    },
    "silu_mul": {
        "midpoint": ("every_gate/*",),
        "overflow": ("special",),
        "subnormal": ("subnormal", "special", "every_gate/*"),
        "signed_zero": ("special", "every_gate/*"),
        "nan": ("special", "every_gate/*"),
        "infinity": ("special", "every_gate/*"),
        "odd_shape": ("shape_3d",),
        "empty_shape": ("empty",),
        "misuse": _MISUSE,
    },
    "residual": {
        "midpoint": ("near/*", "gated/near/*"),
        "overflow": ("overflow", "special", "gated/special/*"),
        "subnormal": ("subnormal", "special", "gated/subnormal", "gated/special/*"),
        "signed_zero": ("special", "gated/special/*"),
        "nan": ("special", "bits/*", "gated/special/*"),
        "infinity": ("special", "bits/*", "gated/special/*"),
        "odd_shape": ("shape_3d", "gated/shape_3d"),
        "empty_shape": ("empty", "gated/empty"),
        "cancellation": ("cancel",),
        "misuse": _MISUSE,
    },
    "sample": {
        "subnormal": ("traps/fp32",),
        "signed_zero": ("traps/*", "ties*"),
        "nan": ("traps/*", "ties"),
        "infinity": ("traps/*", "ties*"),
        "odd_shape": ("vocabulary_of_one", "shape_3d"),
        "empty_shape": ("no_rows",),
        "misuse": _MISUSE,
    },
}  # fmt: skip


@functools.cache
def _compiled(stem: str) -> tuple[tuple[str, re.Pattern[str]], ...]:
    patterns = PATTERNS.get(stem, {})
    return tuple((flag, re.compile("|".join(map(translate, patterns[flag])))) for flag in FLAGS if flag in patterns)


def flags_of(stem: str, name: str) -> tuple[str, ...]:
    """The flags of a case, in the order of ``FLAGS``.

    Example:
        >>> flags_of("scaled_mm", "tail_129/exact/float32")
        ('k_tail', 'exponent_spread')
    """
    return tuple(flag for flag, pattern in _compiled(stem) if pattern.match(name))
