# SPDX-License-Identifier: Apache-2.0
"""The options of the pytest plugin of fp8ref. [REPORT-PYTEST]

Every pytest in an environment with fp8ref imports this module, so it is a package of its own and imports nothing: numpy
and the suite are loaded only where one of the options names a target.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

KINDS = {
    "target": ("PKG.MOD:FUNCTION", "a Python function, or a module of functions, with the signatures of fp8ref"),
    "library": ("PATH", "a C library with the functions of fp8ref.h"),
    "pipe": ("COMMAND", "a program that reads cases and writes results"),
    "backend": ("NAME", "a backend of fp8ref"),
}
TEXTS = {
    "ops": ("OP,...", "", "names of ops or of their functions; default: all that the target has"),
    "contract": ("NAME,...", "", "what it claims: an accumulator, a scale rule, an epilogue, bound"),
    "level": ("LEVEL", "quick", "quick, full or exhaustive"),
    "cases": ("GLOB", "*", "only cases whose OP/NAME matches"),
    "arrays": ("LIBRARY", "", "what a Python target takes: numpy, torch, torch:cuda, cupy"),
    "xfails": ("FILE", "", "cases that are known to fail, a pattern of OP/CASE in each line"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--fp8ref-target`` and its neighbours."""
    group = parser.getgroup("fp8ref", "check an implementation against the FP8 reference")
    for kind, (metavar, text) in KINDS.items():
        group.addoption(f"--fp8ref-{kind}", metavar=metavar, default="", help=text)
    for name, (metavar, default, text) in TEXTS.items():
        group.addoption(f"--fp8ref-{name}", metavar=metavar, default=default, help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Load the suite where it is asked for."""
    if any(config.getoption(f"fp8ref_{kind}") for kind in KINDS):
        from fp8ref.conformance.pytest_plugin import Suite

        given = {name: str(config.getoption(f"fp8ref_{name}")) for name in (*KINDS, *TEXTS)}
        config.pluginmanager.register(Suite(config, {kind: given[kind] for kind in KINDS}, given), "fp8ref-suite")
