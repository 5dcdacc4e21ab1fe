# SPDX-License-Identifier: Apache-2.0
"""The registry of scale rules: every row by its name. spec/quantize.md has the same rows in words. [QUANT-RULE]"""

from __future__ import annotations

from . import _rules_libraries as libraries
from . import _rules_serving as serving
from ._rule import Rule

RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        *serving.VLLM,
        *libraries.COMPRESSED_TENSORS,
        *libraries.AUTOFP8,
        *libraries.FBGEMM,
        *libraries.TRANSFORMERS,
        *libraries.TRANSFORMER_ENGINE,
        *libraries.TORCHAO,
        *serving.DEEPSEEK,
        *serving.SGLANG,
    )
}


def rules() -> tuple[Rule, ...]:
    """Every scale rule that ``quantize`` knows, as frozen rows of data.

    Returns:
        One row for each rule: its name, the system's version and source, and each choice that makes its bits.

    Example:
        >>> rules()[0].name, rules()[0].granularity, rules()[0].quantize
        ('vllm.per_token', 'row', 'x/s')
    """
    return tuple(RULES.values())
