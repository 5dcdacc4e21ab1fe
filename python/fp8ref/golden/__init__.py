# SPDX-License-Identifier: Apache-2.0
"""The golden model: one module per operation, numpy and ml_dtypes only, each clause of ``spec/`` cited where it acts.

The modules are the specification in executable form; ``fp8ref.<function>`` is the public way to their functions.
"""
