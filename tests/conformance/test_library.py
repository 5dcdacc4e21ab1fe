# SPDX-License-Identifier: Apache-2.0
"""C libraries through ``--library``: the example, built with the header alone, and what libraries do wrong.

Each defect is the example with a line changed. [ABI-PROCESS] [ABI-MEMORY] [ABI-OUTPUTS] [ABI-STATUS]
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import fp8ref
from fp8ref.conformance import LibraryTarget, Outcome, TargetError, cases_of, check
from fp8ref.conformance.cases import Case
from fp8ref.conformance.targets import BackendTarget
from fp8ref.conformance.targets._outputs import outputs_of
from fp8ref.table import ops
from meta.tree import ROOT

EXAMPLE = ROOT / "examples" / "c_library" / "scaled_mm.c"
COMPILER = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

FIRST = "  (void)split_k, "  # the first line of the function
LAST = "  return FP8REF_OK;"
ROWS = "i < m;"


def build(folder: Path, *changes: tuple[str, str]) -> Path:
    """The example with these changes, built where nothing of the project is but a copy of the header."""
    source = EXAMPLE.read_text(encoding="utf-8")
    for old, new in changes:
        assert source.count(old) == 1, old
        source = source.replace(old, new)
    (folder / "fp8ref").mkdir(exist_ok=True)
    shutil.copy(fp8ref.include_folder() / "fp8ref" / "fp8ref.h", folder / "fp8ref")
    (folder / "scaled_mm.c").write_text(source, encoding="utf-8")
    flags = ("-std=c99", "-O2", "-ffp-contract=off", "-shared", "-fPIC", "-I.")
    warnings = () if changes else ("-Wall", "-Wextra", "-Wpedantic", "-Werror")
    subprocess.run([str(COMPILER), *flags, *warnings, "-o", "libx.so", "scaled_mm.c", "-lm"], cwd=folder, check=True)
    return folder / "libx.so"


def command(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """``fp8ref check`` in that folder."""
    path = os.pathsep.join([str(Path(fp8ref.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    words = [sys.executable, "-m", "fp8ref", "check", *options]
    environment = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120)


def arguments(m: int = 5, n: int = 7, k: int = 40, **more: Any) -> dict[str, Any]:
    """Operands of scaled_mm with a scale for each row."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 0x78, (rows, k), np.uint8) for rows in (m, n))
    a_scale, b_scale = (rng.uniform(0.5, 2, (rows, 1)).astype(np.float32) for rows in (m, n))
    return {"a": a, "b": b, "a_scale": a_scale, "b_scale": b_scale, **more}


def bits_of(array: Any) -> bytes:
    return np.ascontiguousarray(array).tobytes()


def call(library: Path, timeout: float = 20.0, **more: Any) -> Outcome:
    """scaled_mm once."""
    with LibraryTarget.load(library, timeout=timeout) as target:
        return target.call("scaled_mm", arguments(**more))


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if COMPILER is None:
        pytest.skip("no C compiler")
    return build(tmp_path_factory.mktemp("example"))


# ---- the example -----------------------------------------------------------------------------------------------------


def test_the_example_is_right_to_the_bit(example: Path) -> None:
    done = command(example.parent, "scaled_mm", "--library", "./libx.so", "--json", "-")
    assert done.returncode == 0, done.stdout + done.stderr
    row = json.loads(done.stdout)["ops"][0]
    assert row["differing"] == 0
    assert row["elements"] > 10_000


@needs_compiler
def test_truncation_is_a_mismatch_of_bits(tmp_path: Path) -> None:
    build(tmp_path, ("(bits + 0x7FFF + ((bits >> 16) & 1)) >> 16", "bits >> 16"))
    done = command(tmp_path, "scaled_mm", "--library", "./libx.so", "--cases", "*/[a-d]*")
    assert done.returncode == 1, done.stdout + done.stderr


def test_what_it_does_not_compute_is_unsupported(example: Path) -> None:
    with LibraryTarget.load(example) as target:
        assert target.functions() == ("scaled_mm",)
        assert target.facts() == {"abi": "2", "version": "example 1"}
        assert target.call("scaled_mm", arguments(epilogue="b_a")).unsupported == "FP8REF_UNSUPPORTED"
        assert target.set_threads(2) == "the library has no fp8ref_set_threads"
        for given in (arguments(), arguments(bias=np.ones(7, np.float32)), arguments(m=0), arguments(k=0)):
            for out_dtype in ("bfloat16", "float16", "float32"):
                outcome = target.call("scaled_mm", {**given, "out_dtype": out_dtype})
                expected = fp8ref.scaled_mm(**given, out_dtype=out_dtype)
                assert outcome.arrays["out"].dtype == expected.dtype
                assert bits_of(outcome.arrays["out"]) == bits_of(expected)
        refused = target.call("scaled_mm", {**arguments(), "b": np.zeros((7, 41), np.uint8)})
        assert refused.error == "OpError"


# ---- what libraries do wrong -----------------------------------------------------------------------------------------

# Lines at the start and at the end of the function, the error, and its message.
DEFECTS = {
    "crash": ("*(volatile int*)8 = 0;", "", "crash", "the library crashed (signal 11, SIGSEGV)"),
    "abort": ("abort();", "", "crash", "the library crashed (signal 6, SIGABRT)"),
    "exit": ("exit(3);", "", "crash", "the library ended the process (exit code 3)"),
    "past_the_end": ("", "store(out, m * n, 1);", "out of bounds", "out: 2 bytes written past its end"),
    "before_the_start": ("", "store(out, -1, 1);", "out of bounds", "out: 2 bytes written before its start"),
    "far_past": ("", "store(out, m * n + 20000, 1);", "out of bounds", "out: 2 bytes written past its end"),
    "input": ("", "((uint8_t*)b->data)[0] ^= 1;", "input changed", "b"),
    "error": ("return FP8REF_ERROR;", "", "FP8REF_ERROR", "no memory"),
    "status": ("return 17;", "", "status 17", "no memory"),
    "rows": ("", "", "not written", "7 of 35 elements of out, the first at (4, 0)"),
    "nothing": ("return FP8REF_OK;", "", "not written", "35 of 35 elements of out, the first at (0, 0)"),
}
LAST_ERROR = '\nconst char* fp8ref_last_error(void) { return "no memory"; }\n'


@needs_compiler
@pytest.mark.parametrize("name", DEFECTS)
def test_what_a_library_does_wrong_is_said(name: str, tmp_path: Path) -> None:
    first, last, error, message = DEFECTS[name]
    library = build(
        tmp_path,
        ("#include <math.h>\n", "#include <math.h>\n#include <stdlib.h>\n" + LAST_ERROR),
        (FIRST, f"  if (k_of(a) == 40) {{ {first} }}\n{FIRST}"),
        ("fp8ref_status fp8ref_scaled_mm(", "static int64_t k_of(const fp8ref_tensor* x) { return x->shape[1]; }\n"
         "fp8ref_status fp8ref_scaled_mm("),
        (LAST, f"  if (k == 40) {{ {last} }}\n{LAST}"),
        (ROWS, "i < m - (k == 40);" if name == "rows" else ROWS),
    )  # fmt: skip
    with LibraryTarget.load(library, timeout=20.0) as target:
        outcome = target.call("scaled_mm", arguments())
        assert (outcome.error, outcome.message) == (error, message)
        # The next case is asked as if nothing had been.
        after = target.call("scaled_mm", arguments(k=39))
        assert bits_of(after.arrays["out"]) == bits_of(fp8ref.scaled_mm(**arguments(k=39)))


@needs_compiler
def test_a_library_that_hangs_is_given_up(tmp_path: Path) -> None:
    library = build(tmp_path, (FIRST, "  for (volatile int i = 0; epilogue[0] == 'b';) (void)i;\n" + FIRST))
    with LibraryTarget.load(library, timeout=0.3) as target:
        found = [target.call("scaled_mm", arguments(epilogue="b_a")) for _ in range(3)]
        assert {(o.error, o.message) for o in found} == {("timeout", "no answer within 0.3 s")}
        start = time.perf_counter()
        assert target.call("scaled_mm", arguments()).message == "not called: no answer 3 times before"
        assert time.perf_counter() - start < 0.2


@needs_compiler
def test_a_crash_is_a_mismatch_of_its_case_only(tmp_path: Path) -> None:
    library = build(tmp_path, (FIRST, "  if (a->shape[0] == 0) *(volatile int*)8 = 0;\n" + FIRST))
    with LibraryTarget.load(library, timeout=20.0) as target:
        (result,) = check(target, ["scaled_mm"], pattern="scaled_mm/[0-9]*").results
    assert 0 < len(result.mismatches) < result.cases / 4
    assert {m.got for m in result.mismatches} == {"crash: the library crashed (signal 11, SIGSEGV)"}


@needs_compiler
def test_what_a_library_prints_is_not_in_the_report(tmp_path: Path) -> None:
    build(
        tmp_path,
        ("#include <math.h>\n", "#include <math.h>\n#include <stdio.h>\n"),
        (FIRST, '  puts("here");\n' + FIRST),
    )
    done = command(tmp_path, "scaled_mm", "--library", "./libx.so", "--json", "-", "--cases", "*/1*")
    assert json.loads(done.stdout)["equal"] is True
    assert "here" not in done.stdout


# ---- misuse ----------------------------------------------------------------------------------------------------------


def refused(path: Path, *functions: str) -> str:
    with pytest.raises(TargetError) as error:
        LibraryTarget.load(path, functions, timeout=20.0)
    return str(error.value)


def test_no_such_file(tmp_path: Path) -> None:
    assert "no such file" in refused(tmp_path / "libx.so")


def test_no_library(tmp_path: Path) -> None:
    (tmp_path / "libx.so").write_text("text", encoding="utf-8")
    assert "cannot be loaded" in refused(tmp_path / "libx.so")


@needs_compiler
def test_missing_functions(tmp_path: Path, example: Path) -> None:
    assert "has none of these: fp8ref_quantize" in refused(example, "quantize")
    library = build(tmp_path, ("fp8ref_status fp8ref_scaled_mm(", "fp8ref_status other_scaled_mm("))
    assert "has none of these: fp8ref_encode, " in refused(library)
    done = command(tmp_path, "scaled_mm", "--library", "./libx.so")
    assert done.returncode == 2  # misuse
    assert "has none of these: fp8ref_scaled_mm" in done.stderr


@needs_compiler
def test_another_version_of_the_abi(tmp_path: Path) -> None:
    assert "of ABI version 3, this is version 2" in refused(
        build(tmp_path, ("return FP8REF_ABI_VERSION;", "return 3;"))
    )


@needs_compiler
def test_functions_that_have_changed_are_not_asked_of_an_older_library(tmp_path: Path) -> None:
    """What does not say its version is of the first, which had another fp8ref_rope."""
    rope = """fp8ref_status fp8ref_rope(const fp8ref_tensor* x, const fp8ref_tensor* cos, const fp8ref_tensor* sin,
                                        const char* layout, fp8ref_tensor* out) { return FP8REF_ERROR; }
              int32_t other_abi_version("""
    library = build(tmp_path, ("int32_t fp8ref_abi_version(", rope))
    with LibraryTarget.load(library) as target:
        assert target.facts()["abi"] == "1"
        assert target.functions() == ("scaled_mm",)
    assert "of ABI version 1, this is version 2" in refused(library, "rope")


@needs_compiler
def test_a_library_that_crashes_while_it_is_loaded(tmp_path: Path) -> None:
    start = "__attribute__((constructor)) static void start(void) { *(volatile int*)8 = 0; }\n"
    text = refused(build(tmp_path, ("static int is_nan(", start + "static int is_nan(")))
    assert "while it was loaded: the library crashed (signal 11, SIGSEGV)" in text


# ---- shapes and arguments --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("op", [op for op in ops() if op.functions], ids=lambda op: op.stem)
def test_outputs_have_golden_shapes_and_types(op: Any) -> None:
    golden = BackendTarget("golden")
    checked = set()
    for i, case in enumerate(cases_of(op.stem, "quick")):
        if isinstance(case, Case) and (i % 23 == 0 or case.function not in checked):
            outcome = golden.run(case)
            if not outcome.error:
                found = {name: (array.shape, array.dtype) for name, array in outcome.arrays.items()}
                assert outputs_of(case.function, case.arguments) == found, case.name
                checked.add(case.function)
    assert checked == set(op.functions)


def test_rows_of_no_expert_are_the_callers() -> None:
    """[ABI-ROWS]: they hold +0, or what Python's ``out`` holds; the others are to be written."""
    from fp8ref.conformance.targets._library import _initial

    given = {"offsets": np.array([1, 3])}
    dtype = np.dtype(ml_dtypes.bfloat16)
    rows = _initial("grouped_mm", (4, 2), dtype, given, 0xA5).view(np.uint16).tolist()
    assert rows == [[0, 0], [0xA5A5] * 2, [0xA5A5] * 2, [0, 0]]
    out = np.ones((4, 2), ml_dtypes.bfloat16)
    rows = _initial("grouped_mm", (4, 2), dtype, {**given, "out": out}, 0xA5).view(np.uint16).tolist()
    assert rows == [[0x3F80] * 2, [0xA5A5] * 2, [0xA5A5] * 2, [0x3F80] * 2]


@needs_compiler
def test_the_kernel_of_the_examples_page(tmp_path: Path) -> None:
    """The code of its README compiles, and is right around a kernel that is."""
    page = (EXAMPLE.parent / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    signature = " ".join(re.search(r"`(void my_gemm\([^`]*)`", page)[1].split())  # type: ignore[index]
    kernel = EXAMPLE.read_text(encoding="utf-8").split("static void store(")[0]
    body = (
        "{ for (int i = 0; i < m; ++i) for (int j = 0; j < n; ++j)"
        " out[i * n + j] = to_bfloat16(a_scale * (b_scale * dot(a + i * k, b + j * k, k))); (void)to_float16; }"
    )
    (tmp_path / "my_gemm.h").write_text(f"{kernel}\nstatic {signature} {body}\n", encoding="utf-8")
    library = build(tmp_path, (EXAMPLE.read_text(encoding="utf-8"), code))
    with LibraryTarget.load(library, timeout=20.0) as target:
        (result,) = check(target, ["scaled_mm"], pattern="scaled_mm/[0-9]*").results
        one = arguments(a_scale=np.float32(0.5), b_scale=np.float32(3))
        assert bits_of(target.call("scaled_mm", one).arrays["out"]) == bits_of(fp8ref.scaled_mm(**one))
    assert result.equal
