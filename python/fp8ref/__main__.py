# SPDX-License-Identifier: Apache-2.0
"""``python -m fp8ref``: the command line."""

from .cli import main

main()
