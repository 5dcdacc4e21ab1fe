# SPDX-License-Identifier: Apache-2.0
"""Text as transformers makes it: rendered chats, ids, decoded text; and byte-level BPE by its definition."""

from __future__ import annotations

import datetime
import json
import os
import random
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from fp8ref.errors import TokenizerError
from fp8ref.model import Tokenizer
from fp8ref.model.chat_template import ChatTemplate
from model.conversations import CONVERSATIONS, WEATHER
from model.families import BEGIN, END, FAMILIES, MERGED, WHOLE, vocabulary, write_family

pytestmark = pytest.mark.hf

DAY = datetime.date(2025, 5, 4)
DATE_STRING = "04 May 2025"
TOKENS = "{{ bos_token }},{{ eos_token }},{{ pad_token }},{{ unk_token }},{{ image_token }}"
# The repositories' own templates may not be redistributed; a folder of them, NAME.jinja, is compared too.
OWN = "FP8REF_CHAT_TEMPLATES"


def _installed() -> ChatTemplate:
    """transformers carries the template of Llama 4."""
    from transformers.models.llama4 import processing_llama4

    return ChatTemplate(Path(processing_llama4.__file__), processing_llama4.chat_template)


def _templates() -> dict[str, Callable[[], str]]:
    made = {name: (lambda text=family.template: text) for name, family in FAMILIES.items()}
    own = sorted(Path(os.environ[OWN]).glob("*.jinja")) if OWN in os.environ else []
    return made | {"installed": lambda: _installed().text} | {f"own {path.stem}": path.read_text for path in own}


TEMPLATES = _templates()


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers reads the clock; here it is DAY."""
    from transformers.utils import chat_template_utils

    class Clock:
        now = staticmethod(lambda: datetime.datetime.combine(DAY, datetime.time()))

    monkeypatch.setattr(chat_template_utils, "datetime", Clock)


@cache
def _judge(folder: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder for each template; templates from elsewhere get the tokenizer of Llama 4, whose tokens suffice."""
    top = tmp_path_factory.mktemp("text")
    return {
        name: write_family(top / name.replace(" ", "_"), name if name in FAMILIES else "llama4", template())
        for name, template in TEMPLATES.items()
    }


@pytest.mark.parametrize("name", TEMPLATES)
def test_chats_are_those_of_transformers(name: str, folders: dict[str, Path]) -> None:
    ours, theirs = Tokenizer(folders[name]), _judge(folders[name])
    refused = 0
    for title, arguments in CONVERSATIONS.items():
        messages = arguments["messages"]
        asked = {"add_generation_prompt": True, "date_string": DATE_STRING, **arguments}
        del asked["messages"]
        try:
            expected = theirs.apply_chat_template(messages, tokenize=False, **asked)
        except Exception:
            refused += 1
            with pytest.raises(TokenizerError):
                ours.render_chat(**arguments, date=DAY)
            continue
        assert ours.render_chat(**arguments, date=DAY) == expected, title
        ids = theirs.apply_chat_template(messages, return_dict=False, **asked)
        assert ours.encode_chat(**arguments, date=DAY) == ids, title
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True), title
        assert ours.decode(ids, special="keep") == theirs.decode(ids), title
    assert 4 <= refused <= len(CONVERSATIONS) // 2


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_date_is_that_of_a_clock_set_to_it(name: str, folders: dict[str, Path]) -> None:
    """Where a template asks for the date; where it has a constant, that without a date."""
    ours, theirs = Tokenizer(folders[name]), _judge(folders[name])
    date = DAY if "strftime_now" in TEMPLATES[name]() else None
    messages = CONVERSATIONS["system"]["messages"]
    expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert ours.render_chat(messages, date=date) == expected


def _texts() -> list[str]:
    """Prose, scripts, spaces, digits, case changes, special tokens; and random mixtures."""
    words = [*MERGED, *WHOLE, "HELLO", "world's", "WORLD'S", "don'T", "camelCaseWord", "XMLHttp", "ǅ", "ʰ", "a\u0301"]
    words += ["1234567", "٣٤٥٦", "½", "x/y//\n/z", "...\r\n", " \n \n", "\t", "   ", "日本語", "🏳️‍🌈", "\u200b"]
    words += ["\ufffd", "\u1e9e", "\u0378"]
    words += [BEGIN, "<|image|>", "<|eot_id|>", "<|eot|>", "<|", "\x00", "\U0010ffff", "İ", "\u017f's", "'LL"]
    chance = random.Random(0)
    mixtures = ["".join(chance.choices(words, k=chance.randrange(1, 9))) for _ in range(300)]
    return ["", *words, *mixtures]


def _definition(family: str, text: str) -> list[int]:
    """Byte-level BPE of a text without special tokens: split, look up whole, else merge the earliest pair first."""
    import regex
    from tokenizers import pre_tokenizers

    vocab, merges = vocabulary()
    rank = {pair: i for i, pair in enumerate(merges)}
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    ids: list[int] = []
    for piece in regex.findall(FAMILIES[family].split, text):
        whole = level.pre_tokenize_str(piece)[0][0]
        symbols = [whole] if whole in vocab else list(whole)
        while pairs := [pair for pair in pairwise(symbols) if pair in rank]:
            best = min(pairs, key=rank.__getitem__)
            at = list(pairwise(symbols)).index(best)
            symbols[at : at + 2] = ["".join(best)]
        ids += [vocab[symbol] for symbol in symbols]
    return ids


@pytest.mark.parametrize("name", ["llama3", "llama4"])
def test_ids_are_those_of_byte_level_bpe(name: str, tmp_path: Path) -> None:
    """By the definition; and the two pre-tokenizers do not agree on these texts."""
    tokenizer = Tokenizer(write_family(tmp_path, name))
    texts = [text for text in _texts() if "<|" not in text]
    found = {text: tokenizer.encode(text, special="none") for text in texts}
    assert found == {text: _definition(name, text) for text in texts}
    other = {"llama3": "llama4", "llama4": "llama3"}[name]
    assert sum(found[text] != _definition(other, text) for text in texts) > 20


@pytest.mark.parametrize("name", ["llama3", "mllama", "llama4"])
def test_text_is_that_of_transformers(name: str, folders: dict[str, Path]) -> None:
    ours, theirs = Tokenizer(folders[name]), _judge(folders[name])
    image, begin, doubled = theirs.convert_tokens_to_ids("<|image|>"), theirs.bos_token_id, 0
    for text in _texts():
        plain, full = theirs(text, add_special_tokens=False)["input_ids"], theirs(text)["input_ids"]
        own = [token for token in plain if token != image][:1] == [begin]
        doubled += own
        assert ours.encode(text, special="none") == plain
        assert ours.encode(text) == (full[1:] if own else full)
    assert doubled > 5
    chance = random.Random(1)
    for _ in range(300):
        ids = [chance.randrange(len(theirs)) for _ in range(chance.randrange(9))]
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)
        assert ours.decode(ids, special="keep") == theirs.decode(ids, skip_special_tokens=False)


def test_mllama_text_is_that_of_its_processor(folders: dict[str, Path]) -> None:
    """The processor puts the begin token behind the images; its tokenizer then doubles it, and we do not."""
    from transformers.models.mllama.processing_mllama import build_string_from_input

    ours, theirs = Tokenizer(folders["mllama"]), _judge(folders["mllama"])
    card = f"<|image|>{BEGIN}What is this?"
    assert build_string_from_input("<|image|>What is this?", BEGIN, "<|image|>") == card
    assert build_string_from_input(card, BEGIN, "<|image|>") == card
    assert ours.encode(card) == theirs(card, add_special_tokens=False)["input_ids"] == theirs(card)["input_ids"][1:]


def test_what_calibration_saved_does_not_act(tmp_path: Path) -> None:
    """save_pretrained after a call with truncation and padding."""
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(write_family(tmp_path / "before", "llama3", pad_token=END))
    theirs("a b", truncation=True, max_length=4, padding="max_length")
    theirs.save_pretrained(tmp_path / "after")
    written = json.loads((tmp_path / "after" / "tokenizer.json").read_text())
    written |= {
        "truncation": {"direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 9}, "direction": "Left", "pad_to_multiple_of": None}
        | {"pad_id": 1, "pad_type_id": 0, "pad_token": END},
    }
    (tmp_path / "after" / "tokenizer.json").write_text(json.dumps(written))
    again = AutoTokenizer.from_pretrained(tmp_path / "after")
    ours = Tokenizer(tmp_path / "after")
    for text in ("", "a", "a longer text than four tokens"):
        assert ours.encode(text) == again(text)["input_ids"] == theirs(text)["input_ids"]
    assert ours.special_tokens == again.special_tokens_map


FILES: dict[str, dict[str, Any]] = {
    "jinja before config": {"chat_template.jinja": "A"},
    "additional": {"chat_template.jinja": "A", "additional_chat_templates/tool_use.jinja": "T"},
    "additional alone": {"additional_chat_templates/tool_use.jinja": "T"},
    "list": {"config": {"chat_template": [{"name": n, "template": n} for n in ("default", "tool_use", "rag")]}},
    "newlines": {"chat_template.jinja": "\n{% if true %}\r\n a\r\n{% endif %}\n\n"},
    "tokens": {"config": {"chat_template": TOKENS, "pad_token": END, "image_token": "<|image|>"}},
    "named tokens": {"config": {"chat_template": TOKENS, "extra_special_tokens": {"image_token": "<|python_tag|>"}}},
    "map that counts": {
        "config": {"chat_template": TOKENS, "added_tokens_decoder": None, "pad_token": END},
        "special_tokens_map.json": json.dumps({"pad_token": "<|python_tag|>", "eos_token": {"content": END}}),
    },
    "map that does not": {
        "config": {"chat_template": TOKENS},
        "special_tokens_map.json": json.dumps({"pad_token": "<|python_tag|>"}),
    },
}


@pytest.mark.parametrize("title", FILES)
def test_files_count_as_for_transformers(title: str, tmp_path: Path) -> None:
    files = dict(FILES[title])
    config = {"chat_template": "C"} | files.pop("config", {})
    folder = write_family(tmp_path, "mllama", **config)
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode())
    written = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({k: v for k, v in written.items() if v is not None}))
    ours, theirs = Tokenizer(folder), _judge(folder)
    messages = CONVERSATIONS["hi"]["messages"]
    for tools in (None, [], [WEATHER]):
        try:
            expected = theirs.apply_chat_template(messages, tools=tools, tokenize=False)
        except ValueError:
            with pytest.raises(TokenizerError, match="no chat template is named default"):
                ours.render_chat(messages, tools=tools)
            continue
        assert ours.render_chat(messages, tools=tools) == expected
    assert ours.special_tokens == theirs.special_tokens_map
