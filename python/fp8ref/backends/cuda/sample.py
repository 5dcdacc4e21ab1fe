# SPDX-License-Identifier: Apache-2.0
"""``sample`` on a CUDA device. spec/sample.md"""

from __future__ import annotations

from typing import Any

from ... import _cuda
from ...golden._args import logits_array
from ._call import FLOAT32, INT64, Call


def sample(logits: Any) -> Any:
    """The greedy choice, the index of the largest logit of each row: :func:`fp8ref.sample` where the array is."""
    with Call("sample", {"logits": logits}) as call:
        array = logits_array(call.shown("logits"))
        rows, vocabulary = array.size // array.shape[-1], array.shape[-1]
        ids = call.empty(array.shape[:-1], INT64)
        _cuda.sample(call.place("logits", array, FLOAT32), rows, vocabulary, ids.address, call.stream)
        return call.result(ids)
