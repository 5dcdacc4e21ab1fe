# SPDX-License-Identifier: Apache-2.0
"""Text to token ids and back: tokenizer.json by ``tokenizers``, chat templates by ``jinja2`` (spec/text.md)."""

from __future__ import annotations

import datetime
import operator
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, TokenizerError
from .chat_template import ChatTemplate, Message, render
from .tokenizer_files import chat_templates, open_tokenizer, read_config, special_tokens

if TYPE_CHECKING:
    import tokenizers

IMAGE = "<|image|>"  # the text of the image token, the same in Llama 3.2 Vision and Llama 4


class Tokenizer:
    """The text side of a checkpoint folder.

    Args:
        folder: with tokenizer.json, and for chat also tokenizer_config.json or chat_template.jinja.

    Raises:
        TokenizerError: tokenizer.json is missing, or a file is damaged; the message names the file and the key.

    Example:
        >>> tokenizer = Tokenizer("SmolLM2-135M-Instruct-FP8")                      # doctest: +SKIP
        >>> ids = tokenizer.encode_chat([{"role": "user", "content": "Hello"}])     # doctest: +SKIP
        >>> tokenizer.decode(model.generate(ids, max_new_tokens=20))                # doctest: +SKIP
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        try:
            self._tokenizer = open_tokenizer(self.folder)
            config = read_config(self.folder)
            self.special_tokens = special_tokens(self.folder, config, self._tokenizer)
            self._templates = chat_templates(self.folder, config)
        except CheckpointError as error:
            raise TokenizerError(str(error)) from None
        self._image = self._tokenizer.token_to_id(IMAGE)

    @property
    def has_chat_template(self) -> bool:
        """Whether :meth:`render_chat` can work."""
        return bool(self._templates)

    def encode(self, text: str, special: str = "add") -> list[int]:
        """Token ids of a text; the text of a special token becomes that token. [TEXT-ENCODE]

        Args:
            text: any text.
            special: ``"add"``: as tokenizer.json says (Llama puts its begin token first), but the begin token of a
                text that has one already is not doubled, [TEXT-BOS]; ``"none"``: add nothing.

        Raises:
            TokenizerError: ``special`` is neither, or the text is none.
        """
        if special not in ("add", "none"):
            raise TokenizerError(f"special={special!r} is unknown; known: add, none")
        try:
            found = self._tokenizer.encode(text, add_special_tokens=special == "add")
        except (TypeError, ValueError) as error:  # not a str, or one with lone surrogates
            raise TokenizerError(f"text cannot be encoded: {error}") from None
        ids = list(found.ids)
        added = any(found.special_tokens_mask[:1])  # 1 is for what the post processor added, not for the text's own
        return ids[1:] if added and self._begins_with(ids[0], ids[1:]) else ids

    def _begins_with(self, token: int, ids: Sequence[int]) -> bool:
        """Whether a text's own ids begin with a token; images may stand before it. [TEXT-BOS]"""
        own = next((found for found in ids if found != self._image), None)
        return own == token

    def decode(self, tokens: Sequence[int], special: str = "skip") -> str:
        """The text of token ids, with special tokens left out (``special="skip"``) or shown (``"keep"``). [TEXT-DECODE]

        Raises:
            TokenizerError: an id that no text could have, or ``special`` is neither.
        """
        if special not in ("skip", "keep"):
            raise TokenizerError(f"special={special!r} is unknown; known: skip, keep")
        try:
            ids = [operator.index(token) for token in tokens]
            return str(self._tokenizer.decode(ids, skip_special_tokens=special == "skip"))
        except (OverflowError, TypeError) as error:
            raise TokenizerError(f"tokens cannot be decoded: {error}") from None

    def _template(self, wanted: str | None, tools: object) -> ChatTemplate:
        """The template that is asked for, ``tool_use`` when tools are given, or ``default``. [TEXT-TEMPLATE]"""
        if not self._templates:
            raise TokenizerError(f"{self.folder}: the checkpoint has no chat template")
        if wanted is None:
            wanted = "tool_use" if tools is not None and "tool_use" in self._templates else "default"
        if wanted not in self._templates:
            known = ", ".join(sorted(self._templates))
            raise TokenizerError(f"{self.folder}: no chat template is named {wanted}; known: {known}")
        return self._templates[wanted]

    def render_chat(
        self,
        messages: Sequence[Message],
        tools: Sequence[Mapping[str, Any]] | None = None,
        date: datetime.date | str | None = None,
        template: str | None = None,
        **variables: Any,
    ) -> str:
        """The text of a conversation by the checkpoint's chat template.

        Args:
            messages: ``{"role": ..., "content": ...}`` each.
            tools: descriptions of functions, for templates that know them.
            date: the day that a template may write into the prompt, ``"2024-07-26"`` or a ``datetime.date``. None is
                ever read from the clock: without it a template writes its own constant, or fails. [TEXT-DATE]
            template: the name of one of several templates.
            variables: anything else that the template reads, by Hugging Face's names. ``add_generation_prompt`` is
                True unless given; ``continue_final_message=True`` leaves the last message open; ``documents``,
                ``builtin_tools``, ``tools_in_user_message`` and ``date_string`` are for the templates that know them.

        Raises:
            TokenizerError: there is no template, it is damaged, or it refuses the messages.
        """
        chosen = self._template(template, tools)
        return render(chosen, messages, tools, date, {**self.special_tokens, **variables})

    def encode_chat(self, messages: Sequence[Message], **variables: Any) -> list[int]:
        """Token ids of a conversation: rendered, then encoded as it is, for the template writes the begin token itself.

        Args:
            messages: ``{"role": ..., "content": ...}`` each.
            variables: all other arguments of :meth:`render_chat`.

        Raises:
            TokenizerError: as for :meth:`render_chat`.
        """
        return self.encode(self.render_chat(messages, **variables), special="none")

    def stream(self) -> TextStream:
        """For showing text while it is generated."""
        return TextStream(self._tokenizer)


class TextStream:
    """Ids in, text out, token by token; a character of several tokens appears with the last of them. [TEXT-STREAM]

    Example:
        >>> stream = tokenizer.stream()                                                          # doctest: +SKIP
        >>> model.generate(ids, 20, on_token=lambda i: print(stream.push(i), end="", flush=True))  # doctest: +SKIP
        >>> print(stream.finish())                                                               # doctest: +SKIP
    """

    def __init__(self, tokenizer: tokenizers.Tokenizer) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        self._tokens: list[int] = []
        self._shown = 0

    def push(self, token: int) -> str:
        """The text that is certain now and was not before; special tokens have none."""
        text = self._stream.step(self._tokenizer, token) or ""
        self._tokens.append(token)
        self._shown += len(text)
        return text

    def finish(self) -> str:
        """What was held back: bytes that became no character, as U+FFFD."""
        return str(self._tokenizer.decode(self._tokens, skip_special_tokens=True))[self._shown :]
