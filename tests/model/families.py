# SPDX-License-Identifier: Apache-2.0
"""Small tokenizers and chat templates of the Llama families, made here: real pre-tokenizers, few tokens.

The templates are written for these tests. They have what the families' own have (spec/text.md): the system block and
its date, trimmed or untrimmed content, tools in the first user message, tool calls and results, images, refusals.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors

SUFFIXES = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3_SPLIT = (
    SUFFIXES
    + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)  # fmt: skip
LLAMA4_SPLIT = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]*[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]+{SUFFIXES}?"
    rf"|[^\r\n\p{{L}}\p{{N}}]?[\p{{Lu}}\p{{Lt}}\p{{Lm}}\p{{Lo}}\p{{M}}]+[\p{{Ll}}\p{{Lm}}\p{{Lo}}\p{{M}}]*{SUFFIXES}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Words that merges make, from the left; and words that only ignore_merges finds, for no merge leads to them.
MERGED = (
    *("the", " the", " token", "ization", "Hello", "123", "'s", "\n\n", "  ", " 世", "é", "system", "user"),
    *("camelCase", "world's", "//\n/"),  # the pre-tokenizers cut these in different places
)
WHOLE = (" whole", "Wholly", "世界", "!!!\n")

BEGIN, END = "<|begin_of_text|>", "<|end_of_text|>"
LLAMA3_SPECIAL = (
    *(BEGIN, END, "<|finetune_right_pad_id|>", "<|start_header_id|>", "<|end_header_id|>"),
    *("<|eom_id|>", "<|eot_id|>", "<|python_tag|>"),
)
LLAMA4_SPECIAL = (
    *(BEGIN, END, "<|header_start|>", "<|header_end|>", "<|eom|>", "<|eot|>", "<|python_start|>", "<|python_end|>"),
    *("<|finetune_right_pad|>", "<|image_start|>", "<|image_end|>", "<|image|>", "<|patch|>"),
)

TOOLS = (
    "{%- macro described(tools) -%}{{ 'Call one of these, as JSON.\n\n' }}"
    "{%- for tool in tools %}{{ tool | tojson(indent=4) ~ '\n\n' }}{% endfor %}{%- endmacro -%}\n"
)
LLAMA3 = """{% for message in messages %}
    {% if loop.first %}{{ bos_token }}{% endif %}
<|start_header_id|>{{ message.role }}<|end_header_id|>{{ '\n\n' ~ message.content | trim }}<|eot_id|>
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
"""
LLAMA3_1 = (
    TOOLS
    + """{%- macro block(role, text, end='<|eot_id|>') -%}
{{ '<|start_header_id|>' ~ role ~ '<|end_header_id|>\n\n' ~ text ~ end }}
{%- endmacro -%}
{%- set date_string = date_string | default(DATE) %}
{%- set tools_in_user_message = tools_in_user_message | default(true) %}
{%- set system, messages = (messages[0].content | trim, messages[1:])
        if messages[0].role == 'system' else ('', messages) %}
{%- set about = 'Cutting Knowledge Date: December 2023\nToday Date: ' ~ date_string ~ '\n\n' %}
{%- if builtin_tools is defined %}
    {%- set about = 'Tools: ' ~ builtin_tools | reject('equalto', 'code_interpreter') | join(', ') ~ '\n\n' ~ about %}
{%- endif %}
{%- if builtin_tools is defined or tools is not none %}{% set about = 'Environment: ipython\n' ~ about %}{% endif %}
{%- if tools is not none and not tools_in_user_message %}{% set about = about ~ described(tools) %}{% endif %}
{{- bos_token ~ block('system', about ~ system) }}
{%- for message in messages %}
    {%- if tools is not none and tools_in_user_message and loop.first %}
        {{- block('user', described(tools) ~ message.content | trim) }}
    {%- elif 'tool_calls' in message %}
        {%- if message.tool_calls | length != 1 %}{{ raise_exception('one call at once') }}{% endif %}
        {%- set call = message.tool_calls[0].function %}
        {%- if builtin_tools is defined and call.name in builtin_tools %}
            {%- set text %}<|python_tag|>{{ call.name }}.call({% for key, value in call.arguments | items %}
                {{- key }}="{{ value }}"{{ ', ' if not loop.last }}{% endfor %}){% endset %}
        {%- else %}
            {%- set text = '{"name": "' ~ call.name ~ '", "parameters": ' ~ call.arguments | tojson ~ '}' %}
        {%- endif %}
        {{- block('assistant', text, '<|eom_id|>' if builtin_tools is defined else '<|eot_id|>') }}
    {%- elif message.role in ('tool', 'ipython') %}
        {%- set is_json = message.content is mapping or message.content is iterable %}
        {{- block('ipython', message.content | tojson if is_json else message.content) }}
    {%- else %}
        {{- block(message.role, message.content | trim) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ block('assistant', '', '') }}{% endif %}
"""
)
NOW = "(strftime_now('%d %b %Y') if strftime_now is defined else '26 Jul 2024')"
CONTENT = """{%- macro shown(content) -%}
{%- if content is string %}{{ content }}{% else %}
    {%- for part in content %}{{ '<|image|>' if part.type == 'image' else part.text }}{% endfor %}
{%- endif %}
{%- endmacro -%}
"""
MLLAMA = (
    CONTENT
    + """{%- set found = namespace(image=false) %}
{%- for message in messages %}
    {%- for part in message.content %}
        {%- if part.type == 'image' %}{% set found.image = true %}{% break %}{% endif %}
    {%- endfor %}
{%- endfor %}
{%- macro block(role, text) -%}{{ '<|start_header_id|>' ~ role ~ '<|end_header_id|>\n\n' ~ text ~ '<|eot_id|>' }}
{%- endmacro -%}
{{- bos_token }}
{%- set system = messages[0].content | trim if messages[0].role == 'system' else '' %}
{%- if found.image and system %}{{ raise_exception('no system message beside images') }}{% endif %}
{%- if not found.image %}
    {{- block('system', 'Cutting Knowledge Date: December 2023\nToday Date: ' ~ date_string | default(DATE) ~ '\n\n'
        ~ system) }}
{%- endif %}
{%- for message in messages if message.role != 'system' %}{{ block(message.role, shown(message.content)) }}{% endfor %}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}
""".replace("DATE", NOW)
)
LLAMA4 = (
    TOOLS
    + CONTENT
    + """{%- macro block(role, text) -%}{{ '<|header_start|>' ~ role ~ '<|header_end|>\n\n' ~ text ~ '<|eot|>' }}
{%- endmacro -%}
{{- bos_token }}
{%- if messages[0].role == 'system' %}
    {{- block('system', ('Environment: ipython\n' if tools is not none else '') ~ shown(messages[0].content) | trim) }}
    {%- set messages = messages[1:] %}
{%- endif %}
{%- for message in messages %}
    {%- if tools is not none and loop.first %}
        {{- block('user', described(tools) ~ message.content | trim) }}
    {%- elif message.tool_calls is defined %}
        {%- set calls %}{% for call in message.tool_calls -%}
            {"name": "{{ call.function.name }}", "parameters": {{ call.function.arguments | tojson }}}
        {%- endfor %}{% endset %}
        {{- block('assistant', '<|python_start|>' ~ shown(message.content) ~ '<|python_end|>' ~ calls) }}
    {%- elif message.role in ('tool', 'ipython') %}
        {{- block('ipython', message.content | tojson) }}
    {%- else %}
        {{- block(message.role, shown(message.content)) }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|header_start|>assistant<|header_end|>\n\n' }}{% endif %}
"""
)


@dataclass(frozen=True)
class Family:
    """What the families differ in."""

    split: str
    special: tuple[str, ...]
    template: str
    end: str  # of a turn


FAMILIES = {
    "llama3": Family(LLAMA3_SPLIT, LLAMA3_SPECIAL, LLAMA3, "<|eot_id|>"),
    "llama3_1": Family(LLAMA3_SPLIT, LLAMA3_SPECIAL, LLAMA3_1.replace("DATE", "'26 Jul 2024'"), "<|eot_id|>"),
    "llama3_2": Family(LLAMA3_SPLIT, LLAMA3_SPECIAL, LLAMA3_1.replace("DATE", NOW), "<|eot_id|>"),
    "mllama": Family(LLAMA3_SPLIT, (*LLAMA3_SPECIAL, "<|image|>"), MLLAMA, "<|eot_id|>"),
    "llama4": Family(LLAMA4_SPLIT, LLAMA4_SPECIAL, LLAMA4, "<|eot|>"),
}


def vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Byte-level BPE: the bytes, what merging the words from the left makes, and the whole words."""
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokens = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges: list[tuple[str, str]] = []
    for word in MERGED:
        symbols = level.pre_tokenize_str(word)[0][0]
        for at in range(1, len(symbols)):
            if symbols[: at + 1] not in tokens:
                merges.append((symbols[:at], symbols[at]))
                tokens.append(symbols[: at + 1])
    tokens += [level.pre_tokenize_str(word)[0][0] for word in WHOLE]
    return {token: i for i, token in enumerate(tokens)}, merges


def library(family: Family) -> Tokenizer:
    """The tokenizer as the families' tokenizer.json has it."""
    vocab, merges = vocabulary()
    made = Tokenizer(models.BPE(vocab, merges, ignore_merges=True))
    level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(family.split), "isolated"), level])
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in family.special])
    begin = processors.TemplateProcessing(
        single=f"{BEGIN} $A", pair=f"{BEGIN} $A {BEGIN} $B:1", special_tokens=[(BEGIN, made.token_to_id(BEGIN))]
    )
    made.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), begin])
    return made


def write_family(folder: Path, name: str, template: str | None = None, **config: Any) -> Path:
    """The text side of a checkpoint of a family, with its chat template or another one."""
    family = FAMILIES[name]
    made = library(family)
    folder.mkdir(parents=True, exist_ok=True)
    made.save(str(folder / "tokenizer.json"))
    tokens = {
        "added_tokens_decoder": {
            str(made.token_to_id(token)): {"content": token, "special": True, "normalized": False}
            for token in family.special
        },
        "bos_token": BEGIN,
        "eos_token": {"__type": "AddedToken", "content": family.end, "special": True, "normalized": False},
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": True,
        "chat_template": family.template if template is None else template,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens | config), encoding="utf-8")
    return folder
