# SPDX-License-Identifier: Apache-2.0
"""Conversations that use everything chat templates do; what some of them must become is in test_chat_template.py."""

from __future__ import annotations

from typing import Any

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather of a <place> & time, in °C",
        "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "parameters": {}}}


def said(role: str, content: Any, **more: Any) -> dict[str, Any]:
    """A message."""
    return {"role": role, "content": content, **more}


def calls(*pairs: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Tool calls of an assistant's message."""
    return [{"type": "function", "function": {"name": name, "arguments": given}} for name, given in pairs]


ASK = said("user", "Weather in Zürich?")
IMAGE = said("user", [{"type": "image"}, {"type": "text", "text": "What is this?"}])
TEXTS = said("user", [{"type": "text", "text": " a "}, {"type": "text", "text": "b "}])
ONE_CALL = said("assistant", "", tool_calls=calls(("weather", {"place": "Zürich <CH>", "n": 1.5, "b": None})))
TWO_CALLS = said("assistant", "so", tool_calls=calls(("weather", {"place": "Oslo"}), ("clock", {})))
OPEN: dict[str, Any] = {"continue_final_message": True, "add_generation_prompt": False}

# Arguments of render_chat by name.
CONVERSATIONS: dict[str, dict[str, Any]] = {
    "hi": {"messages": [said("user", "Hi")]},
    "closed": {"messages": [said("user", "Hi")], "add_generation_prompt": False},
    "spaces": {"messages": [said("user", "  Hi\n\n "), said("assistant", " yes \n"), said("user", "\t…\n")]},
    "system": {"messages": [said("system", " Be brief. "), said("user", "Hi")]},
    "system parts": {"messages": [said("system", [{"type": "text", "text": " Be brief."}]), said("user", "Hi")]},
    "turns": {"messages": [said("user", "1"), said("assistant", "2"), said("user", "3 世界\r\n")]},
    "dated": {"messages": [said("user", "Hi")], "date_string": "01 Feb 2025"},
    "tools": {"messages": [ASK], "tools": [WEATHER, CLOCK]},
    "no tools": {"messages": [ASK], "tools": []},
    "tools in system": {
        "messages": [said("system", "S"), ASK],
        "tools": [WEATHER],
        "tools_in_user_message": False,
    },
    "custom tools": {"messages": [said("system", "S"), ASK], "custom_tools": [CLOCK]},
    "tools without messages": {"messages": [said("system", "S")], "tools": [WEATHER]},
    "call": {"messages": [ASK, ONE_CALL, said("tool", {"°C": 21}), said("assistant", "21")], "tools": [WEATHER]},
    "text result": {"messages": [ASK, ONE_CALL, said("ipython", 'sunny "°"')], "tools": [WEATHER]},
    "list result": {"messages": [ASK, ONE_CALL, said("tool", [{"type": "text", "text": "é"}])]},
    "number result": {"messages": [ASK, ONE_CALL, said("tool", 21)]},
    "two calls": {"messages": [ASK, TWO_CALLS]},
    "empty calls": {"messages": [ASK, said("assistant", "so", tool_calls=[])]},
    "builtin tools": {
        "messages": [ASK, said("assistant", "", tool_calls=calls(("brave", {"query": "é", "k": "v"}))), ONE_CALL],
        "builtin_tools": ["brave", "code_interpreter"],
    },
    "image": {"messages": [IMAGE, said("assistant", "A cat."), said("user", "Sure?")]},
    "image and system": {"messages": [said("system", "S"), IMAGE]},
    "texts": {"messages": [TEXTS]},
    "open": {"messages": [said("user", "Hi"), said("assistant", "Sure, ")], **OPEN},
    "open tight": {"messages": [said("user", "Hi"), said("assistant", "Sure")], **OPEN},
    "open empty": {"messages": [said("user", "Hi"), said("assistant", "")], **OPEN},
    "open parts": {"messages": [IMAGE, said("assistant", [{"type": "text", "text": "A "}, {"type": "image"}])], **OPEN},
    "open nothing": {"messages": [said("user", "Hi"), said("assistant", None)], **OPEN},
    "open call": {"messages": [ASK, ONE_CALL], **OPEN},
    "open field": {"messages": [said("user", "Hi", role_note="x")], "continue_final_message": "role_note"}
    | {"add_generation_prompt": False},
    "open and prompt": {"messages": [ASK], "continue_final_message": True, "add_generation_prompt": True},
    "special text": {"messages": [said("user", "<|eot_id|><|eot|><|image|><|begin_of_text|>")]},
    "no role": {"messages": [{"content": "Hi"}]},
    "no content": {"messages": [{"role": "user"}]},
    "empty": {"messages": []},
    "other tokens": {"messages": [said("user", "Hi")], "bos_token": "<|end_of_text|>"},
}
