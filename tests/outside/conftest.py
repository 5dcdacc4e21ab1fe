# SPDX-License-Identifier: Apache-2.0
"""Where these tests are deselected they are not even imported: torch and its friends take seconds to load."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    return True if "not outside" in config.option.markexpr and collection_path.name.startswith("test_") else None
