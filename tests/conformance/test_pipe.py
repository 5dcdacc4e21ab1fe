# SPDX-License-Identifier: Apache-2.0
"""Programs at the end of a pipe: right ones pass, and whatever goes wrong is named. spec/exchange.md"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from click.testing import Result
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from fp8ref.cli import app
from fp8ref.conformance import Case, Outcome, PipeTarget, Report, TargetError, cases_of, check
from fp8ref.conformance.targets import _pipe
from fp8ref.conformance.targets._plain import TYPES, plain
from fp8ref.conformance.targets._program import Program, ProgramError
from fp8ref.table import ops
from meta.tree import ROOT

RUNNER = Path(__file__).parent / "pipe_runner.py"
EXAMPLE = ROOT / "examples" / "pipe" / "runner.cpp"


def command(defect: str, log: Path) -> str:
    return f"{sys.executable} {RUNNER} {defect} {log}"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["check", *map(str, arguments)], env={"COLUMNS": "200"})


def checked(defect: str, log: Path, limit: float = 60.0) -> Report:
    with PipeTarget(command(defect, log), limit) as target:
        return check(target, ["residual"])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


def test_a_right_program_is_started_once(log: Path) -> None:
    report = checked("none", log)
    assert report.verdict == "equal"
    assert report.results[0].checked == 8
    assert report.facts == {"command": command("none", log), "device": "none, a test"}
    assert len(log.read_text().split()) == 1


# What each defect is called in the mismatch, what the message says, and whether the program is started anew.
DEFECTS = {
    "truncates": ("", "", "goes on"),
    "leaves": (
        "ExitError",
        "ended with exit code 3; it wrote b'tensor out bfloat16 '; standard error: the last",
        "anew",
    ),
    "killed": ("ExitError", "expected 'result 4', 'unsupported 4 WHY' or .* was ended by SIGKILL", "anew"),
    "garbage": ("ProtocolError", "expected 'result 4', .*got 'Hello, world'", "anew"),
    "flood": ("ProtocolError", "got a line of more bytes: b'xxx", "anew"),
    "number": ("ProtocolError", "expected 'result 4', .*got 'result 5'", "anew"),
    "few_bytes": ("ProtocolError", "expected a newline after the 8192 bytes of tensor out of result 4", "anew"),
    "many_bytes": ("ProtocolError", "expected a newline after the 8192 bytes of tensor out of result 4", "anew"),
    "count": ("ProtocolError", "expected 1 sizes and 8192 bytes, got 'tensor out bfloat16 8194 1", "goes on"),
    "type": ("", "", "goes on"),
    "unknown_type": ("ProtocolError", "expected a type out of float8_e4m3fn, .*got 'tensor out float99", "goes on"),
    "shape": ("", "", "goes on"),
    "other_output": ("", "", "goes on"),
    "no_output": ("", "", "goes on"),
    "fails": ("RunnerError", "illegal memory access", "goes on"),
}


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_a_mismatch_of_its_case(defect: str, log: Path) -> None:
    error, message, after = DEFECTS[defect]
    report = checked(defect, log)
    failed = report.results[0].mismatches
    assert report.verdict == "differs"
    assert "subnormal" in {mismatch.case for mismatch in failed}
    if defect != "truncates":
        assert len(failed) == 1
    if error:
        assert re.search(f"^{error}: .*{message}", failed[0].got), failed[0].got
    assert len(log.read_text().split()) == (2 if after == "anew" else 1)


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        ("silent", "expected 'result 1'"),
        ("fewer_bytes", "expected 8192 bytes and a newline of tensor out of result 1, got"),
    ],
)
def test_time_is_limited_and_then_nobody_waits_again(defect: str, message: str, log: Path) -> None:
    case = next(case for case in cases_of("residual", "quick") if case.name == "subnormal")
    assert isinstance(case, Case)
    outcomes = []
    with PipeTarget(command(defect, log), 0.3) as target:
        for _ in range(_pipe.TIMEOUTS + 2):
            target.begin("residual/subnormal")
            outcomes.append(target.call("residual", case.arguments))
    assert [outcome.error for outcome in outcomes] == ["TimeoutError"] * _pipe.TIMEOUTS + ["ExitError"] * 2
    assert message in outcomes[0].message
    assert "within 0.3 s" in outcomes[0].message
    assert "not asked" in outcomes[-1].message


def test_what_it_says_to_people_reaches_them(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checked("leaves", log)
    assert "the last words\n" in capsys.readouterr().err


def test_refusals_are_counted_and_no_failure(log: Path) -> None:
    report = checked("refuses", log)
    assert report.verdict == "equal"
    assert report.results[0].unsupported == {"not on a Monday": 1}


@pytest.mark.parametrize(
    ("defect", "message"),
    [
        (
            "no_handshake",
            "no handshake: expected 'fp8ref-pipe 1', but the program ended with exit code 0; standard error",
        ),
        ("greeting", "expected 'fp8ref-pipe 1', got 'fp8ref-pipe 2'"),
        ("handshake", "expected 'functions', 'fact', 'threads' or 'end', got 'hello'"),
        ("unknown_function", "unknown function 'nothing'"),
    ],
)
def test_who_does_not_shake_hands_is_not_checked(defect: str, message: str, log: Path) -> None:
    with pytest.raises(TargetError, match=re.escape(message)):
        PipeTarget(command(defect, log))


@pytest.mark.parametrize("words", ["./no-such-program", "", "'unbalanced"])
def test_a_command_that_cannot_start_is_misuse(words: str) -> None:
    with pytest.raises(TargetError, match="pipe"):
        PipeTarget(words)


def test_exit_codes(log: Path) -> None:
    assert run("residual", "--pipe", command("none", log)).exit_code == 0
    for defect in ("truncates", "leaves", "number"):
        done = run("residual", "--pipe", command(defect, log))
        assert done.exit_code == 1, defect
        assert "  subnormal, " in done.output or defect == "truncates"
    assert run("residual", "--pipe", command("silent", log), "--timeout", "0.5").exit_code == 1
    assert run("residual", "--pipe", "./no-such-program").exit_code == 2
    assert run("linear", "--pipe", command("none", log)).exit_code == 2  # not among its functions
    assert run("residual", "--pipe", command("none", log), "--target", "a:b").exit_code == 2


def test_neither_side_waits_for_the_other_to_read(log: Path) -> None:
    """16 MB in and out, and the answer is written before the case is read."""
    x = np.ones(1 << 23, ml_dtypes.bfloat16)
    with PipeTarget(command("early", log), 60.0) as target:
        for _ in range(2):
            target.begin("residual/large")
            outcome = target.call("residual", {"x": x, "y": x})
            assert outcome.error == ""
            assert outcome.arrays["out"].shape == x.shape


def test_threads_are_set_by_the_variable_of_the_handshake(log: Path) -> None:
    with PipeTarget(command("threads", log)) as target:
        assert target.set_threads(3) == ""
        assert target.facts()["threads"] == "3"
    with PipeTarget(command("none", log)) as target:
        assert target.set_threads(3) == "the program names no variable for its threads"


def test_interrupting_ends_the_program(log: Path) -> None:
    check_it = [sys.executable, "-m", "fp8ref", "check", "residual", "--pipe", command("silent", log)]
    process = subprocess.Popen(check_it, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not (log.exists() and log.read_text().endswith("\n")):
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text()), 0)


def _lines(function: str, name: str, arguments: dict[str, object]) -> list[str]:
    """The lines of a case. Its parts: texts and numbers; a line, bytes and a newline for each tensor; the end."""
    parts = list(map(bytes, _pipe._message(1, plain(function, arguments), name)))
    return b"".join([*parts[:1], *parts[1:-1:3], *parts[-1:]]).decode().splitlines()


def test_the_page_shows_what_is_sent() -> None:
    case = next(case for case in cases_of("scaled_mm", "quick") if case.name == "5x7x31/rows/exact/bfloat16")
    text = (ROOT / "spec" / "exchange.md").read_text(encoding="utf-8")
    shown = [line[2:] for line in text.splitlines() if line.startswith("> ") and not line.startswith("> (")]
    assert isinstance(case, Case)
    assert shown == ["fp8ref-pipe 1", *_lines(case.function, case.name, dict(case.arguments))]


def test_numbers_and_mappings_are_lines() -> None:
    scaling = {"factor": 3.7, "original_max_position_embeddings": 1000}
    lines = _lines("rope_frequencies", "", {"head_dim": 64, "base": 1e-5, "scaling": scaling})
    assert lines == [
        "case 1 rope_frequencies",
        "number head_dim 64",
        "number base 1e-05",
        "number scaling.factor 3.7",
        "number scaling.original_max_position_embeddings 1000",
        "end",
    ]
    x = np.zeros((1, 2), ml_dtypes.bfloat16)
    assert _lines("rmsnorm", "", {"x": x, "weight": None, "eps": float("inf")})[1] == "number eps inf"


def test_every_case_has_types_that_are_exchanged() -> None:
    """Of those that golden does not refuse. [PIPE-BITS]"""
    for op in ops():
        for case in cases_of(op.stem, "quick"):
            if isinstance(case, Case) and "error" not in case.name:
                tensors = plain(case.function, case.arguments).tensors
                assert {tensor.dtype.name for tensor in tensors.values()} <= set(TYPES), case.name


class Recorded(Program):
    """What a program would have written, without one."""

    def __init__(self, said: bytes) -> None:
        self._held, self._last = bytearray(said), deque()

    def _more(self, expected: str) -> None:
        raise ProgramError("ExitError", f"expected {expected}")


RIGHT = b"result 7\ntensor out float32 8 2 1 2\n" + bytes(8) + b"\nend\n"
HUGE = b"result 7\ntensor out float32 0 3 0 99999999999999999999 99999999999999999999\n\nend\n"
RANKS = b"result 7\ntensor out float32 4 99" + b" 1" * 99 + b"\n" + bytes(4) + b"\nend\n"


@pytest.mark.parametrize("said", [HUGE, RANKS], ids=["sizes", "ranks"])
def test_arrays_that_cannot_be(said: bytes) -> None:
    assert _pipe._answer(Recorded(said), 7, "residual").error == "ProtocolError"


@given(st.data())
def test_any_answer_is_an_outcome_or_a_broken_protocol(data: st.DataObject) -> None:
    """A right answer with some bytes cut out, put in or changed."""
    assert _pipe._answer(Recorded(RIGHT), 7, "residual").arrays["out"].shape == (1, 2)
    said = bytearray(RIGHT)
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(said)))
        end = data.draw(st.integers(start, min(start + 5, len(said))))
        said[start:end] = data.draw(
            st.binary(max_size=4) | st.sampled_from([b" ", b"\n", b"9" * 20, b"end\n", b"tensor "])
        )
    with contextlib.suppress(ProgramError):
        assert isinstance(_pipe._answer(Recorded(bytes(said)), 7, "residual"), Outcome)


def _built(folder: Path, old: str = "", new: str = "") -> Path:
    """The example, perhaps with a defect, outside of the tree."""
    compiler = shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    text = EXAMPLE.read_text(encoding="utf-8")
    assert old in text
    source, program = folder / "runner.cpp", folder / "runner"
    source.write_text(text.replace(old, new, 1) if old else text, encoding="utf-8")
    flags = ["-std=c++17", "-O1", "-ffp-contract=off", "-Wall", "-Wextra", "-Wpedantic", "-Werror"]
    subprocess.run([compiler, *flags, str(source), "-o", str(program)], check=True, timeout=120)
    return program


def test_a_program_without_python_passes(tmp_path: Path) -> None:
    done = run("scaled_mm", "--pipe", _built(tmp_path))
    assert done.exit_code == 0, done.output
    assert "equal" in done.output


@pytest.mark.outside
def test_a_program_with_torch_alone_passes() -> None:
    pytest.importorskip("torch")
    done = run("scaled_mm", "--pipe", f"{sys.executable} {EXAMPLE.parent / 'runner_torch.py'}")
    assert done.exit_code == 0, done.output


CPP_DEFECTS = {
    "truncates": ("std::nearbyint(", "std::trunc("),
    "bias_rounded_apart": ("std::fma(number(a_scale, m), y, ", "std::fma(1.0f, number(a_scale, m) * y, "),
    "wrong_scale": ("number(b_scale, n) * dot", "number(a_scale, m) * dot"),
}


@pytest.mark.parametrize(
    "defect", [name if name == "truncates" else pytest.param(name, marks=pytest.mark.slow) for name in CPP_DEFECTS]
)
def test_a_program_with_a_defect_fails(tmp_path: Path, defect: str) -> None:
    with PipeTarget(str(_built(tmp_path, *CPP_DEFECTS[defect]))) as target:
        report = check(target, ["scaled_mm"])
    assert report.verdict == "differs"
    assert not any(mismatch.output == "error" for mismatch in report.results[0].mismatches)


def test_calls_without_a_case_have_no_name(log: Path) -> None:
    """Invariances ask for inputs that no case has."""
    x = np.ones((2, 3), ml_dtypes.bfloat16)
    with PipeTarget(command("none", log)) as target:
        outcome = target.call("residual", {"x": x, "y": x})
    assert isinstance(outcome, Outcome)
    assert outcome.error == "ExitError"  # this runner wants a name
