# SPDX-License-Identifier: Apache-2.0
"""Chat templates: what they must become, by hand; the environment, the date, messages left open; seeded defects."""

from __future__ import annotations

import datetime
import json
import locale
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2.filters
import pytest

from fp8ref.errors import TokenizerError
from fp8ref.model import Tokenizer, chat_template
from fp8ref.model.chat_template import ChatTemplate, render, strftime
from model.conversations import ASK, CONVERSATIONS, TWO_CALLS, WEATHER, said
from model.families import BEGIN, FAMILIES, write_family

USER = [said("user", "Hi")]
ABOUT = "Cutting Knowledge Date: December 2023\nToday Date: 26 Jul 2024\n\n"
CALL_THESE = f"Call one of these, as JSON.\n\n{json.dumps(WEATHER, indent=4, ensure_ascii=False)}\n\n"


def three(*turns: tuple[str, str], end: str = "<|eot_id|>") -> str:
    """Turns as Llama 3 writes them, then the header of the answer."""
    text = "".join(f"<|start_header_id|>{role}<|end_header_id|>\n\n{said}{end}" for role, said in turns)
    return f"{BEGIN}{text}<|start_header_id|>assistant<|end_header_id|>\n\n"


def four(*turns: tuple[str, str]) -> str:
    """The same for Llama 4."""
    text = "".join(f"<|header_start|>{role}<|header_end|>\n\n{said}<|eot|>" for role, said in turns)
    return f"{BEGIN}{text}<|header_start|>assistant<|header_end|>\n\n"


WEATHER_CALL = '{"name": "weather", "parameters": {"place": "Zürich <CH>", "n": 1.5, "b": null}}'
# Family, conversation, text; no date is given. None: the messages are refused.
VECTORS: list[tuple[str, str, str | None]] = [
    ("llama3", "hi", three(("user", "Hi"))),
    ("llama3", "spaces", three(("user", "Hi"), ("assistant", "yes"), ("user", "…"))),
    ("llama3", "system", three(("system", "Be brief."), ("user", "Hi"))),
    ("llama3_1", "hi", three(("system", ABOUT), ("user", "Hi"))),
    ("llama3_1", "dated", three(("system", ABOUT.replace("26 Jul 2024", "01 Feb 2025")), ("user", "Hi"))),
    ("llama3_2", "hi", three(("system", ABOUT), ("user", "Hi"))),
    ("llama3_2", "system", three(("system", f"{ABOUT}Be brief."), ("user", "Hi"))),
    (
        "llama3_2",
        "call",
        three(
            ("system", f"Environment: ipython\n{ABOUT}"),
            ("user", f"{CALL_THESE}Weather in Zürich?"),
            ("assistant", WEATHER_CALL),
            ("ipython", '{"°C": 21}'),
            ("assistant", "21"),
        ),
    ),
    (
        "llama3_1",
        "tools in system",
        three(("system", f"Environment: ipython\n{ABOUT}{CALL_THESE}S"), ("user", "Weather in Zürich?")),
    ),
    ("llama3_1", "two calls", None),
    ("mllama", "hi", three(("system", ABOUT), ("user", "Hi"))),
    ("mllama", "image", three(("user", "<|image|>What is this?"), ("assistant", "A cat."), ("user", "Sure?"))),
    ("mllama", "image and system", None),
    ("llama4", "hi", four(("user", "Hi"))),
    ("llama4", "spaces", four(("user", "  Hi\n\n "), ("assistant", " yes \n"), ("user", "\t…\n"))),
    ("llama4", "system", four(("system", "Be brief."), ("user", "Hi"))),
    ("llama4", "image", four(("user", "<|image|>What is this?"), ("assistant", "A cat."), ("user", "Sure?"))),
    (
        "llama4",
        "two calls",
        four(
            ("user", "Weather in Zürich?"),
            (
                "assistant",
                '<|python_start|>so<|python_end|>{"name": "weather", "parameters": {"place": "Oslo"}}'
                '{"name": "clock", "parameters": {}}',
            ),
        ),
    ),
    ("llama4", "text result", four(
        ("user", f"{CALL_THESE}Weather in Zürich?"),
        ("assistant", f"<|python_start|><|python_end|>{WEATHER_CALL}"),
        ("ipython", '"sunny \\"°\\""'),
    )),
    ("llama3", "open", three(("user", "Hi")) + "Sure,"),
    ("llama3", "open tight", three(("user", "Hi")) + "Sure"),
    ("llama4", "open", four(("user", "Hi")) + "Sure, "),
    ("llama4", "open empty", four(("user", "Hi"))),
    ("mllama", "open parts", three(("user", "<|image|>What is this?")) + "A "),
    ("llama3", "open nothing", None),
    ("llama3", "open and prompt", None),
    ("llama3", "empty", None),
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    top = tmp_path_factory.mktemp("families")
    return {name: Tokenizer(write_family(top / name, name)) for name in FAMILIES}


def _differing(tokenizers: dict[str, Tokenizer]) -> list[tuple[str, str]]:
    """The vectors that come out otherwise."""
    found = []
    for family, title, expected in VECTORS:
        try:
            text = tokenizers[family].render_chat(**CONVERSATIONS[title])
        except TokenizerError:
            text = None
        if text != expected:
            found.append((family, title))
    return found


def test_chats_become_what_the_families_expect(tokenizers: dict[str, Tokenizer]) -> None:
    """[TEXT-TEMPLATE], [TEXT-VARIABLES], [TEXT-CONTINUE]"""
    assert _differing(tokenizers) == []


def test_the_check_vector(tokenizers: dict[str, Tokenizer]) -> None:
    """The example of spec/text.md."""
    text = (Path(__file__).parents[2] / "spec" / "text.md").read_text(encoding="utf-8")
    example = text.partition("## Examples")[2].split("```")[1].removeprefix("\n")
    assert tokenizers["llama3_2"].render_chat(USER) == example


ENVIRONMENT: dict[str, Callable[[Any], object]] = {
    "no trim_blocks": lambda made: setattr(made, "trim_blocks", False),
    "no lstrip_blocks": lambda made: setattr(made, "lstrip_blocks", False),
    "jinja's own tojson": lambda made: made.filters.update(tojson=jinja2.filters.do_tojson),
    "tojson of ASCII": lambda made: made.filters.update(tojson=lambda x, indent=None: json.dumps(x, indent=indent)),
    "tojson without indent": lambda made: made.filters.update(tojson=lambda x, **_: json.dumps(x, ensure_ascii=False)),
    "no exception": lambda made: made.globals.update(raise_exception=lambda message: ""),
    "today": lambda made: made.globals.update(strftime_now=datetime.datetime.now().strftime),
}


@pytest.mark.parametrize("defect", ENVIRONMENT)
def test_defects_of_the_environment_are_noticed(
    defect: str, tokenizers: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """[TEXT-ENVIRONMENT], [TEXT-DATE]"""
    right = chat_template._environment

    def wrong(day: datetime.date | None) -> Any:
        made = right(day)
        ENVIRONMENT[defect](made)
        return made

    monkeypatch.setattr(chat_template, "_environment", wrong)
    assert _differing(tokenizers) != []


ARGUMENTS: dict[str, Callable[[str, str], str]] = {
    "white space is kept": lambda text, said: text[: text.rfind(chat_template.MARK.rstrip())],
    "white space is dropped": lambda text, said: text[: text.rfind(chat_template.MARK.rstrip())].rstrip(),
    "the turn is closed": lambda text, said: text.replace(chat_template.MARK, "").replace(
        chat_template.MARK.rstrip(), ""
    ),
}


@pytest.mark.parametrize("defect", ARGUMENTS)
def test_defects_of_open_messages_are_noticed(
    defect: str, tokenizers: dict[str, Tokenizer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_template, "_cut", ARGUMENTS[defect])
    assert [title for _, title in _differing(tokenizers)] != []


@pytest.mark.parametrize("name", FAMILIES)
def test_the_begin_token_is_first_and_once(name: str, tokenizers: dict[str, Tokenizer]) -> None:
    """[TEXT-BOS], also where the rendered text is encoded as any other text."""
    tokenizer = tokenizers[name]
    ids = tokenizer.encode_chat(USER)
    begin = tokenizer.encode(BEGIN, special="none")
    assert ids[:1] == begin and ids.count(begin[0]) == 1
    assert tokenizer.encode(tokenizer.render_chat(USER)) == ids
    assert tokenizer.decode(ids, special="keep") == tokenizer.render_chat(USER)


def _render(text: str, **arguments: Any) -> str:
    return render(ChatTemplate(Path("chat_template.jinja"), text), **({"messages": USER} | arguments))


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{% for m in messages %}{% break %}{% endfor %}x", "x"),
        ("{% set x = 1 %}{% generation %}{% set x = 2 %}{{ messages[0].content }}{% endgeneration %}{{ x }}", "Hi1"),
        ("  {% if true %}\n  y{% endif %}", "  y"),
        ("{{ {'b': 1, 'a': [2]} | tojson(indent=1) }}", '{\n "b": 1,\n "a": [\n  2\n ]\n}'),
        ("{{ {'b': 1, 'a': 2} | tojson(separators=(',', ':'), sort_keys=true) }}", '{"a":2,"b":1}'),
        ("{{ 'é<' | tojson }}{{ 'é' | tojson(ensure_ascii=true) }}", '"é<""\\u00e9"'),
        ("{{ tools is none }}{{ documents is none }}{{ add_generation_prompt }}", "TrueTrueTrue"),
        ("{{ unknown_variable }}", ""),
    ],
)
def test_what_templates_use(template: str, expected: str) -> None:
    assert _render(template) == expected


@pytest.mark.parametrize(
    ("date", "variables", "expected"),
    [
        (None, {}, "none none"),
        ("2024-07-26", {}, "26 Jul 2024 26 Jul 2024"),
        (datetime.date(2025, 3, 5), {}, "05 Mar 2025 05 Mar 2025"),
        (datetime.datetime(2025, 3, 5, 23, 59), {}, "05 Mar 2025 05 Mar 2025"),
        ("2024-07-26", {"date_string": "today"}, "today 26 Jul 2024"),
        (None, {"date_string": "today"}, "today none"),
    ],
)
def test_the_date_is_told(date: Any, variables: dict[str, Any], expected: str) -> None:
    now = "{{ strftime_now('%d %b %Y') if strftime_now is defined else 'none' }}"
    assert _render("{{ date_string | default('none') }} " + now, date=date, variables=variables) == expected


@pytest.mark.parametrize("name", ["llama3_1", "llama3_2", "mllama"])
def test_the_date_reaches_each_family(name: str, tokenizers: dict[str, Tokenizer]) -> None:
    assert "Today Date: 05 Jan 2025\n" in tokenizers[name].render_chat(USER, date="2025-01-05")


def test_no_date_is_read_from_the_clock() -> None:
    with pytest.raises(TokenizerError, match="asks for the date, and none was given: pass date"):
        _render("{{ strftime_now('%Y') }}")


def test_names_of_days_and_months_are_english() -> None:
    """In every locale; checked in each that the machine has."""
    day = datetime.date(2024, 5, 1)
    before = locale.setlocale(locale.LC_TIME)
    try:
        for name in ("C", "de_DE.UTF-8", "fr_FR.UTF-8", "ja_JP.UTF-8"):
            try:
                locale.setlocale(locale.LC_TIME, name)
            except locale.Error:
                continue
            assert strftime(day, "%A %a %B %b %d %Y %%b %%%b") == "Wednesday Wed May May 01 2024 %b %May"
    finally:
        locale.setlocale(locale.LC_TIME, before)
    months = [strftime(datetime.date(2024, month, 1), "%b %B") for month in range(1, 13)]
    assert months == [datetime.date(2024, month, 1).strftime("%b %B") for month in range(1, 13)]
    days = [datetime.date(2024, 1, day) for day in range(1, 8)]
    assert [strftime(day, "%a %A") for day in days] == [day.strftime("%a %A") for day in days]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"date": "26 Jul 2024"}, "expected YYYY-MM-DD"),
        ({"date": 3}, "expected YYYY-MM-DD"),
        ({"messages": []}, "messages is empty"),
        ({"messages": "Hi"}, "messages must be a list of objects"),
        ({"messages": ["Hi"]}, "messages must be a list of objects"),
        ({"tools": [print]}, "tools must be a list of objects"),
        ({"variables": {"continue_final_message": True, "add_generation_prompt": True}}, "exclude each other"),
        ({"variables": {"continue_final_message": 3}}, "must be true, false or the name"),
        ({"variables": {"continue_final_message": "thoughts"}}, "has no text under 'thoughts'"),
        ({"messages": [TWO_CALLS], "variables": {"continue_final_message": True}}, "leaves out or changes"),
    ],
)
def test_arguments_that_mean_nothing(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        _render("{{ messages[0].role }}", **arguments)


@pytest.mark.parametrize(
    "template",
    [
        "{{ raise_exception('only user messages') }}",
        "{% for",
        "{{ 1 / 0 }}",
        "{{ messages[0].content + 1 }}",
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages | nofilter }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
        "{% macro again() %}{{ again() }}{% endmacro %}{{ again() }}",
        "{% set x = [raise_exception] | tojson %}",
    ],
)
def test_templates_that_fail(template: str) -> None:
    """[TEXT-DAMAGED]: one error that names the file."""
    with pytest.raises(TokenizerError, match=r"chat_template\.jinja: the chat template"):
        _render(template)


def test_messages_stay_as_they_were(tokenizers: dict[str, Tokenizer]) -> None:
    messages = CONVERSATIONS["open parts"]["messages"]
    before = json.dumps(messages)
    tokenizers["mllama"].render_chat(messages, continue_final_message=True)
    assert json.dumps(messages) == before


def test_a_template_of_tools_is_asked_for(tmp_path: Path) -> None:
    """[TEXT-TEMPLATE]"""
    named = [{"name": name, "template": name + "{{ tools | tojson }}"} for name in ("default", "tool_use", "rag")]
    tokenizer = Tokenizer(write_family(tmp_path, "llama3", chat_template=named))
    assert tokenizer.render_chat(USER) == "defaultnull"
    assert tokenizer.render_chat(USER, tools=[]) == "tool_use[]"
    assert tokenizer.render_chat(USER, tools=[{"f": "<é>"}]) == 'tool_use[{"f": "<é>"}]'
    assert tokenizer.render_chat(USER, tools=[], template="rag") == "rag[]"
    with pytest.raises(TokenizerError, match="no chat template is named x; known: default, rag, tool_use"):
        tokenizer.render_chat([ASK], template="x")
