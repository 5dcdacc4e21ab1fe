# SPDX-License-Identifier: Apache-2.0
"""The mistakes of tests/simt/defects.py can still be made: their texts are in the kernels, their tests exist."""

from __future__ import annotations

import importlib.util
import sys

import pytest

from meta.tree import ROOT

_SPEC = importlib.util.spec_from_file_location("simt_defects", ROOT / "tests" / "simt" / "defects.py")
assert _SPEC is not None
assert _SPEC.loader is not None
defects = importlib.util.module_from_spec(_SPEC)
sys.modules["simt_defects"] = defects
_SPEC.loader.exec_module(defects)


@pytest.mark.parametrize("defect", defects.DEFECTS, ids=lambda defect: defect.name)
def test_it_can_be_made(defect: object) -> None:
    text = (ROOT / "cpp" / "cuda" / defect.file).read_text(encoding="utf-8")
    assert defect.right in text
    assert defect.right != defect.wrong
    assert (ROOT / "tests" / "simt" / f"test_{defect.test}.cpp").is_file()
