# SPDX-License-Identifier: Apache-2.0
"""The command line. Exit codes: 0 done, 1 an error or a mismatch, 2 misuse, 130 interrupted."""

from __future__ import annotations

import sys

import typer

from .. import __version__, include_folder
from ..errors import Fp8RefError
from . import bench, check, demo, fingerprint, generate, inspect, quantize_rule, vectors
from .common import err, out

HELP = "A bit-exact reference for FP8 E4M3 inference: check backends, inspect checkpoints, generate text."

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

for _command in (check.check, fingerprint.fingerprint, inspect.inspect, generate.generate, demo.demo, bench.bench):
    app.command()(_command)
app.add_typer(quantize_rule.app, name="quantize-rule")
app.add_typer(vectors.app, name="vectors")


@app.command()
def version() -> None:
    """Print the version, where the backends are, and where the C header is."""
    from ..backends import BACKENDS, backend

    out.print(f"fp8ref {__version__}")
    for name in BACKENDS:
        try:
            backend(name)
        except Fp8RefError as error:
            out.print(f"  {name}: {error}", markup=False)
        else:
            out.print(f"  {name}: available")
    out.print(f"  fp8ref/fp8ref.h: {include_folder()}", markup=False, soft_wrap=True)


def main() -> None:
    """Entry point of ``fp8ref`` and ``python -m fp8ref``."""
    try:
        app()
    except Fp8RefError as error:
        err.print(f"fp8ref: error: {error}", markup=False)
        sys.exit(1)
    except OSError as error:
        err.print(f"fp8ref: error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
