# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back: tokenizer.json by ``tokenizers``, chat templates by ``jinja2`` as Hugging Face does."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoint.strict_json import Section, read_object
from ..errors import CheckpointError, TokenizerError

if TYPE_CHECKING:
    import jinja2
    import tokenizers

TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
TEMPLATE = "chat_template.jinja"
PROCESSOR_TEMPLATE = "chat_template.json"
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")

Message = Mapping[str, Any]


def _tojson(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """The filter ``tojson`` of chat templates: json.dumps, without the HTML escapes of jinja2's own."""
    return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _raise_exception(message: str) -> None:
    raise TokenizerError(f"the chat template refuses: {message}")


def _strftime_now(form: str) -> str:
    return datetime.datetime.now().strftime(form)


def _environment() -> jinja2.Environment:
    """The environment in which Hugging Face renders chat templates; the sandbox keeps a template from running code."""
    import jinja2.ext
    import jinja2.nodes
    import jinja2.parser
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """``{% generation %}``: marks what the assistant said, for training; here its body is just text."""

        tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

        def parse(self, parser: jinja2.parser.Parser) -> list[jinja2.nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = _strftime_now
    return environment


def _text_of(section: Section, key: str) -> str | None:
    """A special token: a string, or an object with ``content``."""
    value = section.values.get(key)
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _named(section: Section) -> dict[str, str]:
    """The templates under ``chat_template``: one text is the ``default``, or there is a list of named ones."""
    value = section.values.get("chat_template")
    if isinstance(value, str):
        return {"default": value}
    if isinstance(value, list) and all(isinstance(i, dict) for i in value):
        texts = {i.get("name"): i.get("template") for i in value}
        if all(isinstance(text, str) for pair in texts.items() for text in pair):
            return {str(name): str(template) for name, template in texts.items()}
    raise TokenizerError(f"{section.file}: key chat_template must be a string or a list of named templates")


class Tokenizer:
    """The text side of a checkpoint folder.

    Args:
        folder: with tokenizer.json, and for chat also tokenizer_config.json or chat_template.jinja.

    Raises:
        TokenizerError: tokenizer.json is missing, or a file is damaged.

    Example:
        >>> tokenizer = Tokenizer("SmolLM2-135M-Instruct-FP8")                      # doctest: +SKIP
        >>> ids = tokenizer.encode_chat([{"role": "user", "content": "Hello"}])     # doctest: +SKIP
        >>> tokenizer.decode(model.generate(ids, max_new_tokens=20))                # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._tokenizer = self._open()
        try:
            config = self.folder / TOKENIZER_CONFIG
            self._config = read_object(config) if config.exists() else Section(config, {})
            self._templates = self._read_templates()
        except CheckpointError as error:
            raise TokenizerError(str(error)) from None
        special = {key: _text_of(self._config, key) for key in SPECIAL}
        self.special_tokens = {key: text for key, text in special.items() if text is not None}

    def _open(self) -> tokenizers.Tokenizer:
        import tokenizers

        path = self.folder / TOKENIZER
        if not path.is_file():
            raise TokenizerError(f"{path}: is missing")
        try:
            return tokenizers.Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises bare Exception
            raise TokenizerError(f"{path}: is not a tokenizer: {error}") from None

    def _read_templates(self) -> dict[str, str]:
        """chat_template.jinja, else chat_template.json, else tokenizer_config.json; empty if there is none."""
        own, processor = self.folder / TEMPLATE, self.folder / PROCESSOR_TEMPLATE
        if own.is_file():
            try:
                return {"default": own.read_text(encoding="utf-8")}
            except (OSError, UnicodeDecodeError) as error:
                raise TokenizerError(f"{own}: cannot be read: {error}") from None
        if processor.is_file():
            return _named(read_object(processor))
        return _named(self._config) if self._config.has("chat_template") else {}

    @property
    def has_chat_template(self) -> bool:
        """Whether :meth:`render_chat` can work."""
        return bool(self._templates)

    def encode(self, text: str, special: str = "add") -> list[int]:
        """Token ids of a text.

        Args:
            text: any text; the text of a special token becomes that token.
            special: ``"add"``: as tokenizer.json says (Llama 3 puts its begin token first); ``"none"``: add nothing,
                right for a rendered chat, which has them already.

        Raises:
            TokenizerError: ``special`` is neither.
        """
        if special not in ("add", "none"):
            raise TokenizerError(f"special={special!r} is unknown; known: add, none")
        return list(self._tokenizer.encode(text, add_special_tokens=special == "add").ids)

    def decode(self, tokens: Sequence[int], special: str = "skip") -> str:
        """The text of token ids, with special tokens left out (``special="skip"``) or shown (``"keep"``).

        Raises:
            TokenizerError: an id that no text could have, or ``special`` is neither.
        """
        if special not in ("skip", "keep"):
            raise TokenizerError(f"special={special!r} is unknown; known: skip, keep")
        try:
            return str(self._tokenizer.decode(list(tokens), skip_special_tokens=special == "skip"))
        except (OverflowError, TypeError) as error:
            raise TokenizerError(f"tokens cannot be decoded: {error}") from None

    def render_chat(
        self, messages: Sequence[Message], tools: Sequence[Mapping[str, Any]] | None = None, **variables: Any
    ) -> str:
        """The text of a conversation by the checkpoint's chat template.

        Args:
            messages: ``{"role": ..., "content": ...}`` each.
            tools: descriptions of functions, for templates that know them.
            variables: anything else that the template reads. ``add_generation_prompt`` is True unless given;
                ``date_string`` makes Llama 3.2's prompt independent of the day.

        Raises:
            TokenizerError: there is no template, it is damaged, or it refuses the messages.
        """
        import jinja2

        if not self._templates:
            raise TokenizerError(f"{self.folder}: the checkpoint has no chat template")
        wanted = "tool_use" if tools and "tool_use" in self._templates else "default"
        if wanted not in self._templates:
            raise TokenizerError(f"{self.folder}: no chat template is named default")
        values = {"add_generation_prompt": True, "documents": None, **self.special_tokens, **variables}
        try:
            template = _environment().from_string(self._templates[wanted])
            return template.render(messages=list(messages), tools=tools, **values)
        except (jinja2.TemplateError, TypeError, ValueError, LookupError, ArithmeticError, RecursionError) as error:
            if isinstance(error, TokenizerError):
                raise
            raise TokenizerError(f"{self.folder}: the chat template fails: {error}") from None

    def encode_chat(self, messages: Sequence[Message], **variables: Any) -> list[int]:
        """Token ids of a conversation: rendered, then encoded as it is (the template writes the begin token itself).

        Raises:
            TokenizerError: as for :meth:`render_chat`.
        """
        return self.encode(self.render_chat(messages, **variables), special="none")

    def stream(self) -> TextStream:
        """For showing text while it is generated."""
        return TextStream(self._tokenizer)


class TextStream:
    """Ids in, text out, token by token; a character whose bytes span tokens appears with the last of them.

    Example:
        >>> stream = tokenizer.stream()                                                          # doctest: +SKIP
        >>> model.generate(ids, 20, on_token=lambda i: print(stream.push(i), end="", flush=True))  # doctest: +SKIP
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def push(self, token: int) -> str:
        """The text that is certain now and was not before; special tokens have none."""
        return self._stream.step(self._tokenizer, token) or ""
