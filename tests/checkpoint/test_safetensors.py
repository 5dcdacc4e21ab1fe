# SPDX-License-Identifier: Apache-2.0
"""Damaged safetensors files: one clear error each, never a crash or a guess. [CKPT-HEADER] to [CKPT-MMAP]"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from checkpoint.damage import NORM, SINGLE, Damaged, joined
from fp8ref.checkpoint import Checkpoint
from fp8ref.checkpoint.safetensors import DTYPES, SafetensorsFile
from fp8ref.errors import CheckpointError

Refuses = Callable[..., None]


def test_a_sound_checkpoint_opens(opens: Callable[[Path], object], tiny: Damaged) -> None:
    opens(tiny.folder)
    opens(tiny.save())  # taken apart and put together again


def test_empty_file(refuses: Refuses, tiny: Damaged) -> None:
    tiny.file.write_bytes(b"")
    refuses(tiny.folder, SINGLE)


def test_file_shorter_than_the_length(refuses: Refuses, tiny: Damaged) -> None:
    tiny.file.write_bytes(b"\x10\0\0")
    refuses(tiny.folder, SINGLE)


@pytest.mark.parametrize("length", [10**6, 2**31, 2**63, 2**64 - 1, 2**64 - 8])
def test_header_beyond_the_file(refuses: Refuses, tiny: Damaged, length: int) -> None:
    raw = tiny.file.read_bytes()
    tiny.file.write_bytes(length.to_bytes(8, "little") + raw[8:])
    refuses(tiny.folder, SINGLE, "header")


@pytest.mark.parametrize("length", [0, 1])
def test_header_too_short(refuses: Refuses, tiny: Damaged, length: int) -> None:
    raw = tiny.file.read_bytes()
    tiny.file.write_bytes(length.to_bytes(8, "little") + raw[8:])
    refuses(tiny.folder, SINGLE, "header")


@pytest.mark.parametrize("kept", [-1, -100, 9, 200])
def test_truncated_file(refuses: Refuses, tiny: Damaged, kept: int) -> None:
    tiny.file.write_bytes(tiny.file.read_bytes()[:kept])
    refuses(tiny.folder, SINGLE)


def test_bytes_behind_the_last_tensor(refuses: Refuses, tiny: Damaged) -> None:
    tiny.data += b"\0"
    refuses(tiny.save(), SINGLE)


@pytest.mark.parametrize(
    "header",
    [
        b"[]",
        b"{",
        b'{"a"}',
        b' {"__metadata__":{}}',
        b'\xef\xbb\xbf{"__metadata__":{}}',
        b'{"\xff":{}}',
        b'{"a":NaN}',
        b'{"a":1e5,}',
        b'{"' + b"a" * 8 + b'":{"dtype":"F32","shape":[],"data_offsets":[0,0]',
        b'{"a":' + b"[" * 10**5 + b"]" * 10**5 + b"}",
        b'{"a":' + b'{"b":' * 200 + b"1" + b"}" * 201,
        b'{"\\ud800":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}',
        b'{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}{}',
        b'{"a":{"dtype":"U8","shape":[' + b"9" * 5000 + b'],"data_offsets":[0,0]}}',
    ],
    ids=lambda header: header[:20].decode("latin-1"),
)
def test_header_is_not_sound_json(refuses: Refuses, tiny: Damaged, header: bytes) -> None:
    tiny.file.write_bytes(joined(header, b""))
    refuses(tiny.folder, SINGLE)


def test_duplicate_names(refuses: Refuses, tiny: Damaged) -> None:
    text = json.dumps(tiny.header)
    row = json.dumps({NORM: tiny.header[NORM]})[1:-1]
    tiny.file.write_bytes(joined((text[:-1] + "," + row + "}").encode(), tiny.data))
    refuses(tiny.folder, SINGLE, NORM)


def test_overlapping_offsets(refuses: Refuses, tiny: Damaged) -> None:
    row = tiny.header[NORM]
    begin, end = row["data_offsets"]
    row["data_offsets"] = [begin - 2, end - 2]
    refuses(tiny.save(), SINGLE)


def test_two_tensors_on_the_same_bytes(refuses: Refuses, tiny: Damaged) -> None:
    tiny.header["twin"] = dict(tiny.header[NORM])
    refuses(tiny.save(), SINGLE)


def test_hole_between_tensors(refuses: Refuses, tiny: Damaged) -> None:
    rows = [row for name, row in tiny.header.items() if name != "__metadata__"]
    last = max(rows, key=lambda row: row["data_offsets"][0])
    last["data_offsets"] = [offset + 2 for offset in last["data_offsets"]]
    tiny.data += b"\0\0"
    refuses(tiny.save(), SINGLE, "hole")


@pytest.mark.parametrize(
    "offsets",
    [[96, 0], [0], [0, 1, 2], "0, 96", [0.0, 96.0], [True, 96], [-96, 0], [0, 2**64], [2**63, 2**63 + 96], [0, None]],
)
def test_bad_offsets(refuses: Refuses, tiny: Damaged, offsets: Any) -> None:
    tiny.header[NORM]["data_offsets"] = offsets
    refuses(tiny.save(), SINGLE, NORM)


@pytest.mark.parametrize("shape", [[47], [96], [], [48, 0], [-48], [-1, -48], [48.0], ["48"], [True] * 6, 48, [None]])
def test_shape_that_does_not_fill_its_bytes(refuses: Refuses, tiny: Damaged, shape: Any) -> None:
    tiny.header[NORM]["shape"] = shape
    refuses(tiny.save(), SINGLE, NORM)


@pytest.mark.parametrize("shape", [[2**32, 2**32], [2**62, 4, 0, 3], [2**63, 2], [2**64 - 1], [2**31] * 40])
def test_shape_whose_size_overflows(refuses: Refuses, tiny: Damaged, shape: list[int]) -> None:
    tiny.header[NORM]["shape"] = shape
    refuses(tiny.save(), SINGLE, NORM)


@pytest.mark.parametrize("dtype", ["F7", "bf16", ""])
def test_unknown_dtype(unsupported: Refuses, tiny: Damaged, dtype: str) -> None:
    tiny.header[NORM]["dtype"] = dtype
    unsupported(tiny.save(), SINGLE, NORM)


@pytest.mark.parametrize("row", [None, 3, [], {}, {"dtype": "BF16", "shape": [48]}])
def test_incomplete_rows(refuses: Refuses, tiny: Damaged, row: Any) -> None:
    tiny.header[NORM] = row
    refuses(tiny.save(), SINGLE, NORM)


def test_unknown_key_in_a_row(refuses: Refuses, tiny: Damaged) -> None:
    tiny.header[NORM]["stride"] = [1]
    refuses(tiny.save(), SINGLE, NORM)


@pytest.mark.parametrize("metadata", [{"format": 3}, [], "pt"])
def test_metadata_that_is_not_text(refuses: Refuses, tiny: Damaged, metadata: Any) -> None:
    tiny.header["__metadata__"] = metadata
    refuses(tiny.save(), SINGLE, "__metadata__")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_does_not_hang(refuses: Refuses, tiny: Damaged) -> None:
    tiny.file.unlink()
    os.mkfifo(tiny.file)
    refuses(tiny.folder, SINGLE)


def test_a_folder_in_place_of_the_file(refuses: Refuses, tiny: Damaged) -> None:
    tiny.file.unlink()
    tiny.file.mkdir()
    refuses(tiny.folder, SINGLE)


def test_random_damage_never_crashes(opens: Callable[[Path], object], tiny: Damaged) -> None:
    """Any byte may be anything: the folder opens, or it is one of our errors."""
    random = np.random.default_rng(11)
    whole = np.frombuffer(tiny.file.read_bytes(), np.uint8)
    header = 8 + int.from_bytes(whole[:8].tobytes(), "little")
    for _ in range(300):
        raw = whole.copy()
        at = random.integers(0, header, random.integers(1, 4))
        raw[at] = random.integers(0, 256, len(at)) if random.random() < 0.5 else raw[at] ^ (1 << random.integers(0, 8))
        tiny.file.write_bytes(raw.tobytes()[: None if random.random() < 0.8 else int(random.integers(0, len(raw)))])
        with contextlib.suppress(CheckpointError):
            opens(tiny.folder)


def test_tensors_are_views_of_the_file(tiny: Damaged) -> None:
    checkpoint = Checkpoint(tiny.folder)
    first, again = checkpoint.array(NORM), checkpoint.array(NORM)
    assert first.dtype == ml_dtypes.bfloat16
    assert first.__array_interface__["data"] == again.__array_interface__["data"]
    assert not first.flags.owndata and not first.flags.writeable
    del checkpoint  # the view keeps the mapping alive
    assert first.tobytes() == tiny.bytes_of(NORM)


def test_every_dtype_is_read_as_the_package_writes_it(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    random = np.random.default_rng(1)
    written = {name: np.frombuffer(random.bytes(24 * dtype.itemsize), dtype) for name, dtype in DTYPES.items()}
    written["BOOL"] = random.random(24) < 0.5
    written["scalar"], written["empty"] = np.float32(3), np.zeros((0, 5), np.float16)
    save_file({name: np.asarray(x) for name, x in written.items()}, tmp_path / "x.safetensors")
    file = SafetensorsFile(tmp_path / "x.safetensors")
    for name, x in written.items():
        got = file.array(name)
        assert got.dtype == x.dtype and got.shape == np.shape(x) and got.tobytes() == x.tobytes()
