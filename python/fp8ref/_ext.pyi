# SPDX-License-Identifier: Apache-2.0
"""The compiled extension (cpp/bind). Only ``backends/cpu`` calls it, with what its checks let through."""

from typing import Any

def __getattr__(name: str) -> Any: ...
