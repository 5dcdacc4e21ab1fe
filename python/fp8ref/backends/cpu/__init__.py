# SPDX-License-Identifier: Apache-2.0
"""The C++ backend on the CPU: the functions of the golden model, with the same signatures, checks and bits.

Each module checks its arguments with the checks of ``golden/_args.py``, makes the output array and calls
``fp8ref._ext``, which works on all cores without the GIL. Numbers are computed in C++ only.
"""
