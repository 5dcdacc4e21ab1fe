# SPDX-License-Identifier: Apache-2.0
"""The GPU, driver and compiler at hand, without torch: the driver library is asked itself."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

_MAJOR, _MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


@dataclass(frozen=True)
class Device:
    """One GPU."""

    name: str
    driver: str
    capability: str

    @property
    def architecture(self) -> str:
        """What nvcc compiles for: wgmma is in 90a only."""
        number = self.capability.replace(".", "")
        return f"{number}a" if int(number) >= 90 else number


def find() -> Device | str:
    """Device 0, or why there is none."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no CUDA device (no driver: libcuda.so.1 is missing)"
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0 or count.value == 0:
        return "no CUDA device"
    handle, name = ctypes.c_int(), ctypes.create_string_buffer(256)
    driver.cuDeviceGet(ctypes.byref(handle), 0)
    driver.cuDeviceGetName(name, 256, handle)
    numbers = []
    for attribute in (_MAJOR, _MINOR):
        value = ctypes.c_int()
        driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, handle)
        numbers.append(str(value.value))
    return Device(name.value.decode(), driver_version(), ".".join(numbers))


def driver_version() -> str:
    """As nvidia-smi shows it."""
    try:
        text = Path("/proc/driver/nvidia/version").read_text(encoding="utf-8")
        if match := re.search(r"\s(\d+\.\d+(?:\.\d+)?)\s", text):
            return match[1]
    except OSError:
        pass
    return _first("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")


def toolkit() -> str:
    """The version of nvcc."""
    text = _first("nvcc", "--version", everything=r"release [\d.]+, V([\d.]+)")
    return text or "no nvcc"


def _first(*command: str, everything: str = r"(.+)") -> str:
    if shutil.which(command[0]) is None:
        return "unknown"
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    match = re.search(everything, done.stdout)
    return match[1].strip() if match else "unknown"


def commit(root: Path) -> str:
    """The full hash of the tree, with ``-dirty`` where files of it changed."""
    environment = {**os.environ, "GIT_CEILING_DIRECTORIES": str(root.parent)}
    lines = []
    for command in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no")):
        try:
            done = subprocess.run(
                ["git", *command], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=30
            )
        except OSError:
            return "unknown"
        if done.returncode != 0:
            return "unknown"
        lines.append(done.stdout.strip())
    return lines[0] + ("-dirty" if lines[1] else "")
