# SPDX-License-Identifier: Apache-2.0
"""FP8 KV caches: where the config asks for one, and the spellings of its scales. [CKPT-KV], [CKPT-KV-SCALES]"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from checkpoint.damage import SINGLE, Damaged
from fp8ref.checkpoint import Checkpoint, LlamaReader
from fp8ref.golden.llama import LayerWeights
from model.tiny import write_tiny

Refuses = Callable[..., None]
Opens = Callable[[Path], object]

FP8 = "float8_e4m3fn"
ATTENTION = "model.layers.1.self_attn"
SPELLINGS = {
    "plain": ("k_scale", "v_scale"),
    "one for both": ("kv_scale", "kv_scale"),
    "output": ("k_proj.output_scale", "v_proj.output_scale"),
    "projection": ("k_proj.k_scale", "v_proj.v_scale"),
}
K, V = 0.0078125, 0.01043701171875  # as write_tiny has them, in bfloat16


def layer_of(folder: Path, layer: int = 1) -> LayerWeights:
    return LlamaReader(Checkpoint(folder)).weights().layers[layer]


@pytest.fixture
def tiny(tmp_path: Path) -> Damaged:
    return Damaged(tmp_path / "model", kv_cache=FP8)


def respell(tiny: Damaged, spelling: str) -> tuple[str, str]:
    """Bring the scales of layer 1 to another spelling."""
    k, v = (f"{ATTENTION}.{name}" for name in SPELLINGS[spelling])
    tiny.rename(f"{ATTENTION}.k_scale", k)
    if k == v:
        tiny.drop(f"{ATTENTION}.v_scale")
    else:
        tiny.rename(f"{ATTENTION}.v_scale", v)
    return k, v


@pytest.mark.parametrize("scheme", ["channel_token", "tensor_static", "autofp8_static"])
@pytest.mark.parametrize("model", ["llama", "scout", "mllama"])
def test_every_model_opens(opens: Opens, tmp_path: Path, model: str, scheme: str) -> None:
    opens(write_tiny(tmp_path / "model", scheme, model=model, kv_cache=FP8))


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_the_scales(opens: Opens, tiny: Damaged, spelling: str) -> None:
    k, v = respell(tiny, spelling)
    opens(tiny.save())
    layer = layer_of(tiny.folder)
    assert layer.k_scale is not None and layer.v_scale is not None
    assert layer.k_scale.dtype == np.float32 and layer.k_scale.shape == ()
    assert (float(layer.k_scale), float(layer.v_scale)) == (K, K if k == v else V)


@pytest.mark.parametrize("shape", [[], [1]])
@pytest.mark.parametrize("dtype", ["F32", "BF16", "F16"])
def test_shapes_and_dtypes_of_the_scales(opens: Opens, tiny: Damaged, shape: list[int], dtype: str) -> None:
    kind = {"F32": np.float32, "BF16": ml_dtypes.bfloat16, "F16": np.float16}[dtype]
    tiny.put(f"{ATTENTION}.k_scale", dtype, shape, np.full(shape, 0.25, np.float32).astype(kind).tobytes())
    opens(tiny.save())
    assert layer_of(tiny.folder).k_scale == 0.25


def test_layers_without_scales_have_1(opens: Opens, tiny: Damaged) -> None:
    for name in ("k_scale", "v_scale"):
        tiny.drop(f"{ATTENTION}.{name}")
    opens(tiny.save())
    assert layer_of(tiny.folder).k_scale == layer_of(tiny.folder).v_scale == 1
    assert layer_of(tiny.folder, 0).k_scale == K


def test_layers_of_cross_attention_have_none(tmp_path: Path) -> None:
    folder = write_tiny(tmp_path / "model", model="mllama", kv_cache=FP8)
    assert layer_of(folder, 1).k_scale is None and layer_of(folder, 2).k_scale == K


def test_scales_of_a_cache_that_is_not_fp8_are_ignored(opens: Opens, tiny: Damaged) -> None:
    """Whatever they are."""
    tiny.method["kv_cache_scheme"] = None
    tiny.put(f"{ATTENTION}.kv_scale", "F64", [3], b"\xff" * 24)
    tiny.drop(f"{ATTENTION}.v_scale")
    opens(tiny.save())
    assert layer_of(tiny.folder).k_scale is None
    assert LlamaReader(Checkpoint(tiny.folder)).config.kv_cache == "bfloat16"


@pytest.mark.parametrize("spelling", [name for name, (k, v) in SPELLINGS.items() if k != v])
@pytest.mark.parametrize("alone", [0, 1])
def test_one_scale_of_a_pair(refuses: Refuses, tiny: Damaged, spelling: str, alone: int) -> None:
    names = respell(tiny, spelling)
    tiny.drop(names[1 - alone])
    refuses(tiny.save(), SINGLE, names[alone])


@pytest.mark.parametrize("spelling", [name for name in SPELLINGS if name != "plain"])
def test_two_spellings_in_one_layer(refuses: Refuses, tiny: Damaged, spelling: str) -> None:
    for name in set(SPELLINGS[spelling]):
        tiny.put(f"{ATTENTION}.{name}", "BF16", [1], b"\x80\x3f")
    refuses(tiny.save(), SINGLE, ATTENTION)


@pytest.mark.parametrize("bits", [0x7FC0, 0x7F80, 0xBF80, 0x8000, 0x0000])
@pytest.mark.parametrize("name", ["k_scale", "v_scale"])
def test_scale_out_of_range(refuses: Refuses, tiny: Damaged, name: str, bits: int) -> None:
    tiny.fill(f"{ATTENTION}.{name}", bits.to_bytes(2, "little"))
    refuses(tiny.save(), SINGLE, f"{ATTENTION}.{name}")


@pytest.mark.parametrize("shape", [[2], [2, 1, 1], [1, 1], [0]])
def test_wrong_shape_of_a_scale(refuses: Refuses, tiny: Damaged, shape: list[int]) -> None:
    """A scale for each head, as ``attn_head`` has it, among them."""
    tiny.put(f"{ATTENTION}.v_scale", "BF16", shape, b"\x80\x3f" * int(np.prod(shape)))
    refuses(tiny.save(), SINGLE, f"{ATTENTION}.v_scale")


def test_wrong_dtype_of_a_scale(unsupported: Refuses, tiny: Damaged) -> None:
    tiny.put(f"{ATTENTION}.k_scale", "F64", [1], b"\0" * 8)
    unsupported(tiny.save(), SINGLE, f"{ATTENTION}.k_scale", "F64")


@pytest.mark.parametrize("value", [[], "static", 3, True])
def test_scheme_of_wrong_type(refuses: Refuses, tiny: Damaged, value: Any) -> None:
    tiny.method["kv_cache_scheme"] = value
    refuses(tiny.save_config(), "config.json", "kv_cache_scheme")
