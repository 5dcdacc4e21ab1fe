# SPDX-License-Identifier: Apache-2.0
"""Text and tokens, the files that they come from, and what is damaged; chat templates have a test file of their own."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fp8ref.checkpoint.quantize import quantize_checkpoint
from fp8ref.errors import TokenizerError
from fp8ref.model import Tokenizer, load
from fp8ref.model import tokenizer as module
from model.conversations import said
from model.families import BEGIN, END, FAMILIES, library, write_family
from model.tiny import write_tiny

USER = [said("user", "Hi")]
IMAGE = "<|image|>"

# Family, text, the tokens of encode(text) as they read.
ENCODED: list[tuple[str, str, list[str]]] = [
    ("llama3", "", [BEGIN]),
    ("llama3", "Hello", [BEGIN, "Hello"]),
    ("llama3", f"{BEGIN}Hello", [BEGIN, "Hello"]),
    ("llama3", f"{BEGIN}{BEGIN}Hello", [BEGIN, BEGIN, "Hello"]),  # as it is written, and not once more
    ("llama3", f"Hello{BEGIN}", [BEGIN, "Hello", BEGIN]),
    ("llama3", f" {BEGIN}", [BEGIN, " ", BEGIN]),
    ("llama3", f"Hello{END}<|eot_id|>", [BEGIN, "Hello", END, "<|eot_id|>"]),
    ("llama3", IMAGE, [BEGIN, *IMAGE]),  # no token of this family
    ("mllama", f"{IMAGE}{BEGIN}Hello", [IMAGE, BEGIN, "Hello"]),  # the form of the card
    ("mllama", f"{IMAGE}{IMAGE}{BEGIN}", [IMAGE, IMAGE, BEGIN]),
    ("mllama", f"{IMAGE}Hello", [BEGIN, IMAGE, "Hello"]),
    ("llama4", f"{IMAGE}Hello{BEGIN}", [BEGIN, IMAGE, "Hello", BEGIN]),
    ("llama3", "123123123", [BEGIN, "123", "123", "123"]),
    ("llama4", "1123", [BEGIN, "1", "12", "3"]),
    ("llama3", " whole", [BEGIN, " whole"]),
    ("llama3", "世界", [BEGIN, "世界"]),
    ("llama3", "Wholly 世", [BEGIN, "Wholly", " 世"]),
    ("llama4", "Wholly!!!\n", [BEGIN, "Wholly", "!!!\n"]),
    ("llama3", "world's", [BEGIN, "world", "'s"]),
    ("llama4", "world's", [BEGIN, "world's"]),
    ("llama3", "camelCase", [BEGIN, "camelCase"]),
    ("llama4", "camelCase", [BEGIN, "camel", *"Case"]),
    ("llama3", "//\n/", [BEGIN, "//\n", "/"]),
    ("llama4", "//\n/", [BEGIN, "//\n/"]),
    ("llama4", "the token", [BEGIN, "the", " token"]),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("families")
    return {name: write_family(top / name, name) for name in FAMILIES}


@pytest.fixture(scope="module")
def tokenizer(folders: dict[str, Path]) -> Tokenizer:
    return Tokenizer(folders["llama3"])


def _differing(folders: dict[str, Path]) -> list[str]:
    """The texts that are encoded otherwise."""
    tokenizers = {name: Tokenizer(folder) for name, folder in folders.items()}
    found = []
    for family, text, expected in ENCODED:
        ids = tokenizers[family].encode(text)
        if [tokenizers[family].decode([token], special="keep") for token in ids] != expected:
            found.append(text)
    return found


def test_texts_have_the_tokens_of_their_family(folders: dict[str, Path]) -> None:
    """[TEXT-ENCODE], [TEXT-BOS]"""
    assert _differing(folders) == []


BEGINS: dict[str, Callable[..., bool]] = {
    "it is doubled": lambda self, token, ids: False,
    "it counts anywhere": lambda self, token, ids: token in ids,
    "no image may stand before it": lambda self, token, ids: list(ids[:1]) == [token],
}


@pytest.mark.parametrize("defect", BEGINS)
def test_defects_of_the_begin_token_are_noticed(
    defect: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tokenizer, "_begins_with", BEGINS[defect])
    assert _differing(folders) != []


LIBRARY: dict[str, Callable[[Any], object]] = {
    "merges come first": lambda made: setattr(made.model, "ignore_merges", False),
    "special tokens are text": lambda made: setattr(made, "encode_special_tokens", True),
    "the pre-tokenizer of Llama 3": lambda made: setattr(
        made, "pre_tokenizer", library(FAMILIES["llama3"]).pre_tokenizer
    ),
    "the pre-tokenizer of Llama 4": lambda made: setattr(
        made, "pre_tokenizer", library(FAMILIES["llama4"]).pre_tokenizer
    ),
    "texts are cut": lambda made: made.enable_truncation(3),
    "texts are padded": lambda made: made.enable_padding(length=4),
}


@pytest.mark.parametrize("defect", LIBRARY)
def test_defects_of_the_library_are_noticed(
    defect: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = module.open_tokenizer

    def wrong(folder: Path) -> Any:
        made = right(folder)
        LIBRARY[defect](made)
        return made

    monkeypatch.setattr(module, "open_tokenizer", wrong)
    assert _differing(folders) != []


def test_truncation_and_padding_of_the_file_do_not_act(folders: dict[str, Path], tmp_path: Path) -> None:
    """[TEXT-WHOLE]"""
    folder = shutil.copytree(folders["llama3"], tmp_path / "saved")
    made = library(FAMILIES["llama3"])
    made.enable_truncation(3)
    made.enable_padding(length=4)
    made.save(str(folder / "tokenizer.json"))
    assert json.loads((folder / "tokenizer.json").read_text())["truncation"]["max_length"] == 3
    assert _differing({**folders, "llama3": folder}) == []


@given(st.text())
def test_text_comes_back(tokenizer: Tokenizer, text: str) -> None:
    """[TEXT-DECODE]: tokenizer_config.json asks for spaces to be cleaned up, and they are not."""
    ids = tokenizer.encode(text)
    if "<|" not in text:
        assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, special="keep") == (text if text.startswith(BEGIN) else BEGIN + text)


@pytest.mark.parametrize("text", ["a . b , c ! d ?", "do n't  it 's\n\n  ", "naïve 世界 🙂", "\ufffd"])
def test_spaces_come_back(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_bytes_that_are_no_character(tokenizer: Tokenizer) -> None:
    """Tokens are joined as bytes, then read as UTF-8; special tokens in between are left out first."""
    three = tokenizer.encode("€", special="none")
    begin = tokenizer.encode("", special="add")
    assert len(three) == 3
    assert tokenizer.decode(three) == "€"
    assert tokenizer.decode(three[:2]) == "\ufffd"
    assert tokenizer.decode([*three[:2], *begin, *three[2:]]) == "€"
    assert tokenizer.decode(np.array(three, np.int64)) == "€"


def _parts(stream: Any, ids: list[int]) -> list[str]:
    return [*(stream.push(token) for token in ids), stream.finish()]


@given(st.lists(st.integers(0, 320), max_size=12) | st.text().map(lambda text: list(text.encode())))
def test_a_stream_gives_the_same_text(tokenizer: Tokenizer, ids: list[int]) -> None:
    """[TEXT-STREAM], for any ids: bytes of no character, special tokens, ids without a token."""
    assert "".join(_parts(tokenizer.stream(), ids)) == tokenizer.decode(ids)


def test_a_stream_holds_back_what_is_not_complete(tokenizer: Tokenizer) -> None:
    """So neither tokens by themselves nor a stream that is not finished would do."""
    ids = tokenizer.encode("a€", special="none")
    assert _parts(tokenizer.stream(), ids) == ["a", "", "", "€", ""]
    assert _parts(tokenizer.stream(), ids[:3]) == ["a", "", "", "\ufffd"]
    assert "".join(map(tokenizer.decode, ([token] for token in ids))) != "a€"


def test_stop_ids_are_a_list_and_have_no_text(tmp_path: Path) -> None:
    """[TEXT-STOP]: generation_config.json decides."""
    write_tiny(tmp_path / "model", "bf16", vocab_size=400, eos_token_id=1)
    tokenizer = Tokenizer(write_family(tmp_path / "model", "llama3_1"))
    stops = [tokenizer.encode(text, special="none")[0] for text in (END, "<|eom_id|>", "<|eot_id|>")]
    (tmp_path / "model" / "generation_config.json").write_text(json.dumps({"eos_token_id": stops}))
    config = load(tmp_path / "model", backend="golden").config
    assert list(config.eos_token_ids) == stops and len(set(stops)) == 3
    assert tokenizer.decode(stops) == ""
    assert max(stops) < config.vocab_size


def test_special_tokens(folders: dict[str, Path], tmp_path: Path) -> None:
    """[TEXT-SPECIAL]: as a string or an object; the map counts only without added_tokens_decoder."""
    assert Tokenizer(folders["llama4"]).special_tokens == {"bos_token": BEGIN, "eos_token": "<|eot|>"}
    config: dict[str, Any] = {
        "image_token": IMAGE,
        "add_bos_token": True,
        "extra_special_tokens": {"call_token": "<|eom_id|>"},
    }
    folder = write_family(tmp_path, "mllama", **config)
    (folder / "special_tokens_map.json").write_text(json.dumps({"eos_token": {"content": END}}))
    more = {"bos_token": BEGIN, "image_token": IMAGE, "call_token": "<|eom_id|>"}
    assert Tokenizer(folder).special_tokens == {**more, "eos_token": "<|eot_id|>"}
    write_family(tmp_path, "mllama", **config, added_tokens_decoder=None)
    assert Tokenizer(folder).special_tokens == {**more, "eos_token": END}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"chat_template.jinja": "A", "chat_template.json": '{"chat_template": "B"}'}, "A"),
        ({"chat_template.json": '{"chat_template": "B"}'}, "B"),
        ({"chat_template.json": '{"chat_template": [{"name": "default", "template": "D"}]}'}, "D"),
        ({}, "C"),
        ({"chat_template.jinja": "A", "additional_chat_templates/default.jinja": "E"}, "A"),
        ({"additional_chat_templates/default.jinja": "E"}, "E"),
    ],
)
def test_precedence_of_templates(tmp_path: Path, files: dict[str, str], expected: str) -> None:
    """[TEXT-TEMPLATE]"""
    folder = write_family(tmp_path, "llama3", chat_template="C")
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    assert Tokenizer(folder).render_chat(USER) == expected


def test_no_template(tmp_path: Path) -> None:
    tokenizer = Tokenizer(write_family(tmp_path, "llama3", chat_template=None))
    assert not tokenizer.has_chat_template
    with pytest.raises(TokenizerError, match="no chat template"):
        tokenizer.render_chat(USER)


def test_tokenizer_json_alone_is_enough(folders: dict[str, Path], tmp_path: Path) -> None:
    """[TEXT-FILES], [TEXT-BOS]: the begin token is the post processor's."""
    shutil.copy(folders["llama3"] / "tokenizer.json", tmp_path)
    assert Tokenizer(tmp_path).encode(f"{BEGIN}Hello") == Tokenizer(folders["llama3"]).encode("Hello")


# File, changes of its top keys (or its text), what the error says besides the file's name.
DAMAGED: list[tuple[str, Any, str]] = [
    ("tokenizer.json", "{", "not valid JSON"),
    ("tokenizer.json", "[]", "must be a JSON object"),
    ("tokenizer.json", b"\xff", "not valid JSON"),
    ("tokenizer.json", {"model": None}, "key model: is not a tokenizer"),
    ("tokenizer.json", {"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a b"]}}, "key model: "),
    ("tokenizer.json", {"pre_tokenizer": {"type": "Nobody"}}, "key pre_tokenizer: "),
    ("tokenizer.json", {"decoder": 3}, "key decoder: "),
    ("tokenizer.json", {"truncation": {}}, "key truncation: "),
    ("tokenizer.json", {"added_tokens": {}}, "key added_tokens: "),
    ("tokenizer.json", {"version": "9"}, "key version: "),
    ("tokenizer.json", {"post_processor": "x"}, "key post_processor: "),
    ("tokenizer_config.json", "[", "not valid JSON"),
    ("tokenizer_config.json", {"bos_token": 3}, "key bos_token must be a string or an object with content, got 3"),
    ("tokenizer_config.json", {"eos_token": {"special": True}}, "key eos_token must be"),
    ("tokenizer_config.json", {"bos_token": "<s>"}, "key bos_token must be a token of tokenizer.json, got '<s>'"),
    ("tokenizer_config.json", {"added_tokens_decoder": []}, "key added_tokens_decoder must be an object"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"1": {"content": END}}}, "key added_tokens_decoder.1 must be"),
    ("tokenizer_config.json", {"added_tokens_decoder": {"1": {}}}, "key added_tokens_decoder.1 must be"),
    ("tokenizer_config.json", {"chat_template": 3}, "key chat_template must be"),
    ("tokenizer_config.json", {"chat_template": [{"name": "default"}]}, "key chat_template must be"),
    ("chat_template.json", "{", "not valid JSON"),
    ("chat_template.json", "{}", "key chat_template is missing"),
    ("chat_template.jinja", b"\xff", "cannot be read"),
]


@pytest.mark.parametrize(("name", "damage", "message"), DAMAGED)
def test_damaged_files(tmp_path: Path, name: str, damage: Any, message: str) -> None:
    """[TEXT-DAMAGED]"""
    path = write_family(tmp_path, "llama3") / name
    if isinstance(damage, dict):
        damage = json.dumps(json.loads(path.read_text()) | damage)
    path.write_bytes(damage if isinstance(damage, bytes) else damage.encode())
    with pytest.raises(TokenizerError) as caught:
        Tokenizer(tmp_path)
    assert str(caught.value).startswith(f"{path}: ") and message in str(caught.value)


def test_a_post_processor_without_its_token(tmp_path: Path) -> None:
    """The library panics here, when it is used and not when it is read."""
    path = write_family(tmp_path, "llama3") / "tokenizer.json"
    written = json.loads(path.read_text())
    written["post_processor"]["processors"][1]["special_tokens"] = {}
    path.write_text(json.dumps(written))
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: key post_processor: fails"):
        Tokenizer(tmp_path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="is missing"):
        Tokenizer(tmp_path)
    write_family(tmp_path, "llama3")
    (tmp_path / "chat_template.jinja").mkdir()
    with pytest.raises(TokenizerError, match=r"chat_template\.jinja: is not a regular file"):
        Tokenizer(tmp_path)


def test_any_damage_is_one_error(tmp_path: Path) -> None:
    """Values of tokenizer.json are exchanged for others; it loads or it is a TokenizerError."""
    path = write_family(tmp_path, "llama3") / "tokenizer.json"
    text = path.read_text()
    chance, refused = random.Random(0), 0
    for _ in range(150):
        at = chance.randrange(len(text))
        path.write_text(text[:at] + chance.choice(['"', "{", "}", "0", "-", ",", "null"]) + text[at + 1 :])
        try:
            Tokenizer(tmp_path).encode("Hello 世界")
        except TokenizerError as error:
            refused += 1
            assert "tokenizer" in str(error)
    assert refused > 50


def test_unknown_ids_and_policies(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([5000]) == ""
    for tokens in ([-1], [1.5], ["a"]):
        with pytest.raises(TokenizerError, match="cannot be decoded"):
            tokenizer.decode(tokens)  # type: ignore[arg-type]
    for text in ("\ud800", 3):
        with pytest.raises(TokenizerError, match="cannot be encoded"):
            tokenizer.encode(text)  # type: ignore[arg-type]
    with pytest.raises(TokenizerError, match="special='all'"):
        tokenizer.encode("a", special="all")
    with pytest.raises(TokenizerError, match="special='all'"):
        tokenizer.decode([0], special="all")


def test_quantizing_keeps_every_template(tmp_path: Path) -> None:
    """The text side of a checkpoint is copied as it is."""
    write_family(write_tiny(tmp_path / "bf16", "bf16"), "llama3", chat_template=None)
    (tmp_path / "bf16" / "chat_template.jinja").write_text("A")
    (tmp_path / "bf16" / "additional_chat_templates").mkdir()
    (tmp_path / "bf16" / "additional_chat_templates" / "tool_use.jinja").write_text("T")
    quantize_checkpoint(tmp_path / "bf16", tmp_path / "fp8")
    after = Tokenizer(tmp_path / "fp8")
    assert [after.render_chat(USER), after.render_chat(USER, tools=[])] == ["A", "T"]
