# SPDX-License-Identifier: Apache-2.0
"""What spec/check_your_kernel.md and README show to newcomers does what they say, pasted into an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import fp8ref
from meta.tree import ROOT
from outside.tensors import torch

pytestmark = pytest.mark.outside
assert torch

TUTORIAL = (ROOT / "spec" / "check_your_kernel.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)```", TUTORIAL, re.DOTALL))
COMMANDS = re.findall(r"<!-- exit code (\d) -->\n```bash\n(.*?)\n```", TUTORIAL, re.DOTALL)


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command of the page, with this interpreter's fp8ref."""
    words = command.split()
    assert words[0] == "fp8ref"
    environment = {**os.environ, "PYTHONPATH": str(Path(fp8ref.__file__).parents[1]), "COLUMNS": "200"}
    line = [sys.executable, "-m", *words]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_page_has_both_verdicts() -> None:
    assert {code for code, _ in COMMANDS} == {"0", "1"}
    assert len(FILES) == 2


@pytest.mark.parametrize(("code", "command"), COMMANDS)
def test_commands_end_as_the_page_says(code: str, command: str, folder: Path) -> None:
    done = run(command, folder)
    assert done.returncode == int(code), done.stdout + done.stderr


def test_the_quantizer_follows_another_rule_until_it_is_mended(folder: Path) -> None:
    command = next(command for _, command in COMMANDS if "myquantizer" in command)
    (reason,) = re.findall(r"`(scale_rule: [^`]*)`", TUTORIAL)
    assert reason in run(command, folder).stdout
    assert run(command.replace("vllm.per_token", "fbgemm.per_row"), folder).returncode == 0
    (mended,) = re.findall(r"put\n`(torch.nan_to_num[^`]*)` into the clamp", TUTORIAL)
    source = FILES["myquantizer.py"].replace("clamp(x / scale,", f"clamp({mended},")
    assert mended in source
    (folder / "myquantizer.py").write_text(source, encoding="utf-8")
    assert run(command, folder).returncode == 0


def test_the_kernel_of_the_readme(tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    (program,) = re.findall(r"```python\n(# mykernels.py\n.*?)```", readme, re.DOTALL)
    assert len(program.splitlines()) <= 15
    (tmp_path / "mykernels.py").write_text(program, encoding="utf-8")
    commands = re.findall(r"^(fp8ref \w+ .*--target mykernels:scaled_mm[^#\n]*)", readme, re.MULTILINE)
    codes = [run(command, tmp_path).returncode for command in commands]
    assert codes == [0, 1, 0]  # a bound, a tensor core that it is not, a fingerprint
    assert (tmp_path / "report.html").stat().st_size > 10_000
