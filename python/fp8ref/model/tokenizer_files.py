# SPDX-License-Identifier: Apache-2.0
"""The files of a checkpoint's text side, read strictly: what is damaged is one error that names file and key."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoint.strict_json import Section, read_object, regular_file
from ..errors import TokenizerError
from .chat_template import ChatTemplate

if TYPE_CHECKING:
    import tokenizers

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
SPECIAL_TOKENS_MAP = "special_tokens_map.json"
TEMPLATE = "chat_template.jinja"
MORE_TEMPLATES = "additional_chat_templates"
PROCESSOR_TEMPLATE = "chat_template.json"

SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
NAMED = ("extra_special_tokens", "model_specific_special_tokens")  # a list, or an object of more names
# Templates write these two; as plain characters they would mean nothing to the model.
WRITTEN = ("bos_token", "eos_token")
# For each key of tokenizer.json, a value that the library takes; what then loads was damaged under that key.
HARMLESS: dict[str, Any] = {
    "model": {"type": "BPE", "vocab": {}, "merges": []},
    "version": "1.0",
    "truncation": None,
    "padding": None,
    "added_tokens": [],
    "normalizer": None,
    "pre_tokenizer": None,
    "post_processor": None,
    "decoder": None,
}


@contextmanager
def _foreign(what: str) -> Iterator[None]:
    """Whatever the library raises is the file's damage: bare Exceptions, and panics, which are not even that."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        raise TokenizerError(f"{what}: {error}") from None


def _damaged_key(path: Path) -> str:
    """The key of tokenizer.json that the library does not take, where it is only one."""
    import tokenizers

    # The model is the first suspect; it is also the large one.
    document = {**read_object(path).values, "model": HARMLESS["model"]}
    for key, value in HARMLESS.items():
        try:
            with _foreign(key):
                tokenizers.Tokenizer.from_str(json.dumps({**document, key: value}))
        except TokenizerError:
            continue
        return f"key {key}: "
    return ""


def open_tokenizer(folder: Path) -> tokenizers.Tokenizer:
    """tokenizer.json, without its truncation and its padding. [TEXT-FILES], [TEXT-WHOLE]

    Raises:
        CheckpointError: the file cannot be read.
        TokenizerError: the file is missing or damaged.
    """
    import tokenizers

    path = folder / TOKENIZER
    if not path.exists():
        raise TokenizerError(f"{path}: is missing")
    regular_file(path)
    try:
        with _foreign("is not a tokenizer"):
            library = tokenizers.Tokenizer.from_file(str(path))
    except TokenizerError as error:
        raise TokenizerError(f"{path}: {_damaged_key(path)}{error}") from None
    library.no_truncation()
    library.no_padding()
    with _foreign(f"{path}: key post_processor: fails"):  # it may name tokens that it does not have
        library.encode("")
    return library


def read_config(folder: Path) -> Section:
    """tokenizer_config.json; empty if absent.

    Raises:
        CheckpointError: the file is damaged.
    """
    path = folder / TOKENIZER_CONFIG
    return read_object(path) if path.exists() else Section(path, {})


def _token_text(section: Section, key: str) -> str:
    """A special token: a string, or an object with ``content``."""
    value = section.values[key]
    text = value.get("content") if isinstance(value, dict) else value
    if not isinstance(text, str):
        raise section.wrong(key, "a string or an object with content")
    return text


def _token_names(config: Section) -> list[str]:
    """The usual names, and others like ``image_token``; ``add_bos_token`` is a flag and no token."""
    values = config.values.items()
    return [key for key, value in values if key.endswith("_token") and isinstance(value, str | dict)]


def special_tokens(folder: Path, config: Section, library: tokenizers.Tokenizer) -> dict[str, str]:
    """The special tokens by their names, compared with tokenizer.json. [TEXT-SPECIAL]

    Raises:
        CheckpointError: a token is not a text, or tokenizer.json knows it otherwise.
    """
    legacy = folder / SPECIAL_TOKENS_MAP
    counts = legacy.exists() and not config.has("added_tokens_decoder")
    found = {key: _token_text(config, key) for key in _token_names(config)}
    for named in filter(lambda key: isinstance(config.values.get(key), dict), NAMED):
        section = config.section(named)
        found |= {key: _token_text(section, key) for key in section.values}
    for section in (config, read_object(legacy)) if counts else (config,):
        for key in filter(section.has, SPECIAL):
            found[key] = _token_text(section, key)
            if key in WRITTEN and library.token_to_id(found[key]) is None:
                raise section.wrong(key, f"a token of {TOKENIZER}")
    added = config.section("added_tokens_decoder")
    for key in added.values:
        text = _token_text(added, key)
        known = library.token_to_id(text)
        if str(known) != key:
            raise added.wrong(key, f"as in {TOKENIZER}, which has {text!r} as {known}")
    return found


def chat_templates(folder: Path, config: Section) -> dict[str, ChatTemplate]:
    """The chat templates by name; empty if there is none. [TEXT-TEMPLATE]

    Raises:
        CheckpointError: a file is damaged.
        TokenizerError: the same.
    """
    own, processor = folder / TEMPLATE, folder / PROCESSOR_TEMPLATE
    files = {path.stem: path for path in sorted((folder / MORE_TEMPLATES).glob("*.jinja"))}
    if own.exists():
        files["default"] = own
    if files:
        return {name: _template_file(path) for name, path in files.items()}
    if processor.exists():
        return _named(read_object(processor))
    return _named(config) if config.has("chat_template") else {}


def _template_file(path: Path) -> ChatTemplate:
    regular_file(path)
    try:
        return ChatTemplate(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read: {error}") from None


def _named(section: Section) -> dict[str, ChatTemplate]:
    """The templates under ``chat_template``: one text is the ``default``, or there is a list of named ones."""
    value = section.values.get("chat_template")
    texts = [{"name": "default", "template": value}] if isinstance(value, str) else value
    found: dict[str, ChatTemplate] = {}
    for text in texts if isinstance(texts, list) else [None]:
        name, template = (text.get("name"), text.get("template")) if isinstance(text, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(template, str):
            raise section.wrong("chat_template", "a string or a list of named templates")
        found[name] = ChatTemplate(Path(section.file), template)
    return found
