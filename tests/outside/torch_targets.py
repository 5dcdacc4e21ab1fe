# SPDX-License-Identifier: Apache-2.0
"""Functions of torch as targets of `fp8ref check`, each with the contract that it follows on a CPU.

`test_torch_targets.py` says which contract that is. What the functions do not have they refuse.
"""

from __future__ import annotations

from typing import Any

import torch

fp8ref_arrays = "torch"
E4M3 = torch.float8_e4m3fn
R448 = torch.tensor(1 / 448)


def encode(x: Any, overflow: str = "saturate") -> Any:
    """The cast, which saturates since torch 2.12. From float64 it rounds twice, through float32."""
    if overflow != "saturate" or x.dtype == torch.float64:
        raise NotImplementedError(f"{x.dtype}, {overflow}")
    return x.to(E4M3)


def decode(codes: Any) -> Any:
    """The cast to float32."""
    return codes.to(torch.float32)


def residual(x: Any, y: Any) -> Any:
    """The addition of bfloat16 tensors."""
    return x + y


def silu_mul(gate: Any, up: Any) -> Any:
    """The activation of transformers' Llama. In float32 exp(-gate) is infinite below -88.72. [SILU-TORCH]"""
    return torch.nn.functional.silu(gate) * up


def silu_mul_in_float64(gate: Any, up: Any) -> Any:
    """The same with an activation that does not overflow."""
    wide = torch.nn.functional.silu(gate.to(torch.float64)).to(torch.float32)
    return wide.to(torch.bfloat16) * up


def linear(x: Any, weight: Any, bias: Any = None) -> Any:
    """The layer; a bias must have the type of the weight."""
    if bias is not None and bias.dtype != weight.dtype:
        raise NotImplementedError("a bias of another type")
    return torch.nn.functional.linear(x, weight, bias)


def sample(logits: Any) -> Any:
    """Greedy search."""
    return torch.argmax(logits, dim=-1)


def dequantize(codes: Any, scale: Any, out_dtype: str = "bfloat16") -> Any:
    """What compressed-tensors does with a scale for all, or for each row."""
    if codes.dtype != E4M3 or scale.dtype != torch.float32 or (scale.ndim == 2 and scale.shape[1] != 1):
        raise NotImplementedError
    return (codes.to(torch.float32) * scale).to(getattr(torch, out_dtype))


def per_token(x: Any, scale_ub: Any = None) -> Any:
    """vLLM's QuantFP8.forward_native for tokens, with the product that CUDA makes of a division by a number."""
    if not x.shape[-1]:
        raise NotImplementedError("rows without elements")
    amax = x.abs().amax(-1, keepdim=True).to(torch.float32)
    if scale_ub is not None:
        amax = amax.clamp(max=scale_ub)
    scale = (amax * R448).clamp(min=1 / (448 * 512))
    return (x.to(torch.float32) * scale.reciprocal()).clamp(-448, 448).to(E4M3), scale


def scaled_mm(a: Any, b: Any, a_scale: Any, b_scale: Any, bias: Any = None, out_dtype: str = "bfloat16") -> Any:
    """torch._scaled_mm: the scales go to the operands, the sums are float32 in an order of the library's."""
    one_each = all(s.ndim == 0 or s.numel() == 1 or s.shape == (len(x), 1) for s, x in ((a_scale, a), (b_scale, b)))
    if not (a.dtype == b.dtype == E4M3 and one_each) or 0 in (*a.shape, *b.shape) or out_dtype == "float8_e4m3fn":
        raise NotImplementedError("E4M3, one scale for each row, and something to compute")
    one = [s.numel() == 1 for s in (a_scale, b_scale)]
    if all(one):
        scales = [s.to(torch.float32).reshape(()) for s in (a_scale, b_scale)]
    else:
        scales = [s.to(torch.float32).expand(len(x), 1).contiguous() for s, x in ((a_scale, a), (b_scale, b))]
        scales[1] = scales[1].reshape(1, -1)
    return torch._scaled_mm(a, b.t(), *scales, bias=bias, out_dtype=getattr(torch, out_dtype))
