# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, one line for an error, JSON, streamed text, and Ctrl-C."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fp8ref import load
from fp8ref.checkpoint import write_checkpoint
from fp8ref.conformance import ModelCase, cases_of
from fp8ref.table import ops

FP8REF = (sys.executable, "-m", "fp8ref")


def fp8ref(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    command = [*FP8REF, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny FP8 checkpoint with a tokenizer of one-character words and a chat template."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    case = next(case for case in cases_of("llama", "quick") if case.name.startswith("channel_token"))
    assert isinstance(case, ModelCase)
    folder = tmp_path_factory.mktemp("checkpoints") / "tiny"
    write_checkpoint(folder, case.config, case.tensors)
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ 0123456"
    assert len(letters) <= case.config["vocab_size"]
    tokenizer = Tokenizer(models.BPE({letter: i for i, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.save(str(folder / "tokenizer.json"))
    template = "{% for m in messages %}{{ m.role }} {{ m.content }} {% endfor %}"
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": template}), encoding="utf-8")
    return folder


def test_help_has_an_example_for_each_command() -> None:
    assert fp8ref("--help").returncode == 0
    for command in ("check", "fingerprint", "inspect", "generate", "demo", "bench"):
        done = fp8ref(command, "--help")
        assert done.returncode == 0
        assert f"fp8ref {command}" in done.stdout


def test_version() -> None:
    done = fp8ref("version")
    assert done.returncode == 0
    assert done.stdout.startswith("fp8ref 0.")


def test_check_of_equals(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    done = fp8ref("check", "residual", "e4m3", "--backend", "golden", "--json", report)
    assert done.returncode == 0
    assert "equal" in done.stdout
    document = json.loads(report.read_text(encoding="utf-8"))
    assert document["equal"] is True
    assert [row["op"] for row in document["ops"]] == ["residual", "e4m3"]
    assert all(row["differing"] == 0 and row["elements"] > 1000 for row in document["ops"])


def test_check_finds_the_cpu_backend_equal() -> None:
    """All ops at the quick level: what the README shows first."""
    done = fp8ref("check", "--json", "-")
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    document = json.loads(done.stdout)
    assert [row["op"] for row in document["ops"]] == [op.stem for op in ops()]
    assert document["equal"] is True


def test_check_of_differences_ends_with_1() -> None:
    """With one function replaced in the process; the table shows where."""
    program = (
        "import sys, numpy, fp8ref, fp8ref.conformance.targets._backend as targets\n"
        "from fp8ref.cli import main\n"
        "right = fp8ref.residual\n"
        "class Wrong:\n"
        "    name = 'cpu'\n"
        "    def residual(self, x, y):\n"
        "        z = right(x, y)\n"
        "        z[(z == 0)] = 0\n"
        "        return z\n"
        "real = targets.backend\n"
        "targets.backend = lambda name: Wrong() if name == 'cpu' else real(name)\n"
        "sys.argv = ['fp8ref', 'check', 'residual']\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 1
    assert "differs" in done.stdout
    assert "0x8000 (-0)" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "nothing"),
        ("check", "--backend", "abacus"),
        ("check", "--level", "extreme"),
        ("generate", "folder"),
        ("generate", "folder", "--prompt", "x", "--system", "y"),
        ("generate", "folder", "--prompt", "x", "--date", "2024-07-26"),
        ("generate", "folder", "--chat", "--prompt", "x", "--date", "26 Jul 2024"),
        ("generate", "folder", "--prompt", "x", "--max-new-tokens", "-1"),
        ("nothing",),
        (),
    ],
)
def test_misuse_ends_with_2(arguments: tuple[str, ...]) -> None:
    done = fp8ref(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [("inspect",), ("generate", "--prompt", "x"), ("bench",)])
def test_an_error_is_one_line_and_ends_with_1(tmp_path: Path, command: tuple[str, ...]) -> None:
    done = fp8ref(command[0], tmp_path / "absent", *command[1:])
    assert done.returncode == 1
    assert done.stderr.startswith("fp8ref: error: ")
    assert "absent" in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_inspect(tiny: Path) -> None:
    done = fp8ref("inspect", tiny)
    assert done.returncode == 0
    assert "down_proj" in done.stdout
    assert "48x88" in done.stdout
    document = json.loads(fp8ref("inspect", tiny, "--json").stdout)
    assert document["schemes"] == {"fp8 channel weights, token activations": 14}
    assert document["warnings"] == []


def test_inspect_warns_on_stderr(tiny: Path, tmp_path: Path) -> None:
    case: Any = next(case for case in cases_of("llama", "quick") if case.name.startswith("channel_token"))
    groups = {**case.config["quantization_config"], "ignore": ["lm_head", "model.layers.0.mlp.down_proj"]}
    write_checkpoint(tmp_path / "odd", {**case.config, "quantization_config": groups}, case.tensors)
    done = fp8ref("inspect", tmp_path / "odd")
    assert done.returncode == 0
    assert "warning: model.layers.0.mlp.down_proj" in done.stderr


@pytest.mark.parametrize("backend", ["golden", "cpu"])
def test_generate(tiny: Path, backend: str) -> None:
    arguments = ("generate", tiny, "--prompt", "hello world", "--max-new-tokens", 9, "--backend", backend)
    done = fp8ref(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    expected = load(tiny, backend="golden").generate(document["prompt_ids"], max_new_tokens=9)
    assert document["ids"] == expected
    assert document["backend"] == backend
    streamed = ("--weights", "streamed") if backend == "cpu" else ()
    assert fp8ref(*arguments, *streamed).stdout == document["text"] + "\n"


def test_generate_cuts_long_prompts_without_changing_a_bit(tiny: Path) -> None:
    arguments = ("generate", tiny, "--prompt", "abc def " * 5, "--max-new-tokens", 5, "--backend", "golden", "--json")
    document = json.loads(fp8ref(*arguments).stdout)
    assert len(document["prompt_ids"]) == 40
    assert document["ids"] == load(tiny, backend="golden").generate(document["prompt_ids"], max_new_tokens=5)


def test_chat_goes_through_the_template(tiny: Path) -> None:
    chat = ("generate", tiny, "--chat", "--system", "be brief", "--prompt", "hi", "--backend", "golden", "--json")
    plain = ("generate", tiny, "--prompt", "system be brief user hi ", "--backend", "golden", "--json")
    first, second = (json.loads(fp8ref(*arguments).stdout) for arguments in (chat, plain))
    assert first["prompt_ids"] == second["prompt_ids"]
    assert first["ids"] == second["ids"]


def test_the_date_reaches_the_template(tiny: Path, tmp_path: Path) -> None:
    """[TEXT-DATE]: told, or an error; never the clock's."""
    folder = shutil.copytree(tiny, tmp_path / "dated")
    (folder / "chat_template.jinja").write_text("{{ strftime_now('%d %m %Y') }} {{ messages[0].content }}")
    chat = ("generate", folder, "--chat", "--prompt", "hi", "--backend", "golden", "--max-new-tokens", 1, "--json")
    plain = ("generate", folder, "--prompt", "15 06 2024 hi", *chat[5:])
    first, second = (json.loads(fp8ref(*arguments).stdout) for arguments in ((*chat, "--date", "2024-06-15"), plain))
    assert first["prompt_ids"] == second["prompt_ids"]
    done = fp8ref(*chat)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "pass date" in done.stderr


def test_ctrl_c_ends_with_130(tmp_path: Path) -> None:
    command = [*FP8REF, "check", "--level", "full", "--backend", "golden"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(2.0)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors


def test_inputs_of_the_bench_are_finite() -> None:
    from fp8ref.bench import cores, ops

    codes = ops.codes(64, 96)
    assert not np.isin(codes & 0x7F, [0x7F]).any()
    assert cores() >= 1
