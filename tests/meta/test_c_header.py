# SPDX-License-Identifier: Apache-2.0
"""fp8ref.h has the functions of spec/ops.toml with the arguments of the golden ones. [ABI-FUNCTIONS] [ABI-ARGUMENTS]"""

from __future__ import annotations

import re

import pytest

import fp8ref
from fp8ref.conformance.targets import _library, _library_worker
from fp8ref.conformance.targets._library import output_names, parameters
from fp8ref.golden._args import SCALING
from fp8ref.table import ops
from meta.tree import ROOT

HEADER = (ROOT / "cpp/include/fp8ref/fp8ref.h").read_text(encoding="utf-8")
FUNCTIONS = [name for op in ops() for name in op.functions]
LIBRARY = {"abi_version", "version", "last_error", "set_threads"}
# The C type of an argument, by the annotation of golden's.
TYPES = {
    "Any": "const fp8ref_tensor*",
    "str": "const char*",
    "str | None": "const char*",
    "int": "int64_t",
    "int | None": "const int64_t*",
    "float": "double",
    "float | None": "const double*",
    "Mapping[str, float] | None": "const fp8ref_rope_scaling*",
}


def declarations() -> dict[str, list[tuple[str, str]]]:
    """Type and name of the arguments of each function, in order."""
    found = {}
    for name, text in re.findall(r"FP8REF_API \w[\w ]*\*? fp8ref_(\w+)\(([^)]*)\);", HEADER):
        arguments = [] if text == "void" else [" ".join(part.split()) for part in text.split(",")]
        found[name] = [tuple(part.rsplit(" ", 1)) for part in arguments]
    return found


def enumerators(prefix: str) -> dict[str, int]:
    return {name: int(value) for name, value in re.findall(rf"^  FP8REF_({prefix}\w*) = (\d+)", HEADER, re.MULTILINE)}


def test_the_functions_are_those_of_the_table() -> None:
    assert set(declarations()) == set(FUNCTIONS) | LIBRARY
    assert HEADER.count("FP8REF_API fp8ref_status") == len(FUNCTIONS) + 1


@pytest.mark.parametrize("function", FUNCTIONS)
def test_arguments_are_those_of_golden(function: str) -> None:
    inputs = [(TYPES[parameter.annotation], name) for name, parameter in parameters(function).items()]
    outputs = [("fp8ref_tensor*", name) for name in output_names(function).values()]
    assert declarations()[function] == inputs + outputs


def test_types_of_elements_are_numpys() -> None:
    found = {name.lower(): value for name, value in enumerators("(?:B?FLOAT|INT)").items()}
    assert found == _library.DTYPES


def test_statuses() -> None:
    found = {name: value for name, value in enumerators("").items() if value < 4 and "FLOAT" not in name}
    assert found == {"OK": 0, "UNSUPPORTED": 1, "INVALID_ARGUMENT": 2, "ERROR": 3}
    assert (_library.OK, _library.UNSUPPORTED, _library.INVALID_ARGUMENT) == (0, 1, 2)
    assert _library.STATUSES == {3: "FP8REF_ERROR"}


def test_structs() -> None:
    tensor = re.search(r"typedef struct fp8ref_tensor \{(.*?)\}", HEADER, re.DOTALL)
    scaling = re.search(r"typedef struct fp8ref_rope_scaling \{(.*?)\}", HEADER, re.DOTALL)
    assert tensor is not None
    assert scaling is not None
    assert re.findall(r"^ .*?(\w+);", tensor[1], re.MULTILINE) == [name for name, _ in _library_worker.Tensor._fields_]
    assert tuple(re.findall(r"double (\w+);", scaling[1])) == SCALING


def test_one_version_of_the_abi() -> None:
    """[ABI-VERSION]: of the header, of the suite, and of the shared library's name."""
    version = re.search(r"#define FP8REF_ABI_VERSION (\d+)", HEADER)
    soversion = re.search(r"SOVERSION (\d+)\)", (ROOT / "cpp/c/c.cmake").read_text(encoding="utf-8"))
    assert version is not None
    assert soversion is not None
    assert int(version[1]) == int(soversion[1]) == _library.ABI_VERSION


def test_the_specification_has_a_row_for_each_function() -> None:
    page = (ROOT / "spec/c_abi.md").read_text(encoding="utf-8")
    for function in FUNCTIONS:
        names = ", ".join([*parameters(function), *output_names(function).values()])
        assert f"| `{function}` | `{names}` |" in page


def test_the_header_is_where_the_package_says() -> None:
    assert (fp8ref.include_folder() / "fp8ref" / "fp8ref.h").read_text(encoding="utf-8") == HEADER
