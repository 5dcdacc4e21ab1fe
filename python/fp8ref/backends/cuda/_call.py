# SPDX-License-Identifier: Apache-2.0
"""One call of an operation: where its arrays are, what the checks see of them, and what the kernels get.

Device arrays are checked by golden's own checks, on a stand-in: a numpy array of the same shape and type without
memory, every element of which is NaN (0 for integers). No number of it can get into a result: kernels get addresses,
and :meth:`Call.place` gives the address of the device array whatever the checks made of its stand-in.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from ... import _cuda
from ...errors import DeviceError
from ...golden._args import describe, fail
from ._libraries import DeviceArray, DType, Library, Shape, device_array

Array = NDArray[Any]
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)
FLOAT8 = np.dtype(ml_dtypes.float8_e4m3fn)
FLOAT32 = np.dtype(np.float32)
INT64 = np.dtype(np.int64)
OUT_DTYPES = {"float32": FLOAT32, "bfloat16": BFLOAT16, "float16": np.dtype(np.float16), "float8_e4m3fn": FLOAT8}
CODES = {np.dtype(np.uint8), FLOAT8}  # E4M3 codes, under either name
EXACT = {"float32": {"bfloat16", "float16", "float8_e8m0fnu"}}  # what widens to it on the device
INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
EXACT |= {"int64": INTEGERS - {"int64"}, "float64": INTEGERS}


class Host(Library):
    """Host arrays: staged in memory of the device in use, on its default stream."""

    stream = 0

    @property
    def device(self) -> int:  # type: ignore[override]
        """The device in use by this thread."""
        return int(_cuda.current_device())

    def empty(self, op: str, shape: Shape, dtype: DType) -> DeviceArray:
        """As :meth:`Library.empty`."""
        memory = _cuda.Memory(op, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, self.stream)
        return DeviceArray(memory, self, shape, dtype, memory.address, "contiguous")

    def copy(self, op: str, array: DeviceArray) -> DeviceArray:
        """As :meth:`Library.copy`."""
        raise NotImplementedError("host arrays are staged by Call")

    def assign(self, op: str, array: DeviceArray, source: DeviceArray) -> None:
        """As :meth:`Library.assign`."""
        raise NotImplementedError("host arrays are staged by Call")


HOST = Host()


class Call:
    """The arrays of one call by their names: operands, all on one device or all on the host, and smaller ones.

    As a context it makes the operands' device the one in use, and adds the arguments to a DeviceError.
    """

    def __init__(self, op: str, operands: Mapping[str, Any], others: Mapping[str, Any] | None = None) -> None:
        self.op = op
        self.given = {**operands, **(others or {})}
        self.arrays: dict[str, DeviceArray] = {}
        for name, x in self.given.items():
            array = device_array(x)
            if array is not None:
                self.arrays[name] = array
        self.library: Library = next(iter(self.arrays.values())).library if self.arrays else HOST
        self._kept: list[Any] = []  # memory that queued work uses
        self._device_before = -1
        if self.arrays:
            self._check_places(operands)

    def _check_places(self, operands: Mapping[str, Any]) -> None:
        first = next(iter(self.arrays))
        for name, x in self.given.items():
            array = self.arrays.get(name)
            if array is not None and array.library.device != self.library.device:
                places = f"{first} is on device {self.library.device} and {name} on device {array.library.device}"
                raise fail(self.op, f"all arrays must be on one device, but {places}")
            if array is None and x is not None and name in operands:
                raise fail(self.op, f"{name} is on the host, but {first} is on a CUDA device")

    def __enter__(self) -> Call:
        before = int(_cuda.current_device())
        if self.library.device != before:
            self._device_before = before
            _cuda.use_device(self.library.device)
        for array in self.arrays.values():
            if array.library.stream != self.library.stream:  # another stream may still be writing to it
                _cuda.synchronize(self.op, array.library.stream)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._device_before >= 0:
            _cuda.use_device(self._device_before)
        if isinstance(error, DeviceError):
            arguments = ", ".join(f"{name}: {_described(x)}" for name, x in self.given.items() if x is not None)
            raise DeviceError(f"{error} (with {arguments})") from None

    # ---- arguments ---------------------------------------------------------------------------------------------------

    def shown(self, name: str) -> Any:
        """What the checks get: a host argument as it is, a stand-in for a device array."""
        array = self.arrays.get(name)
        return self.given[name] if array is None else stand_in(array)

    def read(self, name: str) -> Any:
        """A number for which the kernels want no array: from the device where it is there, which waits."""
        if name not in self.arrays:
            return self.given[name]
        array = self._packed(name)
        host = np.empty(array.shape, array.dtype)
        _cuda.download(self.op, raw(host), array.address, self.library.stream)
        return host

    def place(self, name: str, checked: Array | None, dtype: DType | None = None) -> int:
        """The address of an argument in device memory as ``dtype``, by default the type that the checks made of it.

        A host argument goes up as the checks returned it; None is 0.
        """
        if checked is None:
            return 0
        wanted = checked.dtype if dtype is None else dtype
        if name not in self.arrays:
            return self._uploaded(checked.astype(wanted, copy=False))
        array = self._packed(name)
        if array.dtype == wanted or {array.dtype, wanted} == CODES:
            return array.address
        if array.dtype.name not in EXACT.get(wanted.name, ()):
            raise fail(self.op, f"{name} on a device must be {wanted.name}, got {describe(stand_in(array))}")
        return self._widened(array, wanted)

    def _packed(self, name: str) -> DeviceArray:
        packed = self.arrays[name].packed(self.op)
        self._kept.append(packed)
        return packed

    def _widened(self, array: DeviceArray, dtype: DType) -> int:
        n = array.bytes // array.dtype.itemsize
        memory = _cuda.Memory(self.op, n * dtype.itemsize, self.stream)
        self._kept.append(memory)
        _cuda.widen(array.address, array.dtype.name, n, memory.address, dtype.name, self.stream)
        return int(memory.address)

    def _uploaded(self, x: Array) -> int:
        memory = _cuda.Memory(self.op, x.nbytes, self.library.stream)
        self._kept.append(memory)
        _cuda.upload(self.op, memory.address, raw(x), self.library.stream)
        return int(memory.address)

    # ---- results -----------------------------------------------------------------------------------------------------

    @property
    def stream(self) -> int:
        """The address of the stream that all work of the call is queued on."""
        return self.library.stream

    def empty(self, shape: Shape, dtype: DType) -> DeviceArray:
        """A result to fill, made by the operands' library."""
        return self.library.empty(self.op, shape, dtype)

    def zeros(self, shape: Shape, dtype: DType) -> DeviceArray:
        """A result of zeros."""
        out = self.empty(shape, dtype)
        _cuda.clear(self.op, out.address, out.bytes, self.stream)
        return out

    def target(self, name: str) -> DeviceArray:
        """What kernels write to for an argument that is written in place: that array, unless it is strided or shares
        memory with another argument; then a copy of it, for :meth:`written`."""
        array = self.arrays[name]
        others = [other for other_name, other in self.arrays.items() if other_name != name]
        packed = array.packed(self.op)
        if packed is array and any(array.overlaps(other) for other in others):
            packed = array.library.copy(self.op, array)
        return packed

    def written(self, name: str, target: DeviceArray) -> Any:
        """The caller's array, with what kernels wrote to ``target``."""
        array = self.arrays[name]
        if target is not array:
            array.library.assign(self.op, array, target)
        return self.given[name]

    def result(self, out: DeviceArray) -> Any:
        """What the caller gets: an array of his library, or a numpy array, for which this waits."""
        if self.library is not HOST:
            return out.owner
        host = np.empty(out.shape, out.dtype)
        _cuda.download(self.op, raw(host), out.address, self.stream)
        return host


def raw(x: Array) -> NDArray[np.uint8]:
    """The bytes of an array; a view where it is contiguous."""
    return np.ascontiguousarray(x).reshape(-1).view(np.uint8)


def stand_in(array: DeviceArray) -> Array:
    """A numpy array of this shape and type, without memory; as writable as the array."""
    one = np.zeros(1, array.dtype) if array.dtype.kind in "biu" else np.full(1, np.nan).astype(array.dtype)
    one.flags.writeable = array.access == "write"
    return np.ndarray(array.shape, array.dtype, one, strides=(0,) * len(array.shape))


def _described(x: Any) -> str:
    array = device_array(x)
    if array is not None:
        return describe(stand_in(array))
    return describe(np.asarray(x)) if isinstance(x, np.ndarray) else type(x).__name__
