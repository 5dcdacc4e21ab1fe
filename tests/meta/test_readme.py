# SPDX-License-Identifier: Apache-2.0
"""What README.md shows works: its first program runs, its commands are those of the CI, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from fp8ref.cli import app
from meta.tree import ROOT

TEXT = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


def _commands() -> set[str]:
    commands = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    return commands | {group.name for group in app.registered_groups if group.name}


def test_the_oracle_in_ten_lines_runs() -> None:
    (program,) = (program for program in PROGRAMS if "import ml_dtypes" in program)
    assert len([line for line in program.splitlines() if line and not line.startswith("import")]) == 9
    path = str(next(p for p in sys.path if p.endswith(("python", "site-packages"))))
    code = f"import sys; sys.path.insert(0, {path!r})\n{program}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("mark", ["check", "test"])
def test_the_ci_finds_the_two_commands(mark: str) -> None:
    (command,) = re.findall(rf"^<!-- {mark} -->\n```bash\n(.*)\n```$", TEXT, re.MULTILINE)
    assert command.startswith("python3 -m venv .venv && . .venv/bin/activate && pip install ")
    assert f"$(readme_command {mark})" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_links_lead_to_files() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", TEXT):
        assert target.startswith("https://") or (ROOT / target).is_file(), target


def test_commands_that_are_shown_exist() -> None:
    shown = set(re.findall(r"fp8ref ([a-z-]+)", "\n".join(re.findall(r"```bash\n(.*?)```|`(fp8ref .*?)`", TEXT)[0])))
    shown |= set(re.findall(r"^fp8ref ([a-z-]+)", TEXT, re.MULTILINE))
    assert shown
    assert shown <= _commands()
