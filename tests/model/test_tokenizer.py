# SPDX-License-Identifier: Apache-2.0
"""Text, tokens and chat templates, with a tokenizer small enough to be made here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as Library

from fp8ref.errors import TokenizerError
from fp8ref.model import Tokenizer

USER = [{"role": "user", "content": "Hi"}]
TEMPLATE = """{{ bos_token }}{% for message in messages %}
<{{ message.role }}>{{ message.content | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}<assistant>{% endif %}"""


def write(folder: Path, files: dict[str, Any], **config: Any) -> Path:
    """A byte-level tokenizer without merges: one token a byte, then the special tokens <s> and </s>."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    library = Library(models.BPE({symbol: i for i, symbol in enumerate(alphabet)}, []))
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<s>", "</s>")])
    library.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 256)])
    folder.mkdir(exist_ok=True)
    library.save(str(folder / "tokenizer.json"))
    tokens = {"bos_token": "<s>", "eos_token": {"content": "</s>", "special": True}}
    for name, content in ({"tokenizer_config.json": {**tokens, **config}} | files).items():
        (folder / name).write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


@pytest.fixture
def tokenizer(tmp_path: Path) -> Tokenizer:
    return Tokenizer(write(tmp_path, {"chat_template.jinja": TEMPLATE}))


def test_encode_and_decode(tokenizer: Tokenizer) -> None:
    text = "Grüße, 世界"
    ids = tokenizer.encode(text)
    assert ids[0] == 256 and len(ids) == 1 + len(text.encode())
    assert tokenizer.encode(text, special="none") == ids[1:]
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, special="keep") == "<s>" + text
    assert tokenizer.encode("a</s>", special="none")[-1] == 257


def test_chat(tokenizer: Tokenizer) -> None:
    """trim_blocks takes the newline after a block, and the begin token is not added twice."""
    text = tokenizer.render_chat(USER)
    assert text == "<s><user>Hi</s>\n<assistant>"
    assert tokenizer.encode_chat(USER) == tokenizer.encode(text, special="none")
    assert tokenizer.encode_chat(USER).count(256) == 1
    assert tokenizer.render_chat(USER, add_generation_prompt=False) == "<s><user>Hi</s>\n"


def test_stream_gives_the_same_text(tokenizer: Tokenizer) -> None:
    text = "naïve 世界 🙂 end"
    stream = tokenizer.stream()
    pieces = [stream.push(token) for token in [*tokenizer.encode(text), 257]]
    assert "".join(pieces) == text
    assert "" in pieces and "世" in pieces  # a character appears with the last of its bytes


@pytest.mark.parametrize(
    ("files", "config", "expected"),
    [
        ({"chat_template.jinja": "A", "chat_template.json": {"chat_template": "B"}}, {"chat_template": "C"}, "A"),
        ({"chat_template.json": {"chat_template": "B"}}, {"chat_template": "C"}, "B"),
        ({}, {"chat_template": "C"}, "C"),
        ({}, {"chat_template": [{"name": "tool_use", "template": "T"}, {"name": "default", "template": "D"}]}, "D"),
    ],
)
def test_precedence_of_templates(tmp_path: Path, files: Any, config: Any, expected: str) -> None:
    assert Tokenizer(write(tmp_path, files, **config)).render_chat(USER) == expected


def test_no_template(tmp_path: Path) -> None:
    tokenizer = Tokenizer(write(tmp_path, {}))
    assert not tokenizer.has_chat_template
    with pytest.raises(TokenizerError, match="no chat template"):
        tokenizer.render_chat(USER)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer.json", "{"),
        ("tokenizer.json", "{}"),
        ("tokenizer_config.json", "["),
        ("chat_template.json", "{"),
        ("chat_template.json", {"chat_template": 3}),
        ("tokenizer_config.json", {"chat_template": [{"name": "default"}]}),
    ],
)
def test_damaged_files(tmp_path: Path, name: str, content: Any) -> None:
    folder = write(tmp_path, {name: content})
    with pytest.raises(TokenizerError, match=name):
        Tokenizer(folder)


def test_missing_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match="is missing"):
        Tokenizer(tmp_path)


def test_unknown_ids_and_policies(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode([5000]) == ""
    with pytest.raises(TokenizerError, match="cannot be decoded"):
        tokenizer.decode([-1])
    with pytest.raises(TokenizerError, match="special='all'"):
        tokenizer.encode("a", special="all")
