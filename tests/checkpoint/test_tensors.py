# SPDX-License-Identifier: Apache-2.0
"""The tensors of a Llama: names, shapes, dtypes and scales. [CKPT-NAMES] to [CKPT-ACTIVATIONS]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from checkpoint.damage import NORM, SINGLE, Damaged, Q
from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.golden.llama import Fp8Linear
from model.tiny import BLOCK, write_tiny

Refuses = Callable[..., None]
Opens = Callable[[Path], object]

K = "model.layers.1.self_attn.k_proj"


@pytest.mark.parametrize(
    "name",
    ["model.embed_tokens.weight", NORM, "lm_head.weight", "model.layers.1.input_layernorm.weight", f"{K}.weight"],
)
def test_missing_tensor(refuses: Refuses, tiny: Damaged, name: str) -> None:
    tiny.drop(name)
    refuses(tiny.save(), name)


@pytest.mark.parametrize(
    ("name", "shape"), [(NORM, [6, 8]), (f"{K}.weight", [48, 16]), (f"{K}.weight", [768]), ("lm_head.weight", [48, 80])]
)
def test_wrong_shape(refuses: Refuses, tiny: Damaged, name: str, shape: list[int]) -> None:
    tiny.header[name]["shape"] = shape
    refuses(tiny.save(), SINGLE, name)


@pytest.mark.parametrize("key", ["vocab_size", "hidden_size", "intermediate_size", "num_attention_heads", "head_dim"])
def test_config_of_another_model(refuses: Refuses, tiny: Damaged, key: str) -> None:
    tiny.config[key] *= 2
    refuses(tiny.save_config(), SINGLE)


def test_more_layers_than_tensors(refuses: Refuses, tiny: Damaged) -> None:
    tiny.config["num_hidden_layers"] = 2**31 - 1  # and it must not take for ever
    refuses(tiny.save_config(), "model.layers.2.")


def test_fewer_layers_than_tensors(unsupported: Refuses, tiny: Damaged) -> None:
    tiny.config["num_hidden_layers"] = 1
    unsupported(tiny.save_config(), SINGLE, "model.layers.1.")


@pytest.mark.parametrize(
    ("name", "dtype", "size"),
    [(NORM, "F32", 4), ("lm_head.weight", "F16", 2), ("model.embed_tokens.weight", "F8_E4M3", 1)],
)
def test_unsupported_dtype(unsupported: Refuses, tiny: Damaged, name: str, dtype: str, size: int) -> None:
    shape = tiny.header[name]["shape"]
    tiny.put(name, dtype, shape, b"\0" * (int(np.prod(shape)) * size))
    unsupported(tiny.save(), SINGLE, name, dtype)


@pytest.mark.parametrize("dtype", ["F8_E5M2", "I8", "F8_E4M3FNUZ"])
def test_weights_of_another_8_bit_type(unsupported: Refuses, tiny: Damaged, dtype: str) -> None:
    tiny.header[f"{Q}.weight"]["dtype"] = dtype
    unsupported(tiny.save(), SINGLE, f"{Q}.weight", dtype)


@pytest.mark.parametrize(
    "name",
    [
        f"{Q}.weight_zero_point",
        f"{Q}.weight_scale_inv",
        f"{Q}.bias",
        "model.layers.0.self_attn.q_scale",
        "model.layers.2.self_attn.k_scale",
        "model.layers.2.input_layernorm.weight",
        "surprise",
    ],
)
def test_tensor_without_use(unsupported: Refuses, tiny: Damaged, name: str) -> None:
    tiny.put(name, "BF16", [1], b"\0\0")
    unsupported(tiny.save(), SINGLE, name)


def test_tensors_to_skip(opens: Opens, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", tie_word_embeddings=True)
    tiny.put("model.layers.0.self_attn.rotary_emb.inv_freq", "F32", [4], b"\0" * 16)
    tiny.put("lm_head.weight", "BF16", [80, 48], b"\0" * 80 * 48 * 2)
    opens(tiny.save())


def test_bias_that_the_config_promises(refuses: Refuses, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", attention_bias=True)
    tiny.drop(f"{Q}.bias")
    refuses(tiny.save(), f"{Q}.bias")


def test_fp8_weight_without_scale(refuses: Refuses, tiny: Damaged) -> None:
    tiny.drop(f"{Q}.weight_scale")
    refuses(tiny.save(), f"{Q}.weight", "weight_scale")


def test_static_scheme_without_input_scale(refuses: Refuses, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", "tensor_static")
    tiny.drop(f"{Q}.input_scale")
    refuses(tiny.save(), f"{Q}.weight", "input_scale")


def test_dynamic_scheme_with_input_scale(refuses: Refuses, tiny: Damaged) -> None:
    tiny.put(f"{Q}.input_scale", "F32", [], b"\0\0\x80\x3f")
    refuses(tiny.save(), SINGLE, f"{Q}.input_scale")


@pytest.mark.parametrize("bits", [0x7FC0, 0xFFC1, 0x7F80, 0xFF80, 0xBF80, 0x8000, 0x8001])
@pytest.mark.parametrize("row", [0, 47])
def test_scale_that_is_nan_infinite_or_negative(refuses: Refuses, tiny: Damaged, bits: int, row: int) -> None:
    name = f"{Q}.weight_scale"
    scales = np.frombuffer(tiny.bytes_of(name), np.uint16).copy()
    scales[row] = bits
    tiny.fill(name, scales.tobytes())
    refuses(tiny.save(), SINGLE, name)


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, 0xBF80, 0x8000, 0x0000])
def test_input_scale_out_of_range(refuses: Refuses, tmp_path: Path, bits: int) -> None:
    tiny = Damaged(tmp_path / "model", "tensor_static")
    tiny.fill(f"{Q}.input_scale", bits.to_bytes(2, "little"))
    refuses(tiny.save(), SINGLE, f"{Q}.input_scale")


@pytest.mark.parametrize("shape", [[48, 1], [48], [1], []])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_shapes_and_dtypes_of_scales(opens: Opens, tiny: Damaged, shape: list[int], dtype: str) -> None:
    kind = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16}[dtype]
    stored = np.full(shape, 0.0123, np.float32).astype(kind)
    tiny.put(f"{Q}.weight_scale", dtype, shape, stored.tobytes())
    opens(tiny.save())
    projection = LlamaReader(Checkpoint(tiny.folder)).weights().layers[0].q_proj
    assert isinstance(projection, Fp8Linear)
    got = projection.weight_scale
    assert got.dtype == np.float32 and got.shape == ((48, 1) if 48 in shape else ())
    assert np.array_equal(got.ravel(), stored.astype(np.float32).ravel())


@pytest.mark.parametrize("shape", [[1, 48], [24, 2], [47, 1], [2], [0], [48, 1, 1], [1, 1]])
def test_wrong_shape_of_scale(refuses: Refuses, tiny: Damaged, shape: list[int]) -> None:
    tiny.put(f"{Q}.weight_scale", "F32", shape, np.ones(shape, np.float32).tobytes())
    refuses(tiny.save(), SINGLE, f"{Q}.weight_scale")


def test_scales_of_blocks(opens: Opens, tmp_path: Path) -> None:
    """One for each block of 128x128, the last of a row or column being smaller."""
    tiny = Damaged(tmp_path / "model", BLOCK, hidden_size=264, intermediate_size=130)
    assert tiny.header["model.layers.0.mlp.down_proj.weight_scale"]["shape"] == [3, 2]
    opens(tiny.save())
    projection = LlamaReader(Checkpoint(tiny.folder)).weights().layers[0].mlp.down_proj
    assert isinstance(projection, Fp8Linear) and projection.activations == "group"
    assert projection.weight_scale.shape == (3, 2) and projection.weight_scale.dtype == np.float32


@pytest.mark.parametrize("shape", [[2, 3], [1], [], [264, 1], [264], [3, 2, 1], [6]])
def test_wrong_shape_of_block_scales(refuses: Refuses, tmp_path: Path, shape: list[int]) -> None:
    tiny = Damaged(tmp_path / "model", BLOCK, hidden_size=264, intermediate_size=130)
    name = "model.layers.0.mlp.down_proj.weight_scale"
    tiny.put(name, "F32", shape, np.ones(shape, np.float32).tobytes())
    refuses(tiny.save(), SINGLE, name)


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, 0xBF80])
def test_block_scale_out_of_range(refuses: Refuses, tmp_path: Path, bits: int) -> None:
    tiny = Damaged(tmp_path / "model", BLOCK)
    tiny.fill(f"{Q}.weight_scale", bits.to_bytes(2, "little"))
    refuses(tiny.save(), SINGLE, f"{Q}.weight_scale")


def test_blocks_with_an_input_scale(refuses: Refuses, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", BLOCK)
    tiny.put(f"{Q}.input_scale", "F32", [], b"\0\0\x80\x3f")
    refuses(tiny.save(), SINGLE, f"{Q}.input_scale")


def test_wrong_dtype_of_scale(unsupported: Refuses, tiny: Damaged) -> None:
    tiny.put(f"{Q}.weight_scale", "F64", [1], b"\0" * 8)
    unsupported(tiny.save(), SINGLE, f"{Q}.weight_scale")


def test_wrong_shape_of_input_scale(refuses: Refuses, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model", "tensor_static")
    tiny.put(f"{Q}.input_scale", "F32", [48, 1], np.ones(48, np.float32).tobytes())
    refuses(tiny.save(), SINGLE, f"{Q}.input_scale")


def test_scale_without_fp8_weight(unsupported: Refuses, tiny: Damaged) -> None:
    tiny.put(f"{Q}.weight", "BF16", [48, 48], b"\0" * 48 * 48 * 2)
    unsupported(tiny.save(), SINGLE, f"{Q}.weight_scale")


def test_fp8_without_a_quantization_config(unsupported: Refuses, tiny: Damaged) -> None:
    del tiny.config["quantization_config"]
    unsupported(tiny.save_config(), "config.json", Q)


def test_the_tensor_decides(opens: Opens, tmp_path: Path) -> None:
    """FP8 where the config ignores, BF16 where it targets: both load."""
    tiny = Damaged(tmp_path / "model")
    tiny.config["quantization_config"]["ignore"] = [Q]
    tiny.drop(f"{K}.weight_scale")
    tiny.put(f"{K}.weight", "BF16", [16, 48], b"\0" * 16 * 48 * 2)
    opens(tiny.save())


def test_groups_that_disagree_on_an_ignored_module(unsupported: Refuses, tmp_path: Path) -> None:
    tiny = Damaged(tmp_path / "model")
    method = tiny.config["quantization_config"]
    method["config_groups"]["other"] = {
        **method["config_groups"]["group_0"],
        "targets": ["nothing"],
        "input_activations": {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False},
    }
    method["ignore"] = [Q]
    unsupported(tiny.save_config(), "config.json", Q)


def test_damage_of_values_never_crashes(opens: Opens, tmp_path: Path) -> None:
    """Random weights are all sound, NaN codes included; the model loads."""
    folder = write_tiny(tmp_path / "model")
    raw = bytearray((folder / SINGLE).read_bytes())
    raw[-500:] = np.random.default_rng(2).bytes(500)  # the last tensors are F8_E4M3
    (folder / SINGLE).write_bytes(raw)
    opens(folder)
