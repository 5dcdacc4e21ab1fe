# SPDX-License-Identifier: Apache-2.0
"""Device arrays of other libraries. Nothing is imported for it: who passes a tensor has its library."""

from __future__ import annotations

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np

from ... import _cuda
from ...errors import DeviceError, OpError

DType = np.dtype[Any]
Shape = tuple[int, ...]
ALIGNMENT = 16  # bytes; what the kernels' wide loads need, and every allocation has
LEGACY_STREAM = 1  # of __cuda_array_interface__: CUDA's default stream, whose address is 0


class Library(ABC):
    """Where arrays are, whose they are, and on which stream work with them is to be queued."""

    device: int
    stream: int

    @abstractmethod
    def empty(self, op: str, shape: Shape, dtype: DType) -> DeviceArray:
        """A new array of this library on this device."""

    @abstractmethod
    def copy(self, op: str, array: DeviceArray) -> DeviceArray:
        """The same elements in new memory, row-major without gaps."""

    @abstractmethod
    def assign(self, op: str, array: DeviceArray, source: DeviceArray) -> None:
        """``array[...] = source``, of the same shape and type."""


@dataclass(frozen=True)
class DeviceArray:
    """An array on a device as the kernels see it; ``owner``, the caller's object, keeps the memory."""

    owner: Any
    library: Library
    shape: Shape
    dtype: DType
    address: int
    layout: str  # "contiguous" or "strided"
    access: str = "write"  # or "read"

    def packed(self, op: str) -> DeviceArray:
        """The elements as kernels take them; the array itself where it is row-major without gaps and aligned."""
        ready = self.layout == "contiguous" and self.address % ALIGNMENT == 0
        return self if ready else self.library.copy(op, self)

    def overlaps(self, other: DeviceArray) -> bool:
        """Whether the two may share memory."""
        if "strided" in (self.layout, other.layout):
            return True
        return self.address < other.address + other.bytes and other.address < self.address + self.bytes

    @property
    def bytes(self) -> int:
        """The size of the elements."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize


def device_array(x: Any) -> DeviceArray | None:
    """What a device array is; None for everything else, which is on the host."""
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(x, torch.Tensor):
        return _tensor(x) if _is_cuda(x) else None
    interface = getattr(x, "__cuda_array_interface__", None)
    return None if interface is None else _interface_array(x, interface)


# ---- torch -----------------------------------------------------------------------------------------------------------


def _is_cuda(tensor: Any) -> Any:
    return tensor.is_cuda


def _torch_stream(device: Any) -> int:
    """The address of torch's current stream on that device."""
    return int(sys.modules["torch"].cuda.current_stream(device).cuda_stream)


def _numpy_dtype(name: str) -> DType:
    try:
        return np.dtype(getattr(ml_dtypes, name, name))
    except TypeError:
        raise OpError(f"arrays of {name} have no meaning here") from None


def _tensor(x: Any) -> DeviceArray:
    torch, tensor = sys.modules["torch"], x.detach()
    if tensor.layout != torch.strided:
        raise OpError(f"tensors must be dense, got layout {tensor.layout}")
    layout = "contiguous" if tensor.is_contiguous() else "strided"
    dtype = _numpy_dtype(str(tensor.dtype).removeprefix("torch."))
    return DeviceArray(tensor, Torch(tensor.device), tuple(tensor.shape), dtype, tensor.data_ptr(), layout)


class Torch(Library):
    """torch tensors, on torch's current stream of their device."""

    def __init__(self, device: Any) -> None:
        self.torch_device = device
        self.device = device.index or 0
        self.stream = _torch_stream(device)

    def empty(self, op: str, shape: Shape, dtype: DType) -> DeviceArray:
        """As :meth:`Library.empty`."""
        torch = sys.modules["torch"]
        kind = getattr(torch, dtype.name, None) or torch.uint8  # FP8 where this torch has none
        try:
            return _tensor(torch.empty(shape, dtype=kind, device=self.torch_device))
        except RuntimeError as error:
            raise DeviceError(f"{op}: torch: {error}") from None

    def copy(self, op: str, array: DeviceArray) -> DeviceArray:
        """As :meth:`Library.copy`."""
        torch = sys.modules["torch"]
        try:
            return _tensor(array.owner.clone(memory_format=torch.contiguous_format))
        except RuntimeError as error:
            raise DeviceError(f"{op}: torch: {error}") from None

    def assign(self, op: str, array: DeviceArray, source: DeviceArray) -> None:
        """As :meth:`Library.assign`."""
        array.owner.copy_(source.owner)


# ---- cupy, and any library with __cuda_array_interface__ -------------------------------------------------------------


def _interface_array(x: Any, interface: Mapping[str, Any]) -> DeviceArray:
    """Version 3 of the interface. A dtype of the array's own tells types apart that its typestr does not know."""
    (address, read_only), shape = interface["data"], tuple(interface["shape"])
    own = getattr(x, "dtype", None)
    dtype = own if isinstance(own, np.dtype) else np.dtype(interface["typestr"])
    strides = interface.get("strides")
    packed = tuple(int(np.prod(shape[i + 1 :], dtype=np.int64)) * dtype.itemsize for i in range(len(shape)))
    contiguous = strides is None or 0 in shape or tuple(strides) == packed
    stream = interface.get("stream")
    library = Interface(x, int(address), 0 if stream is None or stream == LEGACY_STREAM else int(stream))
    layout, access = "contiguous" if contiguous else "strided", "read" if read_only else "write"
    return DeviceArray(x, library, shape, dtype, int(address), layout, access)


class Interface(Library):
    """Arrays with ``__cuda_array_interface__``, on the stream that the first of them names, else the default stream.

    Results of a call with cupy arrays are cupy arrays; of other libraries, a :class:`Result`, which they take by the
    same interface.
    """

    def __init__(self, like: Any, address: int, stream: int) -> None:
        self.stream, self.address = stream, address
        cupy = sys.modules.get("cupy")
        self.cupy = cupy if cupy is not None and isinstance(like, cupy.ndarray) else None

    @cached_property
    def device(self) -> int:  # type: ignore[override]
        """CUDA knows whose memory that is; an empty array has none."""
        return int(_cuda.device_of(self.address)) if self.address else int(_cuda.current_device())

    def empty(self, op: str, shape: Shape, dtype: DType) -> DeviceArray:
        """As :meth:`Library.empty`."""
        if self.cupy is None:
            made: Any = Result(op, shape, dtype, self.stream)
            return DeviceArray(made, self, shape, dtype, made.memory.address, "contiguous")
        try:
            made = self._cupy_empty(shape, dtype)
        except Exception as error:  # cupy's own classes of CUDA errors and of exhausted memory
            raise DeviceError(f"{op}: cupy: {error}") from None
        return DeviceArray(made, self, shape, dtype, int(made.data.ptr), "contiguous")

    def _cupy_empty(self, shape: Shape, dtype: DType) -> Any:
        assert self.cupy is not None
        try:
            return self.cupy.empty(shape, dtype)
        except (TypeError, ValueError):  # a type that cupy lacks comes as unsigned integers of its width
            return self.cupy.empty(shape, f"u{dtype.itemsize}")

    def copy(self, op: str, array: DeviceArray) -> DeviceArray:
        """As :meth:`Library.copy`."""
        if self.cupy is not None:
            owner = array.owner.copy(order="C")
            return DeviceArray(owner, self, array.shape, array.dtype, int(owner.data.ptr), "contiguous")
        if array.layout != "contiguous":
            raise OpError(f"{op}: a device array of {type(array.owner).__name__} must be contiguous")
        made = self.empty(op, array.shape, array.dtype)
        _cuda.copy(op, made.address, array.address, array.bytes, self.stream)
        return made

    def assign(self, op: str, array: DeviceArray, source: DeviceArray) -> None:
        """As :meth:`Library.assign`."""
        if self.cupy is not None:
            array.owner[...] = source.owner
        else:
            _cuda.copy(op, array.address, source.address, array.bytes, self.stream)


class Result:
    """Device memory that fp8ref made, for any library that takes ``__cuda_array_interface__``.

    Types that the interface has no name for are unsigned integers of their width there; ``dtype`` says what they are.
    """

    def __init__(self, op: str, shape: Shape, dtype: DType, stream: int) -> None:
        self.shape, self.dtype, self.stream = shape, dtype, stream
        self.memory = _cuda.Memory(op, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize, stream)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        named = self.dtype.kind in "biufc"
        return {
            "shape": self.shape,
            "typestr": self.dtype.str if named else np.dtype(f"u{self.dtype.itemsize}").str,
            "data": (self.memory.address, False),
            "version": 3,
            "strides": None,
            "stream": self.stream or LEGACY_STREAM,
        }
