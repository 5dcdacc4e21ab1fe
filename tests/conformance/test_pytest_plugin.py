# SPDX-License-Identifier: Apache-2.0
"""The pytest plugin: a test for each case, reasons at the end; nothing where it is not asked. [REPORT-PYTEST]"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

import pytest

import fp8ref
from conformance.defective import ENVIRONMENT
from fp8ref.conformance import CallableTarget, check
from fp8ref.conformance.targets._open import OPENERS
from fp8ref_pytest import KINDS
from meta.tree import ROOT

KERNELS = (
    "import fp8ref\n"
    "__version__ = '7.1'\n"
    "def scaled_mm(a, b, a_scale, b_scale, bias=None, out_dtype='bfloat16'):\n"
    "    if bias is not None:\n"
    "        raise NotImplementedError('no bias')\n"
    "    y = fp8ref.scaled_mm(a, b, a_scale, b_scale, out_dtype=out_dtype)\n"
    "    y[:, 64:] = 0\n"
    "    return y\n"
    "def residual(x, y):\n"
    "    return fp8ref.residual(x, y)\n"
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Somebody's project, with a test of its own."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "mykernels.py").write_text(KERNELS, encoding="utf-8")
    (folder / "test_own.py").write_text("def test_own():\n    pass\n", encoding="utf-8")
    (folder / "known.txt").write_text("scaled_mm/1x65x64/* # the tile\nscaled_mm/5x7*\n", encoding="utf-8")
    return folder


# An installed package has the entry point, the source tree has not; twice would be an error.
PLUGIN = () if entry_points(group="pytest11", name="fp8ref") else ("-p", "fp8ref_pytest")


def _pytest(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=120, cwd=folder, env=ENVIRONMENT
    )


def _outcomes(path: Path) -> dict[str, str]:
    """Test name to passed, failure or skipped."""
    cases = ElementTree.parse(path).getroot().iter("testcase")
    return {case.get("name", ""): case[0].tag if len(case) else "passed" for case in cases}


def test_a_test_for_each_case(project: Path) -> None:
    """The same cases with the same outcomes as ``fp8ref check`` has them."""
    done = _pytest(
        project, "--fp8ref-target", "mykernels:scaled_mm", "--fp8ref-xfails", "known.txt", "--junitxml", "r.xml"
    )
    assert done.returncode == 1, done.stderr
    assert "fp8ref 0.1.0: target mykernels:scaled_mm, contract defaults, level quick" in done.stdout
    assert "version 7.1" in done.stdout
    spec = importlib.util.spec_from_file_location("mykernels", project / "mykernels.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (result,) = check(CallableTarget({"scaled_mm": module.scaled_mm}), xfails=["scaled_mm/1x65x64/*"]).results
    states = {"equal": "passed", "differs": "failure", "unsupported": "skipped", "expected": "skipped"}
    assert _outcomes(project / "r.xml") == {f"scaled_mm/{case.case}": states[case.state] for case in result.ran}
    assert {case.state for case in result.ran} == set(states)  # all of them occur
    first = result.mismatches[0]
    assert f"out[{', '.join(map(str, first.index))}]: expected {first.expected}, got {first.got}" in done.stdout
    assert first.operands[0] in done.stdout
    assert "Traceback" not in done.stdout
    assert f"scaled_mm: {len(result.mismatches)} of {result.cases} cases differ" in done.stdout
    for reason in result.reasons:
        assert f"  {reason.kind}: " in done.stdout
    assert "stale xfail scaled_mm/5x7*: all its cases pass" in done.stdout


def test_cases_can_be_chosen_and_paths_are_collected_too(project: Path) -> None:
    options = (
        "--fp8ref-target",
        "mykernels",
        "--fp8ref-ops",
        "residual",
        "--fp8ref-contract",
        "exact",
        "--junitxml",
        "s.xml",
    )
    assert _pytest(project, *options, "test_own.py").returncode == 0
    (result,) = check(CallableTarget({"residual": fp8ref.residual})).results
    assert set(_outcomes(project / "s.xml")) == {"test_own", *(f"residual/{case.case}" for case in result.ran)}
    assert _pytest(project, *options, "-k", "special").returncode == 0
    assert _outcomes(project / "s.xml") == {"residual/special": "passed"}
    assert _pytest(project, *options, "--fp8ref-cases", "*special*").returncode == 0
    assert _outcomes(project / "s.xml") == {"residual/special": "passed"}


@pytest.mark.slow
def test_processes_of_xdist_report_home(project: Path) -> None:
    pytest.importorskip("xdist", reason="pytest-xdist is not installed")
    (project / "two.txt").write_text("scaled_mm/1x65x64/rows/* # the tile\nscaled_mm/1x1x1/*\n", encoding="utf-8")
    options = ("--fp8ref-target", "mykernels:scaled_mm", "--fp8ref-xfails", "two.txt")
    one, two = (_pytest(project, *options, *more) for more in ((), ("-n", "2")))
    for line in ("cases differ", "stale xfail scaled_mm/1x1x1"):
        found = [next(words for words in done.stdout.splitlines() if line in words) for done in (one, two)]
        assert found[0] == found[1]
    counts = [done.stdout.splitlines()[-1].strip("= ").split(" in ")[0] for done in (one, two)]
    assert counts[0] == counts[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--fp8ref-target", "absent:f"), "No module named 'absent'"),
        (("--fp8ref-target", "mykernels", "--fp8ref-contract", "magic"), "unknown contract 'magic'"),
        (("--fp8ref-target", "mykernels", "--fp8ref-ops", "quantize"), "unknown op 'quantize'"),
        (("--fp8ref-target", "mykernels", "--fp8ref-xfails", "absent.txt"), "absent.txt"),
        (("--fp8ref-target", "mykernels", "--fp8ref-backend", "cpu"), "one target is needed"),
    ],
)
def test_misuse_is_a_usage_error(project: Path, arguments: tuple[str, ...], message: str) -> None:
    done = _pytest(project, *arguments)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_nothing_is_loaded_where_nothing_is_asked(project: Path) -> None:
    (project / "test_modules.py").write_text(
        "import sys\n"
        "def test_modules():\n"
        "    assert 'fp8ref_pytest' in sys.modules\n"
        "    assert not {'numpy', 'fp8ref', 'rich', 'jinja2'} & set(sys.modules)\n",
        encoding="utf-8",
    )
    done = _pytest(project, "-q", "test_modules.py", "test_own.py")
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    assert "fp8ref" not in done.stdout


def test_the_plugin_imports_nothing() -> None:
    """Beyond what a bare interpreter has: it is imported by every pytest of the environment."""
    program = "import sys; before = set(sys.modules); import fp8ref_pytest; print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=ENVIRONMENT)
    roots = {name.split(".")[0] for name in done.stdout.split()}
    assert {root for root in roots if root not in sys.stdlib_module_names} == {"fp8ref_pytest"}


def test_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["entry-points"]["pytest11"] == {"fp8ref": "fp8ref_pytest"}
    assert set(OPENERS) <= set(KINDS)
