# SPDX-License-Identifier: Apache-2.0
"""Cases of route, dispatch and combine: ties, NaN and zeros of both signs, empty and full experts, sums that cancel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ._case import BF16_SPECIAL, Case
from ._stream import BFLOAT16, FLOAT32, Array, Stream

# tokens, experts, choices: one of 16 and one of 128 are Llama 4's
SHAPES = ((9, 16, 1), (5, 128, 1), (7, 16, 4), (3, 5, 5), (1, 1, 1), (33, 8, 2), (0, 4, 2))


def _bf16(values: Any) -> Array:
    return np.asarray(values, np.float64).astype(np.float32).astype(BFLOAT16)


def _routes(level: str) -> Iterator[Case]:
    inf, nan = np.inf, np.nan
    rows = [
        [1, 3, 3, 2], [-0.0, 0.0, -1, -0.0], [0.0, -0.0, -1, 0.0], [-inf] * 4, [1, inf, inf, 2], [inf, nan, 1, nan],
        [nan, nan, 0, 0], [-nan, 5, nan, inf], [-1, -2, -2, -1], [0, 2.0**-133, -(2.0**-133), 0], [6, 5, 5, 6],
    ]  # fmt: skip
    for k in (1, 2, 3, 4):
        yield Case(f"route/traps/{k}", "route", {"logits": _bf16(rows), "top_k": k})
    for tokens, experts, k in (*SHAPES, *(((4096, 128, 1), (512, 16, 2)) if level == "full" else ())):
        name = f"route/{tokens}x{experts}/{k}"
        s = Stream(name)
        yield Case(name, "route", {"logits": s.normal((tokens, experts)), "top_k": k})
        few = _bf16(s.integers((tokens, experts), -2, 2))
        yield Case(f"{name}/few_values", "route", {"logits": few, "top_k": k})
    s = Stream("route")
    yield Case("route/special", "route", {"logits": s.pick(BF16_SPECIAL, (128, 7)), "top_k": 3})
    yield Case("route/bits", "route", {"logits": s.bits((256, 9)), "top_k": 9})
    # The last expert's column is not that of a tile, and a row of E is a vector.
    yield Case("route/last", "route", {"logits": _bf16(np.eye(33)[:, ::-1]), "top_k": 2})
    every = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16).view(BFLOAT16)
    yield Case("route/every_logit", "route", {"logits": every[:, None]})
    yield Case("route/error/no_experts", "route", {"logits": _bf16(np.zeros((2, 0)))})
    yield Case("route/error/too_many", "route", {"logits": _bf16(np.zeros((2, 3))), "top_k": 4})
    yield Case("route/error/none", "route", {"logits": _bf16(np.zeros((2, 3))), "top_k": 0})


def _dispatch(name: str, x: Array, experts: Any, scores: Array, count: int) -> Case:
    arguments = {"x": x, "experts": np.asarray(experts, np.int64), "scores": scores, "num_experts": count}
    return Case(f"dispatch/{name}", "dispatch", arguments)


def _dispatches(level: str) -> Iterator[Case]:
    for tokens, count, k in (*SHAPES, *(((2048, 128, 1),) if level == "full" else ())):
        s = Stream(f"dispatch/{tokens}x{count}/{k}")
        ids = s.integers((tokens, k), 0, count)
        yield _dispatch(f"{tokens}x{count}/{k}", s.normal((tokens, 17)), ids, s.normal((tokens, k)), count)
    s = Stream("dispatch")
    x, one = s.normal((12, 40)), s.normal((12, 1))
    groups: dict[str, list[int]] = {
        "one_takes_all": [2] * 12,
        "first_takes_all": [0] * 12,
        "last_takes_all": [8] * 12,
        "empty_between": [7, 1, 7, 4, 1, 1, 7, 4, 4, 4, 1, 7],
        "backwards": [8, 8, 7, 6, 6, 6, 4, 3, 3, 2, 1, 0],
    }
    for name, chosen in groups.items():
        yield _dispatch(f"groups/{name}", x, np.array(chosen)[:, None], one, 9)
    yield _dispatch("groups/same_twice", x, np.array([[4, 4], [0, 4]] * 6), s.normal((12, 2)), 9)
    yield _dispatch("one_expert", x, np.zeros((12, 3)), s.normal((12, 3)), 1)
    special = np.tile(BF16_SPECIAL, (len(BF16_SPECIAL), 1))
    order = np.arange(len(BF16_SPECIAL))[:, None] % 3
    yield _dispatch("special", special, order, BF16_SPECIAL[:, None], 3)
    # Products below 2**-126 round once, in the subnormal range.
    yield _dispatch("subnormal", s.spread((64, 32), -70, 0), s.integers((64, 1), 0, 5), s.spread((64, 1), -70, -56), 5)
    yield _dispatch("no_columns", x[:, :0], np.array(groups["backwards"])[:, None], one, 9)
    for name, wrong in (("beyond", 9), ("negative", -1)):
        yield _dispatch(f"error/{name}", x, np.full((12, 1), wrong), one, 9)
    yield _dispatch("error/tokens", x[:3], np.zeros((12, 1)), one, 9)


def _combine(name: str, terms: Array, shared: Array, s: Stream) -> Case:
    """terms (T, k, H), their rows in a random order."""
    tokens, k, columns = terms.shape
    order = np.argsort(s.words((tokens * k,))).astype(np.int64)
    arguments = {"routed": terms.reshape(tokens * k, columns)[order], "order": order, "shared": shared}
    return Case(f"combine/{name}", "combine", arguments)


def _combines(level: str) -> Iterator[Case]:
    for tokens, _, k in (*SHAPES, *(((1024, 1, 1), (256, 1, 4)) if level == "full" else ())):
        s = Stream(f"combine/{tokens}x{k}")
        yield _combine(f"{tokens}x{k}", s.normal((tokens, k, 19)), s.normal((tokens, 19)), s)
        yield _combine(f"{tokens}x{k}/near", s.spread((tokens, k, 19), -5, 5), s.spread((tokens, 19), -5, 5), s)
    s = Stream("combine")
    yield _combine("special/2", s.pick(BF16_SPECIAL, (64, 2, 9)), s.pick(BF16_SPECIAL, (64, 9)), s)
    yield _combine("special/1", BF16_SPECIAL[:, None, None], BF16_SPECIAL[::-1, None], s)
    yield _combine("bits", s.bits((64, 3, 9)), s.bits((64, 9)), s)
    # What is left of terms that cancel, and terms far below a midpoint: only an exact sum has it.
    half = s.spread((24, 6, 16), -60, 60)
    rest = s.spread((24, 1, 16), -100, -70)
    yield _combine("cancel", np.concatenate([half, -half, rest], axis=1), np.zeros((24, 16), BFLOAT16), s)
    tie, far, largest = 2.0**-8, 2.0**-100, 3.0e38
    sums = [
        [1, tie, far], [1, tie, -far], [1, tie, 0], [1 + 2.0**-7, tie, -far], [1, tie, 2.0**-24], [1, tie, 2.0**-25],
        [-1, 1, -0.0], [-0.0, -0.0, -0.0], [largest, largest, -largest], [largest, largest, 0],
        [2.0**60, 2.0**-60, -(2.0**60)], [np.inf, -np.inf, 1], [2.0**-133, 2.0**-133, -(2.0**-133)],
    ]  # fmt: skip
    terms = _bf16(sums)[:, :, None]
    for name, value in (("zero", 0.0), ("minus_zero", -0.0), ("one", 1.0)):
        yield _combine(f"listed/{name}", terms, np.full((len(sums), 1), value, BFLOAT16), s)
    # The sum is rounded to bfloat16 before the shared term comes to it.
    shared, parts = s.spread((512, 8), 0, 1), s.spread((512, 2, 8), -9, -7)
    yield _combine("rounded_first", parts, shared, s)
    yield _combine("minus_zero", np.full((3, 1, 2), -0.0, BFLOAT16), np.full((3, 2), -0.0, BFLOAT16), s)
    yield _combine("no_columns", s.normal((3, 2, 0)), s.normal((3, 0)), s)
    x = s.normal((4, 3))
    for name, wrong in (("twice", [0, 1, 1, 3]), ("beyond", [0, 1, 2, 4])):
        yield Case(f"combine/error/{name}", "combine", {"routed": x, "order": np.array(wrong), "shared": x})
    yield Case("combine/error/rows", "combine", {"routed": x, "order": np.arange(4), "shared": x[:3]})
    yield Case("combine/error/type", "combine", {"routed": x, "order": np.arange(4), "shared": x.astype(FLOAT32)})


def cases(level: str) -> Iterator[Case]:
    """The three functions in the order in which a model calls them."""
    yield from _routes(level)
    yield from _dispatches(level)
    yield from _combines(level)
