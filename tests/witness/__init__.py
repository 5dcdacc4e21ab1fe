# SPDX-License-Identifier: Apache-2.0
"""The witness: every operation once more, in Python integers, fractions and mpmath, slow and plain.

It imports neither fp8ref nor numpy nor ml_dtypes. Bit patterns go in and come out as Python ints: bf16 as 16-bit, fp32
as 32-bit, E4M3 codes as 8-bit numbers; a matrix is a list of rows. Where the golden model says how to be fast and still
right, the witness says only what is right: exact numbers, and one rounding wherever the specification names one.
"""
