"""Text from YAML or the database inside Markdown, where it must stay text.

Takes any text; gives Markdown that shows exactly that text, on one line, in a table cell, a list or a sentence. What
could be markup becomes a numeric entity: Markdown reads structure before entities, so no parser takes one for a pipe,
a backtick, a tag or a link. Backslashes would not do: a table cell reads them in its own way, before all else.

What a host makes of text after Markdown (a mention, the number of an issue, a keyword that closes one, a command of
GitLab's at the start of a line) it finds in what is shown, where an entity is the character again. There an element, or
a space of no width, comes between.
"""

from __future__ import annotations

import re

from reconciler.model import Location
from reconciler.report.words import visible

_PLAIN_CODE = re.compile(r"[A-Za-z0-9\"'(.\-](?:[A-Za-z0-9 ._:/+\-\"'=,{}()…]*[A-Za-z0-9\"').}…])?")
"""What can stand between single backticks as it is, so that most of a report's source stays readable."""

_MARKUP = re.compile(
    r"[\\`*~\[\]<>|]"
    r"|&(?=#|[A-Za-z0-9]+;)"  # an entity; any other ampersand may stand in a link
    r"|(?<![\w/])#"  # a heading; any other may stand in a link
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; inside a word it is none
    r"|^[-+=/]|(?<=^\d)[.)]|(?<=^\d\d)[.)]|(?<=^\d\d\d)[.)]"  # a list, a rule, or a command of GitLab's
)
"""What may be markup in a sentence."""

_OF_ADDRESS = r"[a-z0-9._~:/?&=+%,;!'()-]"
"""What may follow a host's name in an address without ending it, where everything else is written as below."""

_IN_SENTENCE = re.compile(
    rf"(?P<address>\bhttps?://[a-z0-9.-]+\.[a-z0-9]+(?::[0-9]+)?(?:/{_OF_ADDRESS}*)?(?:#{_OF_ADDRESS}*)?)"
    r"|(?P<closing>\b(?:clos|fix|resolv)(?:e|es|ed)?(?=:?\s+https?://))"  # closes the issue whose address follows
    r"|(?P<reference>#(?=[0-9])|(?<=\bGH)-(?=[0-9]))"  # the number of an issue, also in owner/repository#1
    rf"|(?P<markup>{_MARKUP.pattern})",
    re.IGNORECASE,
)
"""What may be markup in a sentence, or what a host may see in it once it is shown."""

_IN_CODE = re.compile(r"[\\`*_~\[\]<>&|#!:@]")
"""Inside <code>, Markdown is still read, and an address would become a link or ping somebody."""


def prose(text: str) -> str:
    """The text for a sentence or a cell. Addresses of web pages become links, as they are; nobody is mentioned.

    What stands between backticks becomes code, as in the messages of this tool.
    """
    plain_and_code = visible(text.strip()).split("`")
    if len(plain_and_code) % 2 == 0:
        plain_and_code = ["`".join(plain_and_code)]
    return "".join(_code_or_ticks(part) if index % 2 else _plain(part) for index, part in enumerate(plain_and_code))


def _code_or_ticks(text: str) -> str:
    return code(text) if text else "&#96;&#96;"


def _plain(text: str) -> str:
    return _without_maths(_IN_SENTENCE.sub(_disarmed, text).replace("@", "@&#8203;"))


def _disarmed(match: re.Match[str]) -> str:
    found = match[0]
    match match.lastgroup:
        case "address":
            return _MARKUP.sub(_entity, found)
        case "closing":
            return f"{found[0]}&#8203;{found[1:]}"
        case "reference":
            return f"<span>&#{ord(found)};</span>"
    return _entity(match)


def code(text: str) -> str:
    """The text in the font of code: between backticks where that is safe, else as a `<code>` element."""
    text = visible(text)
    if _PLAIN_CODE.fullmatch(text) and "www." not in text:
        return f"`{text}`"
    escaped = _IN_CODE.sub(_entity, text).replace("www.", "www&#46;")
    return f"<code>{_without_maths(escaped)}</code>"


def link(shown: str, target: str) -> str:
    """A link: `shown` is Markdown, `target` an address from `address`, or one that is trusted."""
    return f"[{shown}](<{target}>)"


def address(base: str, location: Location) -> str:
    """Where a file's line can be read: the file's name below `base`, with all that could end an address encoded."""
    name = "".join(_encoded(character) for character in location.file)
    return f"{base.rstrip('/')}/{name}#L{location.line}"


def _encoded(character: str) -> str:
    if character.isascii() and (character.isalnum() or character in "-._~/"):
        return character
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogateescape"))


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def _without_maths(text: str) -> str:
    """GitHub typesets what stands between dollars, unless each stands in an element of its own."""
    return text.replace("$", "<span>&#36;</span>")
