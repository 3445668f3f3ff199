"""How an intent becomes chat messages: one small template for each type.

A template is a file `<type>.txt` with the system instructions; `default.txt` serves the types
without one. A user's folder wins over the built-in one, file by file. `data` is never put into
the instructions: it goes in as JSON inside a delimited user message, with `<` and `>` escaped so
that no content can close the delimiter.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from schemas.embeddings import inputs_of
from schemas.intent import WorkflowIntent

__all__ = ["BUILT_IN_PROMPTS", "chat_in", "load_prompts", "render"]

BUILT_IN_PROMPTS = Path(__file__).parents[1] / "templates"


def load_prompts(folder: Path | None = None) -> dict[str, str]:
    """Read the templates, the user's over the built-in ones; raises OSError, UnicodeDecodeError."""
    prompts: dict[str, str] = {}
    for source in (BUILT_IN_PROMPTS, folder):
        if source is not None:
            for path in sorted(source.glob("*.txt")):
                prompts[path.stem] = path.read_text(encoding="utf-8").strip()
    return prompts


def chat_in(intent: WorkflowIntent) -> list[dict[str, Any]] | None:
    """Give the chat that an intent brings; a list without roles is data like any other."""
    given = intent.data.get("messages")
    if not isinstance(given, list) or not given or not all(isinstance(one, dict) for one in given):
        return None
    return given if any("role" in one for one in given) else None


def render(intent: WorkflowIntent, prompts: Mapping[str, str]) -> list[dict[str, Any]]:
    """Build the chat messages of an intent; a `messages` list in `data` is sent as it is.

    Of task embedding: its inputs, each as a message that nobody says.
    """
    if intent.task == "embedding":
        return [{"content": text} for text in inputs_of(intent)]
    chat = chat_in(intent)
    if chat is not None:
        return chat
    task: dict[str, Any] = {"data": intent.data}
    if intent.platforms:
        task["platforms"] = intent.platforms
    if intent.content_type:
        task["content_type"] = intent.content_type
    body = json.dumps(task, ensure_ascii=False, separators=(",", ":"))
    body = body.replace("<", "\\u003c").replace(">", "\\u003e")
    instructions = prompts.get(intent.type, prompts["default"])
    return [
        {"role": "system", "content": instructions},
        {"role": "user", "content": f"<intent_data>\n{body}\n</intent_data>"},
    ]
