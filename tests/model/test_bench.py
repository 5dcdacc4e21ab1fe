# SPDX-License-Identifier: Apache-2.0
"""What the bench counts for one token: the weights of the file that it meets."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from fp8ref.bench.model import per_token
from fp8ref.checkpoint import Checkpoint, LlamaReader
from model.tiny import write_tiny


@pytest.mark.parametrize("model", ["llama", "scout", "maverick"])
def test_a_token_meets_every_weight_but_the_experts_that_it_did_not_choose(tmp_path: Path, model: str) -> None:
    reader = LlamaReader(Checkpoint(write_tiny(tmp_path / model, model=model)))
    moe = reader.config.moe
    chosen = range(0 if moe is None else moe.num_experts_per_tok)
    macs = 0
    for name in reader.checkpoint.names:
        expert = re.search(r"\.experts\.(\d+)\.", name)
        if name.endswith(("_proj.weight", "router.weight", "lm_head.weight")) and "vision" not in name:
            macs += math.prod(reader.checkpoint.entry(name).shape) * (expert is None or int(expert[1]) in chosen)
    head = reader.config.vocab_size * reader.config.hidden_size
    assert per_token(reader.config, lambda _: 3) == (2 * head + 3 * (macs - head), macs)
