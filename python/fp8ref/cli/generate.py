# SPDX-License-Identifier: Apache-2.0
"""``fp8ref generate``."""

from __future__ import annotations

import datetime
import json as jsonlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .common import (
    Accumulate,
    AccumulateOption,
    Backend,
    BackendOption,
    ThreadsOption,
    Weights,
    WeightsOption,
    misuse,
    progress,
    set_threads,
)

if TYPE_CHECKING:
    from ..model import Model, Tokenizer

CHUNK = 32  # prompt tokens between two steps of the progress bar; no bit depends on it


def generate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CKPT", help="A checkpoint folder with tokenizer.json.")],
    prompt: Annotated[str, typer.Option(help="The text to continue, or with --chat the user's message.")],
    chat: Annotated[bool, typer.Option("--chat", help="Put the prompt into the checkpoint's chat template.")] = False,
    system: Annotated[str | None, typer.Option(help="A system message; needs --chat.")] = None,
    date: Annotated[
        datetime.datetime | None,
        typer.Option(
            formats=["%Y-%m-%d"],
            help="The day that the chat template may write into the prompt; no clock is read. Needs --chat.",
        ),
    ] = None,
    max_new_tokens: Annotated[int, typer.Option(min=0, help="Stop after so many tokens.")] = 128,
    backend: BackendOption = Backend.CPU,
    accumulate: AccumulateOption = Accumulate.EXACT,
    weights: WeightsOption = Weights.MAPPED,
    threads: ThreadsOption = None,
    json: Annotated[bool, typer.Option("--json", help="Print ids and text as JSON at the end.")] = False,
) -> None:
    """Generate text, greedily: the same tokens on every backend, machine and number of threads.

    Text goes to stdout as it comes; progress goes to stderr.

    [bold]Examples[/]

      fp8ref generate SmolLM2-135M-Instruct-FP8 --chat --prompt "What is the capital of France?"

      fp8ref generate Llama-3.2-1B-Instruct-FP8 --chat --date 2024-07-26 --prompt "Which day is it?"

      fp8ref generate CKPT --prompt "Once upon a time" --max-new-tokens 40 --backend golden --accumulate sm90
    """
    from .. import load
    from ..model import Tokenizer

    for option, value in {"--system": system, "--date": date}.items():
        if value is not None and not chat:
            misuse(f"{option} needs --chat")
    tokenizer = Tokenizer(checkpoint)
    ids = encode_prompt(tokenizer, prompt, chat, system, date)
    set_threads(threads)
    with progress(f"loading on {backend.value}"):
        model = load(checkpoint, backend=backend.value, accumulate=accumulate.value, weights=weights.value)
    if json:
        new = answer(model, ids, max_new_tokens)
        document = {"prompt_ids": ids, "ids": new, "text": tokenizer.decode(new)}
        policies = {"backend": backend.value, "accumulate": accumulate.value}
        print(jsonlib.dumps({**document, **policies}, ensure_ascii=False))
        return
    stream_answer(model, tokenizer, ids, max_new_tokens)


def encode_prompt(
    tokenizer: Tokenizer, prompt: str, chat: bool, system: str | None = None, date: datetime.date | None = None
) -> list[int]:
    """Token ids of a prompt, plain or as a chat. [TEXT-BOS]"""
    if not chat:
        return tokenizer.encode(prompt)
    messages: list[dict[str, Any]] = [] if system is None else [{"role": "system", "content": system}]
    return tokenizer.encode_chat([*messages, {"role": "user", "content": prompt}], date=date)


def stream_answer(model: Model, tokenizer: Tokenizer, ids: Sequence[int], max_new_tokens: int) -> list[int]:
    """Write the text to stdout as it comes; returns the new ids."""
    stream = tokenizer.stream()
    shown: list[int] = []

    def show(token: int) -> None:
        shown.append(token)
        sys.stdout.write(stream.push(token))
        sys.stdout.flush()

    try:
        return answer(model, ids, max_new_tokens, show)
    finally:
        if shown:  # the line ends, whether by an end token or by Ctrl-C
            sys.stdout.write(stream.finish() + "\n")
            sys.stdout.flush()


def answer(
    model: Model, ids: Sequence[int], max_new_tokens: int, on_token: Callable[[int], None] | None = None
) -> list[int]:
    """``model.generate`` with a progress bar over the prompt, which is cut into chunks. [LLAMA-CUT]"""
    from ..golden.llama import check_tokens
    from ..golden.sample import sample
    from ..model.generate import generate as loop

    def forward(tokens: Sequence[int], rows: int) -> Any:
        if len(tokens) == 1:
            return model.forward(tokens, rows)
        with progress("reading the prompt") as step:
            last = (len(tokens) - 1) // CHUNK * CHUNK
            for start in range(0, last, CHUNK):
                step(start, len(tokens))
                model.forward(tokens[start : start + CHUNK], 0)
            step(last, len(tokens))
            return model.forward(tokens[last:], rows)

    check_tokens(model.config, ids)
    return loop(model.config, forward, model.reset, sample, ids, max_new_tokens, on_token)
