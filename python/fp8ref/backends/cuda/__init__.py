# SPDX-License-Identifier: Apache-2.0
"""The CUDA backend: the functions of the golden model, with the same signatures, checks and bits.

Arrays of torch or cupy on a CUDA device, and of any library with ``__cuda_array_interface__``, are used where they are:
the work is queued on the caller's current stream, nothing waits for it, and results are arrays of the same library on
the same device. Anything else is a host array: it is copied to the device in use, and results are numpy arrays.

What golden checks of types and shapes is checked for device arrays too. What it checks of values is not, where seeing
them would mean waiting for the device; there it is the caller's duty that

- no scale has its sign bit set: it would be multiplied by as it is;
- ``offsets`` do not decrease and lie in 0 to the rows of ``a``: others make kernels read and write out of bounds;
- ``positions`` lie in [0, 2**24): others are rounded to float32;
- ``experts`` of dispatch lie in [0, num_experts), and ``order`` of combine is a permutation: others make kernels read
  and write out of bounds.

Numbers that are no arrays to the kernels (``scale_ub``, ``out_scale``, ``eps``, the ``scale`` of attention, those of
temperature_factors) are read from a device array where one is given, which waits for the stream. All operands must be
on one device; scales, offsets, positions and frequencies may be on the host, and are copied.
"""
