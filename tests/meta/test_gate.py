# SPDX-License-Identifier: Apache-2.0
"""The GPU gate without a GPU: its record stays whole, what fails is named, and every item's arguments are right.

The last is shown with the cpu backend in the place of cuda and small shapes in the place of large ones.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import fp8ref
from fp8ref.golden.llama import LlamaConfig
from gpu import arrays, gate, gate_record
from gpu.gate import Part, Settings, run_parts
from gpu.gate_record import Record, failures, summary
from meta.tree import ROOT

GATE = ROOT / "tests" / "gpu" / "gate.py"
FAKE = """
import os, time
import model  # of the tests' folder, not of the gate's
assert not hasattr(model, "CONFIG")

def _row(op, differ):
    return "conformance", {"op": op, "shape": "1", "elements": 10, "differ": differ}

def _good():
    yield _row("good", 0)

def _raises():
    yield _row("before", 0)
    raise ValueError("no such thing")

def _dies():
    os._exit(139)

def _hangs():
    time.sleep(60)
    yield _row("never", 0)

def items(settings):
    if settings.level == "hangs":
        return {"hangs": _hangs, "after": _good}
    return {"good": _good, "raises": _raises, "dies": _dies, "after": _good}
"""


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return Record(
        tmp_path / "records" / "gpu.json", gpu="a GPU", driver="1", cuda="2", commit="0" * 40, date="2026-01-01"
    )


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Of a part called fake, whose module lies beside the others' in the namespace package."""
    folder = tmp_path / "extra" / "gpu"
    folder.mkdir(parents=True)
    (folder / "part_fake.py").write_text(FAKE, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", str(folder.parent))
    monkeypatch.setattr(gate, "PARTS", {"fake": 20})
    return Settings(str(tmp_path / "work"), "", "quick", "90a")


def _on_disk(record: Record) -> dict[str, Any]:
    return json.loads(record.path.read_text(encoding="utf-8"))


def test_without_a_device_one_line_says_so(tmp_path: Path) -> None:
    out = tmp_path / "record.json"
    done = subprocess.run([sys.executable, str(GATE), "--out", str(out)], capture_output=True, text=True, check=False)
    if "skipped" not in done.stdout:
        pytest.skip("a CUDA device is here")
    assert done.returncode == 0
    assert done.stdout.startswith("skipped: no CUDA device")
    assert done.stdout.count("\n") == 1
    assert not out.exists()


def test_an_unknown_part_is_named() -> None:
    command = [sys.executable, str(GATE), "--parts", "probes,poetry"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "unknown part poetry; known: probes, build, kernels, conformance, torch, forward, bench" in done.stderr


def test_items_that_fail_or_die_leave_the_others(record: Record, settings: Settings) -> None:
    run_parts(["fake"], settings, record, 20)
    document = _on_disk(record)
    rows = [(row["op"], row["differ"]) for row in document["conformance"]]
    assert rows == [("good", 0), ("before", 0), ("fake", None), ("fake", None), ("good", 0)]
    assert [row.get("error") for row in document["conformance"]][2:4] == [
        "ValueError: no such thing",
        "the process ended with code 139",
    ]
    assert document["parts"]["fake"]["state"] == "complete"
    assert len(failures(document)) == 2


def test_an_item_that_hangs_leaves_the_others(
    record: Record, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "SILENCE", 8.0)
    state = Part("fake", Settings(settings.work, "", "hangs", "90a")).run(record, gate.time.monotonic() + 60)
    assert state == "complete"  # every item was begun
    rows = record.document["conformance"]
    assert [row.get("error") for row in rows] == ["nothing heard for too long", None]


def test_a_part_is_cut_when_its_time_is_over(record: Record, settings: Settings) -> None:
    state = Part("fake", Settings(settings.work, "", "hangs", "90a")).run(record, gate.time.monotonic() + 4)
    assert state in ("cut: out of time, at hangs", "cut: out of time, at its start")
    record.finish("fake", state, 4)
    assert _on_disk(record)["conformance"][-1]["error"] == "cut: out of time"


def test_a_row_without_a_field_is_refused(record: Record) -> None:
    with pytest.raises(ValueError, match="no differ"):
        record.add("conformance", {"op": "x", "shape": "1", "elements": 1})


def test_a_record_is_never_half_written(record: Record, monkeypatch: pytest.MonkeyPatch) -> None:
    record.write()
    before = record.path.read_bytes()
    record.add("bench", {"name": object(), "ours": 1, "peer": 1, "ratio": 1})
    with pytest.raises(TypeError):
        record.write()
    assert record.path.read_bytes() == before


def _fabricated(record: Record) -> dict[str, Any]:
    record.add("probes", {"id": "E1a", "expected": "0x3F000000", "measured": "0x3F000000", "held": True})
    record.add("conformance", {"op": "mma", "shape": "2x2", "elements": 4, "differ": 0})
    record.add("bench", {"name": "x", "ours": 2.0, "peer": 1.0, "ratio": 2.0, "target": 1.5})
    record.add("bench", {"name": "slow", "ours": 1.0, "peer": 2.0, "ratio": 0.5, "target": 0.8})
    record.finish("probes", "complete", 1)
    return record.document


def test_the_summary(record: Record) -> None:
    document = _fabricated(record)
    assert failures(document) == []  # speed never fails
    assert summary(document) == (
        "a GPU: 1 of 1 probes hold; 0 of 1 comparisons differ (4 elements); 1 of 2 speeds reach their target; "
        "1 of 1 parts complete"
    )


@pytest.mark.parametrize(
    ("kind", "row", "line"),
    [
        ("probes", {"id": "E2a", "expected": "0", "measured": "1", "held": False}, "probe E2a: measured 1, expected 0"),
        (
            "conformance",
            {"op": "mma", "shape": "3x3", "elements": 9, "differ": 1, "first": "; first at [0, 1]"},
            "mma 3x3: 1 of 9 differ; first at [0, 1]",
        ),
        ("bench", {"name": "y", "ours": None, "peer": None, "ratio": None, "error": "no peer"}, "bench y: no peer"),
    ],
)
def test_whatever_does_not_hold_is_a_failure(record: Record, kind: str, row: dict[str, Any], line: str) -> None:
    document = _fabricated(record)
    record.add(kind, row)
    assert failures(document) == [line]
    summary(document)


def test_a_part_that_was_cut_is_a_failure(record: Record) -> None:
    record.finish("bench", "cut: out of time, at linear", 3)
    assert failures(record.document) == ["part bench: cut: out of time, at linear"]


# ---- the bits that are compared -------------------------------------------------------------------------------------
def test_differences_are_counted_and_nans_are_equal() -> None:
    import numpy as np

    x = np.array([1.0, -0.0, np.nan, 2.0], np.float32)
    y = np.array([1.0, 0.0, -np.nan, 2.0], np.float32)
    assert arrays.differing(x, x)[:2] == (4, 0)
    assert arrays.differing(x, y) == (4, 1, "; first at [1]: 0x00000000 for 0x80000000")
    assert arrays.differing(x, y[:3])[1] == 4
    assert arrays.row("op", "4", (x, x), (x, y))[1]["differ"] == 1


def test_random_operands_are_numbers_of_many_sizes() -> None:
    import numpy as np

    for made in (arrays.codes(1, 64, 512), arrays.raw_codes(1, 64, 512)):
        words = made.view(np.uint8)
        assert not np.any(words & 0x7F == 0x7F)
        assert np.unique(words).size > 200
    assert not np.any(np.isnan(arrays.bf16(1, 64, 64).astype(np.float32)))


def test_what_a_kernel_said_becomes_rows() -> None:
    from gpu import part_kernels

    said = [
        {
            "conformance": {
                "op": "scaled_mm kernel",
                "shape": "exact, int8 tensor cores, 2x2x2",
                "elements": 4,
                "differ": 1,
            }
        },
        {"speed": {"name": "exact, int8 tensor cores, 4096x4096x4096", "rate": 2.0e14}},
    ]
    text = "\n".join(map(json.dumps, said))
    (_, first), (_, second), (_, third) = part_kernels.rows("exact, int8 tensor cores", text, 2, 50.0)
    assert first == said[0]["conformance"]
    assert (second["ours"], second["peer"], second["ratio"], second["target"]) == (200.0, 50.0, 4.0, 2.4)
    assert (third["differ"], third["error"]) == (None, "the program ended with code 2")


# ---- every item, with cpu in the place of cuda ----------------------------------------------------------------------
@pytest.fixture
def on_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The backend cuda is cpu, and torch's device too."""
    pytest.importorskip("torch")
    original = fp8ref.backend
    monkeypatch.setattr(fp8ref, "backend", lambda name: original("cpu" if name == "cuda" else name))
    monkeypatch.setattr(arrays, "DEVICE", "cpu")
    import torch

    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)


def _settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path), "", "quick", "90a")


@pytest.mark.outside
@pytest.mark.usefixtures("on_cpu")
def test_conformance_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fp8ref.conformance import runner
    from fp8ref.conformance.targets import _backend
    from gpu import part_conformance as part

    monkeypatch.setattr(part, "MM", ((7, 24, 40), (16, 8, 130)))
    monkeypatch.setattr(part, "EMULATED", (9, 8, 300))
    monkeypatch.setattr(part, "ROWS_COLUMNS", (6, 256))
    monkeypatch.setattr(part, "LINEAR", ((5, 16, 64), (1, 40, 64)))
    monkeypatch.setattr(part, "ATTENTION", {"decode": (1, 40), "chunk": (3, 20)})
    monkeypatch.setattr(part, "CHUNKED", {"chunks": (3, 20, 7)})
    monkeypatch.setattr(part, "ROUTED", ((5, 3, 2),))
    monkeypatch.setattr(part, "POSITIONS", 50)
    monkeypatch.setattr(part, "EXPERTS", ((0, 1, 5), 16, 96))
    monkeypatch.setattr(runner, "stems", lambda subject: ("residual",))
    monkeypatch.setattr(_backend, "backend", fp8ref.backend)
    found = [row for item in part.items(_settings(tmp_path)).values() for _, row in item()]
    assert {row["differ"] for row in found} == {0}
    assert {"scaled_mm", "grouped_mm", "linear", "attention", "quantize", "rmsnorm", "silu_mul", "residual", "encode",
            "sample", "rope", "rope_table", "gated_residual", "temperature", "temperature_factors", "route", "dispatch",
            "combine"} <= {row["op"] for row in found}  # fmt: skip


@pytest.mark.outside
@pytest.mark.usefixtures("on_cpu")
def test_forward_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gpu import model, part_forward

    small = {"vocab_size": 400, "hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4}
    of = model.config(2, **small, num_key_value_heads=2, head_dim=16, eos_token_id=399)
    monkeypatch.setattr(model, "config", lambda layers: of)
    found = [row for _, row in part_forward.of_8b(_settings(tmp_path), "sm90_wgmma", ("cpu", "golden"))]
    assert [(row["elements"] > 0, row["differ"]) for row in found] == [(True, 0)] * 3
    found = [row for _, row in part_forward.of_family(_settings(tmp_path), "mllama", ("cpu", "golden"))]
    assert [(row["elements"] > 0, row["differ"]) for row in found] == [(True, 0)] * 3
    assert set(part_forward.items(_settings(tmp_path))) >= {"exact", "sm90", *part_forward.MODELS}


@pytest.mark.outside
@pytest.mark.usefixtures("on_cpu")
def test_bench_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row of the benchmarks is made; that it says something true only a GPU can show."""
    from gpu import bench_experts, bench_model, model, timing
    from gpu import part_bench as part

    for name, value in {
        "CUBES": ((16, 32, 32),),
        "LLAMA": ((16, 32, 32), (16, 32, 32), (16, 32, 32)),
        "EXACT": ((16, 32, 32),),
        "EMULATED": (16, 32, 64),
        "GEMV": ((1, 32, 64),),
        "HEAD": (1, 64, 64),
        "LINEAR": (4, 16, 32),
        "EXPERT_SIZE": (32, 64),
        "EXPERT_ROWS": (512, 2),
    }.items():
        monkeypatch.setattr(part, name, value)
    monkeypatch.setattr(bench_experts, "SIZE", (7, 16))
    monkeypatch.setattr(timing, "seconds", lambda works, rounds=1: {name: _once(work) for name, work in works.items()})
    monkeypatch.setattr(timing, "copy_bandwidth", lambda: 1e9)
    monkeypatch.setattr(bench_model, "_wall", lambda work, rounds=1: _once([work]))
    monkeypatch.setattr(bench_model, "load", lambda settings, accumulate: _Loaded())
    monkeypatch.setattr(bench_model, "_transformers", lambda level, count: 1.0)
    found = [row for item in part.items(Settings(str(tmp_path), "", "whole", "90a")).values() for _, row in item()]
    assert all(set(row) >= set(gate_record.FIELDS["bench"]) for row in found)
    assert len({row["name"] for row in found}) == len(found) >= 25
    assert model.tokens(3).tolist() == model.tokens(3).tolist()


class _Loaded:
    """A model that does nothing."""

    config = LlamaConfig(
        num_attention_heads=4, num_key_value_heads=2, head_dim=8, hidden_size=32, intermediate_size=64,
        num_hidden_layers=2, vocab_size=99, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=1e4,
    )  # fmt: skip

    def generate(self, tokens: list[int], count: int) -> list[int]:
        assert len(tokens) > 0
        return [1] * count

    def reset(self) -> None:
        pass

    def forward(self, tokens: Any, logits_rows: int) -> None:
        assert tokens.ndim == 1


def _once(work: Any) -> float:
    import time

    start = time.perf_counter()
    for call in work[:1]:
        call()
    return time.perf_counter() - start + 1e-9 * (len(str(work)) % 7)


@pytest.mark.outside
@pytest.mark.usefixtures("on_cpu")
def test_torch_items(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a CPU torch has another arithmetic, which must be noticed; ours in its place must be recognised."""
    from gpu import part_torch as part

    monkeypatch.setattr(part, "SHAPES", ((16, 32, 256),))
    monkeypatch.setattr(part, "SPLITS", (2,))
    cpu = fp8ref.backend("cpu")
    assert [row["differ"] > 0 for _, row in part._scaled_mm((16, 32, 256), "row", "fast")] == [True]

    def split(a: Any, b: Any, scales: Any, speed: str) -> Any:
        return cpu.scaled_mm(a, b, *scales, accumulate=part.FAST[speed], split_k=2, epilogue="ab")

    monkeypatch.setattr(part, "_measured", split)
    ((_, row),) = part._scaled_mm((16, 32, 256), "tensor", "fast")
    assert (row["differ"], row["shape"].split(", as ")[1]) == (0, "epilogue ab, split_k 2")


def test_e18_sees_the_order_of_additions() -> None:
    """One chain of steps of 16 holds; two halves that are added at the end do not."""
    from gpu import part_torch as part

    assert part.e18(64, 0, part._chain)["held"]
    assert part.e18(64, 0, part._chain)["expected"] == "48 from 1, 32 from 16, 16 from 32, 0 from 48"
    halves = part.e18(64, 0, lambda a, b: part._chain(a[:, :32], b[:, :32]) + part._chain(a[:, 32:], b[:, 32:]))
    assert not halves["held"]
    assert "differ, first at 32" in halves["measured"]
