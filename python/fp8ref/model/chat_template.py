# SPDX-License-Identifier: Apache-2.0
"""Chat templates: ``jinja2`` set up as Hugging Face sets it up, with a date that is told and never looked up."""

from __future__ import annotations

import datetime
import functools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import TokenizerError

if TYPE_CHECKING:
    import jinja2

Message = Mapping[str, Any]

DATE_STRING = "%d %b %Y"  # the form of Llama's own templates
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July"),
    *("August", "September", "October", "November", "December"),
)
# Marks the end of what the last message says. The space tells whether the template trims it. [TEXT-CONTINUE]
MARK = "FP8REF_THE_FINAL_MESSAGE_ENDS_HERE "


@dataclass(frozen=True)
class ChatTemplate:
    """A template and the file that it came from."""

    file: Path
    text: str


def parse_date(date: datetime.date | str) -> datetime.date:
    """A date, or the text of one as ISO 8601 writes it.

    Raises:
        TokenizerError: it is neither.

    Example:
        >>> parse_date("2024-07-26")
        datetime.date(2024, 7, 26)
    """
    if isinstance(date, datetime.date):
        return date
    try:
        return datetime.date.fromisoformat(date)
    except (TypeError, ValueError):
        raise TokenizerError(f"date={date!r} is not a date; expected YYYY-MM-DD") from None


def strftime(date: datetime.date, form: str) -> str:
    """``date.strftime``, with English names whatever the program's locale is. [TEXT-DATE]

    Example:
        >>> strftime(datetime.date(2024, 7, 26), "%A, %d %b %Y, %%b")
        'Friday, 26 Jul 2024, %b'
    """
    weekday, month = WEEKDAYS[date.weekday()], MONTHS[date.month - 1]
    names = {"%A": weekday, "%a": weekday[:3], "%B": month, "%b": month[:3]}
    return date.strftime(re.sub("%.", lambda found: names.get(found[0], found[0]), form))


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


def _environment(day: datetime.date | None) -> jinja2.Environment:
    """What templates run in; the sandbox keeps a template from running code. [TEXT-ENVIRONMENT]"""
    import jinja2.ext
    import jinja2.nodes
    import jinja2.parser
    import jinja2.sandbox

    class Generation(jinja2.ext.Extension):
        """``{% generation %}`` marks what the assistant said, for training; here it is text in a scope of its own."""

        tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

        def parse(self, parser: jinja2.parser.Parser) -> jinja2.nodes.Node:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return jinja2.nodes.CallBlock(self.call_method("body"), [], [], body).set_lineno(line)

        def body(self, caller: Any) -> Any:
            return caller()

    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols]
    )
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    none = environment.undefined("the template asks for the date, and none was given: pass date")
    environment.globals["strftime_now"] = none if day is None else functools.partial(strftime, day)  # [TEXT-DATE]
    return environment


def _left_open(messages: Sequence[Message], field: str) -> tuple[list[Message], str]:
    """The messages with a mark at the end of the last one, and the text before the mark. [TEXT-CONTINUE]"""
    *before, last = messages
    value = last.get(field)
    if isinstance(value, str):
        return [*before, {**last, field: value + MARK}], value
    parts = list(value) if isinstance(value, list | tuple) else []
    for at in reversed(range(len(parts))):
        if isinstance(parts[at], Mapping) and isinstance(parts[at].get("text"), str):
            said = parts[at]["text"]
            parts[at] = {**parts[at], "text": said + MARK}
            return [*before, {**last, field: parts}], said
    raise TokenizerError(f"continue_final_message: the last message has no text under {field!r}")


def _cut(text: str, said: str) -> str:
    """The rendered text up to the mark; if the template trimmed the mark, it would have trimmed what was said too."""
    at = text.rfind(MARK.rstrip())
    if at < 0 or said.strip() not in text:
        raise TokenizerError("continue_final_message: the chat template leaves out or changes the last message")
    return text[:at] if text.startswith(MARK, at) else text[:at].rstrip()


def _continued(variables: dict[str, Any]) -> str | None:
    """The field that is to be continued, if any; and who continues a message asks for no header of another one."""
    field = variables.pop("continue_final_message", False)
    if field is False or field is None:
        variables.setdefault("add_generation_prompt", True)
        return None
    if variables.setdefault("add_generation_prompt", False):
        raise TokenizerError("continue_final_message and add_generation_prompt exclude each other")
    if field is not True and not isinstance(field, str):
        raise TokenizerError(f"continue_final_message={field!r} must be true, false or the name of a field")
    return "content" if field is True else field


def _objects(values: object, name: str) -> list[Message]:
    """A list of objects, or an error that says which argument is none."""
    listed = list(values) if isinstance(values, Sequence) and not isinstance(values, str) else None
    if listed is None or not all(isinstance(value, Mapping) for value in listed):
        raise TokenizerError(f"{name} must be a list of objects")
    return listed


def render(
    template: ChatTemplate,
    messages: Sequence[Message],
    tools: Sequence[Mapping[str, Any]] | None = None,
    date: datetime.date | str | None = None,
    variables: Mapping[str, Any] | None = None,
) -> str:
    """The text that a template makes of messages. [TEXT-VARIABLES], [TEXT-DATE], [TEXT-CONTINUE]

    Raises:
        TokenizerError: the template is damaged, fails, or refuses the messages.

    Example:
        >>> template = ChatTemplate(Path("chat_template.jinja"), "{{ messages[0].content }}, {{ date_string }}")
        >>> render(template, [{"role": "user", "content": "Hi"}], date="2024-07-26")
        'Hi, 26 Jul 2024'
    """
    values: dict[str, Any] = {"documents": None, **(variables or {})}
    field = _continued(values)
    shown = _objects(messages, "messages")
    if not shown:
        raise TokenizerError("messages is empty; a chat needs at least one")
    shown, said = (shown, "") if field is None else _left_open(shown, field)
    day = None if date is None else parse_date(date)
    if day is not None:
        values.setdefault("date_string", strftime(day, DATE_STRING))
    values |= {"messages": shown, "tools": None if tools is None else _objects(tools, "tools")}
    try:
        text = _environment(day).from_string(template.text).render(values)
    except TokenizerError as error:
        raise TokenizerError(f"{template.file}: {error}") from None
    except Exception as error:  # a template is a program of somebody else: whatever it raises is its failure
        raise TokenizerError(f"{template.file}: the chat template fails: {error}") from None
    return text if field is None else _cut(text, said)
