"""The words of effects: the standard message, the sentence for people, and the bodies that Slack and Discord want.

Takes what is known of a change, by name; gives JSON. Pure.
"""

from __future__ import annotations

from typing import Any

from reconciler.canonical import to_text
from reconciler.effects.templates import NAMES, Values, compile_template
from reconciler.model import Json

STANDARD = compile_template({name: f"${name}" for name in NAMES})
"""What an effect carries whose schema says no `data`."""

_DISCORD_LIMIT = 2_000
_SLACK_LIMIT = 4_000


def sentence(values: Values) -> str:
    """What happened to one field, for people: `isWhatsappEnabled of Acme Bakery: true -> false (WhatsApp ban)`."""
    who = values["label"] if values["label"] is not None else f"{values['table']}/{values['key']}"
    reason = f" ({values['reason']})" if values["reason"] else ""
    return f"{values['field']} of {who}: {_shown(values['before'])} -> {_shown(values['after'])}{reason}"


def sentence_of_drift(field: str, who: str, found: Json, asked: Json, done: str) -> str:
    """What was found of one field, for people, and what was done about it."""
    return f"{field} of {who} is {_shown(found)}, git asks for {_shown(asked)}: {done}"


def slack(text: str) -> dict[str, Json]:
    """The body of a Slack webhook. `text` is Slack's own mark-up: see `slack_text` for what comes from elsewhere."""
    return {"text": _shortened(text, _SLACK_LIMIT)}


def slack_text(text: str) -> str:
    """Text as Slack shows it, whatever it holds: nothing in it can mention a channel or hide a link."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def discord(text: str) -> dict[str, Json]:
    """The body of a Discord webhook, in which nobody is mentioned."""
    return {"content": _shortened(text, _DISCORD_LIMIT), "allowed_mentions": {"parse": []}}


def with_id(data: Any, id: str) -> Any:
    """A message that is a mapping, with the effect's id in it unless it says one itself."""
    return {**data, "id": id} if isinstance(data, dict) and "id" not in data else data


def _shown(value: Json) -> str:
    return to_text(value)


def _shortened(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
