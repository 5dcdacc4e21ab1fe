# SPDX-License-Identifier: Apache-2.0
"""Expected failures: counted apart, stale ones named, and what the command line makes of them. [CLAIM-XFAIL]"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from conformance.defective import ENVIRONMENT, target_of
from fp8ref.conformance import Report, Xfail, XfailError, check
from fp8ref.conformance.xfails import parse_xfails, read_xfails

TILE = "last_tile_never_written"
WRONG = (
    "import fp8ref\n"
    "def residual(x, y):\n"
    "    z = fp8ref.residual(x, y)\n"
    "    z[z == 0] = 0\n"  # the sign of zero is lost
    "    return z\n"
    "def silu_mul(gate, up):\n"
    "    raise NotImplementedError('no activation')\n"
)


def _run(*xfails: str, pattern: str = "*") -> Report:
    return check(target_of(TILE), pattern=pattern, xfails=xfails)


def test_the_file() -> None:
    """[REPORT-XFAILS]"""
    text = "# a comment\n\n  a/b  \nc/* # why # indeed\n\t# another\nd/[#]#e\n"
    assert parse_xfails(text) == (Xfail("a/b"), Xfail("c/*", "why # indeed"), Xfail("d/[#]#e"))
    with pytest.raises(XfailError, match=r"known\.txt, line 2: 'scaled_mm' is no pattern"):
        parse_xfails("a/b\nscaled_mm\n", "known.txt")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(XfailError, match="absent: No such file"):
        read_xfails(tmp_path / "absent")
    (tmp_path / "odd").write_bytes(b"\xff\xfe")
    with pytest.raises(XfailError, match="odd: "):
        read_xfails(tmp_path / "odd")


def test_expected_failures_are_no_failure() -> None:
    plain = _run()
    assert plain.verdict == "differs"
    wrong = [f"scaled_mm/{m.case}" for m in plain.results[0].mismatches]
    known = _run(*wrong)
    assert known.verdict == "equal"
    assert known.stale_xfails == ()
    assert [f"scaled_mm/{m.case}" for m in known.results[0].expected_failures] == wrong
    assert known.results[0].differing == 0
    assert _run(*wrong[1:]).verdict == "differs"  # one is enough


def test_stale_ones_say_which_way() -> None:
    found = _run(
        "scaled_mm/1x65x64/*", "scaled_mm/5x7x32/*", "scaled_mm/absent", "nothing/*", "quantize/*"
    ).stale_xfails
    assert [(old.pattern, old.why) for old in found] == [
        ("scaled_mm/5x7x32/*", "no mismatch"),
        ("scaled_mm/absent", "no case"),
        ("nothing/*", "no case"),
    ]


def test_a_run_of_some_cases_leaves_the_others_alone() -> None:
    found = _run("scaled_mm/1x65x64/*", "scaled_mm/5x7x32/*", pattern="scaled_mm/5x7*").stale_xfails
    assert [old.pattern for old in found] == ["scaled_mm/5x7x32/*"]


def _fp8ref(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (folder / "wrong.py").write_text(WRONG, encoding="utf-8")
    command = [sys.executable, "-m", "fp8ref", "check", "residual", "--target", "wrong", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, cwd=folder, env=ENVIRONMENT)


def test_the_command_line(tmp_path: Path) -> None:
    """One run with every report, whose verdicts agree; then with the failures expected."""
    done = _fp8ref(
        tmp_path, "--json", "r.json", "--junit", "r.xml", "--html", "r.html", "--claim", "c.json", "--who", "me"
    )
    assert (done.returncode, done.stderr) == (1, "")
    assert "differs: 1 of 1 op differs: residual." in done.stdout
    document = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    claim = json.loads((tmp_path / "c.json").read_text(encoding="utf-8"))
    root = ElementTree.parse(tmp_path / "r.xml").getroot()
    assert document["verdict"] == claim["verdict"] == "differs"
    assert "--target wrong" in document["command"]
    assert claim["who"] == "me"
    wrong = [m["case"] for m in document["ops"][0]["mismatches"]]
    assert int(root.get("failures", "")) == len(wrong) > 0
    assert ">differs</p>" in (tmp_path / "r.html").read_text(encoding="utf-8")

    lines = [f"residual/{case} # the sign of zero" for case in wrong]
    (tmp_path / "known.txt").write_text("\n".join(lines), encoding="utf-8")
    known = _fp8ref(tmp_path, "--xfails", "known.txt", "--json", "-")
    assert (known.returncode, known.stderr) == (0, "")
    assert json.loads(known.stdout)["verdict"] == "equal"

    (tmp_path / "known.txt").write_text("\n".join([*lines, "residual/absent"]), encoding="utf-8")
    for option, code in (("warn", 0), ("fail", 1)):
        old = _fp8ref(tmp_path, "--xfails", "known.txt", "--stale-xfails", option)
        assert old.returncode == code
        assert old.stderr == "fp8ref: warning: stale xfail residual/absent: no case of this run has such a name\n"


@pytest.mark.parametrize("arguments", [("--xfails", "absent.txt"), ("--json", "-", "--junit", "-")])
def test_misuse(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = _fp8ref(tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith("fp8ref: error: ")
    assert done.stderr.count("\n") == 1
