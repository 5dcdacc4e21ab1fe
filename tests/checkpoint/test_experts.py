# SPDX-License-Identifier: Apache-2.0
"""Experts in both layouts, routers, cross-attention. [CKPT-EXPERTS], [CKPT-STREAM], [CKPT-NAMES]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from checkpoint.damage import SINGLE, Damaged
from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.golden.llama import Bf16Linear, Fp8Linear, Mlp, Moe
from model.tiny import BF16_EACH, BLOCK, write_tiny
from model.tiny_families import MODELS

Refuses = Callable[..., None]
Opens = Callable[[Path], object]

MLP = "language_model.model.layers.1.feed_forward"
CROSS = "language_model.model.layers.1"
QKVO = ("q_proj", "k_proj", "v_proj", "o_proj")
PARTS = ("gate_proj", "up_proj", "down_proj")
FUSED = (f"{MLP}.experts.gate_up_proj", f"{MLP}.experts.down_proj")


def moe_of(folder: Path, layer: int = 1) -> Moe:
    """The experts of a layer."""
    found = LlamaReader(Checkpoint(folder)).weights().layers[layer].mlp
    assert isinstance(found, Moe)
    return found


@pytest.fixture
def scout(tmp_path: Path) -> Damaged:
    """FP8 experts, one by one."""
    return Damaged(tmp_path / "model", model="scout")


@pytest.fixture
def fused(tmp_path: Path) -> Damaged:
    """BF16 experts in two tensors."""
    return Damaged(tmp_path / "model", "bf16", model="scout")


@pytest.fixture
def mllama(tmp_path: Path) -> Damaged:
    return Damaged(tmp_path / "model", model="mllama")


@pytest.mark.parametrize("scheme", ["bf16", BF16_EACH, "channel_token", "tensor_static", "autofp8_static", BLOCK])
@pytest.mark.parametrize("model", ["scout", "maverick"])
def test_every_scheme_opens(opens: Opens, tmp_path: Path, model: str, scheme: str) -> None:
    opens(write_tiny(tmp_path / "model", scheme, model=model))


def test_both_layouts_are_one_model(tmp_path: Path) -> None:
    """gate is the first half of the columns, up the second, and x @ W is transposed."""
    fused, each = (moe_of(write_tiny(tmp_path / s, s, model="scout")) for s in ("bf16", BF16_EACH))
    assert len(fused.experts) == len(each.experts) == 4
    for one, other in zip(fused.experts, each.experts, strict=True):
        for name in PARTS:
            left, right = getattr(one, name), getattr(other, name)
            assert isinstance(left, Bf16Linear) and isinstance(right, Bf16Linear)
            assert np.array_equal(left.weight.view(np.uint16), right.weight.view(np.uint16))
    assert fused.experts[0].gate_proj.weight.shape == (32, 48)
    assert fused.experts[0].down_proj.weight.shape == (48, 32)


@pytest.mark.parametrize("model", MODELS)
def test_each_weight_is_the_tensor_of_its_name(tmp_path: Path, model: str) -> None:
    """Nothing is swapped, also where shapes are equal."""
    reader = LlamaReader(Checkpoint(write_tiny(tmp_path / "model", model=model, names="plain")))
    array, taken = reader.checkpoint.array, 0
    for index, layer in enumerate(reader.weights().layers):
        block = "self_attn" if layer.cross is None else "cross_attn"
        pairs = {
            f"{block}.{name}.weight": getattr(layer, name).weight for name in ("q_proj", "k_proj", "v_proj", "o_proj")
        }
        for name in ("input_layernorm", "post_attention_layernorm"):
            pairs[f"{name}.weight"] = getattr(layer, name)
        mlps: dict[str, Any] = {"mlp": layer.mlp, "feed_forward": layer.mlp}
        if isinstance(layer.mlp, Moe):
            mlps = {f"feed_forward.experts.{e}": expert for e, expert in enumerate(layer.mlp.experts)}
            mlps["feed_forward.shared_expert"] = layer.mlp.shared_expert
            pairs["feed_forward.router.weight"] = layer.mlp.router.weight
        for path, mlp in mlps.items():
            pairs |= {f"{path}.{name}.weight": getattr(mlp, name).weight for name in PARTS}
        if layer.cross is not None:
            pairs |= {f"cross_attn.{name}.weight": getattr(layer.cross, name) for name in ("q_norm", "k_norm")}
            pairs |= {f"cross_attn_{name}": getattr(layer.cross, name) for name in ("attn_gate", "mlp_gate")}
        there = {name: view for name, view in pairs.items() if f"model.layers.{index}.{name}" in reader.tensors}
        assert all(np.shares_memory(view, array(f"model.layers.{index}.{name}")) for name, view in there.items())
        taken += len(there)
    assert taken == sum(name.startswith("model.layers.") and "_scale" not in name for name in reader.checkpoint.names)


@pytest.mark.parametrize("scheme", ["bf16", "channel_token"])
def test_experts_are_views_of_the_file(tmp_path: Path, scheme: str) -> None:
    """Nothing is copied: whoever asks for an expert gets memory of the mapping."""
    reader = LlamaReader(Checkpoint(write_tiny(tmp_path / "model", scheme, model="scout")))
    moe = reader.weights().layers[1].mlp
    assert isinstance(moe, Moe)
    name = FUSED[0] if scheme == "bf16" else f"{MLP}.experts.3.gate_proj.weight"
    weight = moe.experts[3].gate_proj.weight
    assert np.shares_memory(weight, reader.checkpoint.array(name)) and not weight.flags.writeable


def test_experts_are_a_sequence(tmp_path: Path) -> None:
    experts = moe_of(write_tiny(tmp_path / "model", model="scout")).experts
    assert isinstance(experts[-1], Mlp) and len(experts[1:3]) == 2
    last = experts[3].up_proj.weight.view(np.uint8)
    assert np.array_equal(experts[-1].up_proj.weight.view(np.uint8), last)
    with pytest.raises(IndexError):
        experts[4]


def test_layers_of_maverick(tmp_path: Path) -> None:
    """Dense layers have a width of their own, and only the routed experts are FP8."""
    layers = LlamaReader(Checkpoint(write_tiny(tmp_path / "model", model="maverick"))).weights().layers
    assert [type(layer.mlp) for layer in layers] == [Mlp, Moe, Mlp, Moe]
    dense, moe = layers[0].mlp, layers[1].mlp
    assert isinstance(dense, Mlp) and isinstance(moe, Moe)
    assert dense.gate_proj.weight.shape == (40, 48) and moe.shared_expert.gate_proj.weight.shape == (32, 48)
    assert isinstance(moe.experts[7].gate_proj, Fp8Linear) and isinstance(moe.shared_expert.gate_proj, Bf16Linear)


@pytest.mark.parametrize("expert", [0, 3])
@pytest.mark.parametrize("part", [*(f"{name}.weight" for name in PARTS), "up_proj.weight_scale"])
def test_missing_tensor_of_an_expert(refuses: Refuses, scout: Damaged, expert: int, part: str) -> None:
    name = f"{MLP}.experts.{expert}.{part}"
    scout.drop(name)
    refuses(scout.save(), name.removeprefix("language_model."))


@pytest.mark.parametrize(
    "name", ["router.weight", "shared_expert.up_proj.weight", "shared_expert.up_proj.weight_scale"]
)
def test_missing_tensor_beside_the_experts(refuses: Refuses, scout: Damaged, name: str) -> None:
    scout.drop(f"{MLP}.{name}")
    refuses(scout.save(), f"layers.1.feed_forward.{name}")


@pytest.mark.parametrize("name", FUSED)
def test_missing_fused_tensor(refuses: Refuses, fused: Damaged, name: str) -> None:
    fused.drop(name)
    refuses(fused.save(), name.removeprefix("language_model."))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        (f"{MLP}.experts.3.gate_proj.weight", [48, 32]),
        (f"{MLP}.experts.3.gate_proj.weight_scale", [1, 32]),
        (f"{MLP}.router.weight", [48, 4]),
        (f"{MLP}.shared_expert.down_proj.weight", [32, 48]),
    ],
)
def test_wrong_shape(refuses: Refuses, scout: Damaged, name: str, shape: list[int]) -> None:
    scout.header[name]["shape"] = shape
    refuses(scout.save(), SINGLE, name)


@pytest.mark.parametrize(
    ("name", "shape"),
    [(FUSED[0], [4, 64, 48]), (FUSED[0], [4, 48, 32, 2]), (FUSED[0], [8, 48, 32]), (FUSED[1], [4, 48, 32])],
)
def test_wrong_shape_of_fused_experts(refuses: Refuses, fused: Damaged, name: str, shape: list[int]) -> None:
    """Among them the transposed (E, 2 I, H) and (E, H, I), which are as large."""
    assert np.prod(shape) == np.prod(fused.header[name]["shape"])
    fused.header[name]["shape"] = shape
    refuses(fused.save(), SINGLE, name)


@pytest.mark.parametrize(
    ("key", "value"), [("num_local_experts", 3), ("num_local_experts", 5), ("intermediate_size", 48)]
)
def test_config_of_another_mixture(refuses: Refuses, scout: Damaged, key: str, value: int) -> None:
    scout.text[key] = value
    refuses(scout.save_config(), SINGLE)


def test_the_number_of_experts_is_not_trusted(refuses: Refuses, scout: Damaged) -> None:
    scout.text["num_local_experts"] = 2**20
    refuses(scout.save_config(), SINGLE, "router.weight")


def test_a_dense_layer_with_experts(refuses: Refuses, scout: Damaged) -> None:
    scout.text["moe_layers"] = [0, 2]
    refuses(scout.save_config(), "model.layers.1.feed_forward.gate_proj.weight")


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, 0xBF80, 0x8000])
@pytest.mark.parametrize("expert", [0, 3])
def test_scale_of_an_expert_out_of_range(refuses: Refuses, scout: Damaged, expert: int, bits: int) -> None:
    """All scales are looked at when a checkpoint is opened, those of the last expert too."""
    name = f"{MLP}.experts.{expert}.down_proj.weight_scale"
    scout.fill(name, b"\0\0" * 47 + bits.to_bytes(2, "little"))
    refuses(scout.save(), SINGLE, name)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F16", "F32"])
@pytest.mark.parametrize("name", FUSED)
def test_fused_experts_of_another_dtype(unsupported: Refuses, fused: Damaged, name: str, dtype: str) -> None:
    shape = fused.header[name]["shape"]
    size = {"F8_E4M3": 1, "F8_E5M2": 1, "F16": 2, "F32": 4}[dtype]
    fused.put(name, dtype, shape, b"\0" * (int(np.prod(shape)) * size))
    unsupported(fused.save(), SINGLE, name, dtype)


def test_scales_of_fused_experts(unsupported: Refuses, fused: Damaged) -> None:
    fused.put(f"{FUSED[0]}_scale", "F32", [4, 1, 64], b"\0" * 4 * 4 * 64)
    unsupported(fused.save(), SINGLE, f"{FUSED[0]}_scale")


def test_both_layouts_in_one_layer(unsupported: Refuses, fused: Damaged) -> None:
    name = f"{MLP}.experts.0.gate_proj.weight"
    fused.put(name, "BF16", [32, 48], b"\0" * 2 * 32 * 48)
    unsupported(fused.save(), SINGLE, name)


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F32", "F16"])
def test_router_of_another_dtype(unsupported: Refuses, scout: Damaged, dtype: str) -> None:
    name = f"{MLP}.router.weight"
    scout.put(name, dtype, [4, 48], b"\0" * 4 * 48 * {"F8_E4M3": 1, "F32": 4, "F16": 2}[dtype])
    unsupported(scout.save(), SINGLE, name, dtype)


def test_router_with_a_scale(unsupported: Refuses, scout: Damaged) -> None:
    scout.put(f"{MLP}.router.weight_scale", "BF16", [4, 1], b"\0" * 8)
    unsupported(scout.save(), SINGLE, "router.weight_scale")


def test_experts_of_which_one_is_bf16(unsupported: Refuses, scout: Damaged) -> None:
    name = f"{MLP}.experts.2.up_proj"
    scout.drop(f"{name}.weight_scale")
    scout.put(f"{name}.weight", "BF16", [32, 48], b"\0" * 2 * 32 * 48)
    unsupported(scout.save(), SINGLE, f"{name}.weight")


def test_experts_with_scales_of_two_kinds(unsupported: Refuses, scout: Damaged) -> None:
    name = f"{MLP}.experts.3.gate_proj"
    scout.put(f"{name}.weight_scale", "BF16", [1], b"\x80\x3c")
    unsupported(scout.save(), SINGLE, name)


def test_experts_with_two_kinds_of_activations(unsupported: Refuses, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", "tensor_static", model="scout")
    groups: Any = tiny.method["config_groups"]
    name = f"{MLP}.experts.1.gate_proj"
    dynamic = {"num_bits": 8, "type": "float", "strategy": "token", "dynamic": True}
    groups["other"] = groups["group_0"] | {"targets": [name], "input_activations": dynamic}
    tiny.drop(f"{name}.input_scale")
    unsupported(tiny.save(), SINGLE, name)


def test_projections_of_an_expert_may_differ(opens: Opens, scout: Damaged) -> None:
    """Alike is what the experts of a layer are in each projection."""
    for expert in range(4):
        name = f"{MLP}.experts.{expert}.down_proj"
        scout.drop(f"{name}.weight_scale")
        scout.put(f"{name}.weight", "BF16", [48, 32], b"\0" * 2 * 32 * 48)
    opens(scout.save())


@pytest.mark.parametrize("name", ["experts.4.gate_proj.weight", "gate_proj.weight", "experts.gate_up_proj.weight"])
def test_tensor_without_use(unsupported: Refuses, scout: Damaged, name: str) -> None:
    scout.put(f"{MLP}.{name}", "BF16", [1], b"\0\0")
    unsupported(scout.save(), SINGLE, f"{MLP}.{name}")


NORMS = [f"{CROSS}.cross_attn.{name}_norm.weight" for name in "qk"]
GATES = [f"{CROSS}.cross_attn_{name}_gate" for name in ("attn", "mlp")]


@pytest.mark.parametrize("name", [*NORMS, *GATES, f"{CROSS}.cross_attn.k_proj.weight"])
def test_missing_tensor_of_cross_attention(refuses: Refuses, mllama: Damaged, name: str) -> None:
    mllama.drop(name)
    refuses(mllama.save(), name.removeprefix("language_model."))


@pytest.mark.parametrize("name", [*NORMS, *GATES])
def test_cross_attention_of_another_dtype_or_shape(
    refuses: Refuses, unsupported: Refuses, mllama: Damaged, name: str
) -> None:
    shape = mllama.header[name]["shape"]
    mllama.put(name, "F32", shape, b"\0" * 4 * shape[0])
    unsupported(mllama.save(), SINGLE, name, "F32")
    mllama.put(name, "BF16", [2], b"\0" * 4)
    refuses(mllama.save(), SINGLE, name)


def test_embeddings_have_eight_more_rows(refuses: Refuses, mllama: Damaged) -> None:
    name = "language_model.model.embed_tokens.weight"
    assert mllama.header[name]["shape"] == [88, 48]
    mllama.put(name, "BF16", [80, 48], b"\0" * 80 * 48 * 2)
    refuses(mllama.save(), SINGLE, name)


def test_cross_attention_in_another_layer(refuses: Refuses, mllama: Damaged) -> None:
    mllama.text["cross_attention_layers"] = [0, 3]
    refuses(mllama.save_config(), "model.layers.0.cross_attn.q_proj.weight")


def test_self_attention_in_a_layer_of_cross_attention(unsupported: Refuses, mllama: Damaged) -> None:
    mllama.put(f"{CROSS}.self_attn.k_scale", "BF16", [1], b"\x80\x3f")
    unsupported(mllama.save(), SINGLE, f"{CROSS}.self_attn.k_scale")
