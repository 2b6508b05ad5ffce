"""What a host sees in a comment and in a log: the elements and texts of rendered Markdown, and a runner's commands.

Takes Markdown or lines of a log; gives what a host would act on. Written from what GitHub and GitLab document, so that
tests do not ask the renderer about itself.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt

_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])


class Seen(HTMLParser):
    """A rendered comment. `tags` are in order; `texts` are those outside code and links, one for each node.

    `codes` are those in the font of code.
    """

    def __init__(self, markdown: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.hrefs: list[str] = []
        self.texts: list[str] = []
        self.codes: list[str] = []
        self.comments: list[str] = []
        self._open: list[str] = []
        self.feed(_MARKDOWN.render(markdown))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.codes += [""] if tag == "code" else []
        if tag not in ("br", "hr", "img", "input"):
            self._open.append(tag)
        for name, value in attrs:
            assert (tag, name) == ("a", "href"), f"<{tag} {name}={value!r}>"
            self.hrefs.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self.tags.append(f"/{tag}")
        if tag != "br":
            assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "code" in self._open:
            self.codes[-1] += data
        if not {"code", "a", "pre"} & set(self._open):
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.comments.append(data.strip())

    @property
    def skeleton(self) -> list[str]:
        """The elements that make the form of the comment; those that only set characters apart are left out."""
        return [tag for tag in self.tags if tag.strip("/") not in ("code", "span")]


_ACTED_ON = re.compile(
    r"(?<![\w`])@[a-z0-9]"  # somebody is mentioned
    r"|#[0-9]"  # an issue is
    r"|\bGH-[0-9]",
    re.IGNORECASE,
)
_CLOSES = re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+https?://", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://\S+")


def acted_on(seen: Seen) -> list[str]:
    """What a host would make a mention or a reference of, or close."""
    found = [match[0] for text in seen.texts for match in _ACTED_ON.finditer(_ADDRESS.sub("", text))]
    return found + [match[0] for text in seen.texts for match in _CLOSES.finditer(text)]


# What GitHub's runner does with a line of a step's log ---------------------------------------------------------------


def command_of(line: str) -> tuple[str, dict[str, str], str] | None:
    """The name, properties and data of the command in a line, as actions/runner reads it: both of its notations."""
    text = line.lstrip()
    if text.startswith("::") and (end := text.find("::", 2)) >= 0:
        return _command(text[2:end], text[end + 2 :], {"%3A": ":", "%2C": ","}, ",")
    start = line.find("##[")
    if start >= 0 and (end := line.find("]", start)) >= 0:
        return _command(line[start + 3 : end], line[end + 1 :], {"%3B": ";", "%5D": "]"}, ";")
    return None


def _command(head: str, data: str, escapes: dict[str, str], separator: str) -> tuple[str, dict[str, str], str]:
    name, _, listed = head.partition(" ")
    properties = {}
    for pair in filter(None, listed.strip().split(separator)):
        key, _, value = pair.partition("=")
        properties[key] = _unescaped(value, escapes)
    return name, properties, _unescaped(data, {})


def _unescaped(text: str, more: dict[str, str]) -> str:
    for escape, character in {"%0D": "\r", "%0A": "\n", **more, "%25": "%"}.items():
        text = text.replace(escape, character)
    return text
