# SPDX-License-Identifier: Apache-2.0
"""The CUDA device in use."""

from __future__ import annotations

from dataclasses import dataclass

from ... import _cuda

EMULATOR = "SIMT emulator"


@dataclass(frozen=True)
class Device:
    """What CUDA says of a device; versions as CUDA numbers them, 13000 for 13.0."""

    name: str
    capability: int  # 90 for sm_90
    multiprocessors: int
    memory: int  # bytes
    driver: int
    runtime: int


def info() -> Device:
    """The device in use by this thread.

    Raises:
        DeviceError: there is no driver or no device; the message says which.
    """
    return Device(**_cuda.device_info())


def is_emulated() -> bool:
    """Whether the device is the SIMT emulator, whose memory is the host's."""
    return info().name == EMULATOR
