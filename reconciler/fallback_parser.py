"""The YAML parser for a PyYAML that was built without libyaml: PyYAML's own, made to read as libyaml does.

Takes the bytes of a file that passed `syntax.check_text`, gives PyYAML's events. It is here because wheels without
libyaml exist, and because a file must not mean one thing on one machine and another on the next.

PyYAML's scanner is older than libyaml's. It knows no tabs between tokens, ends plain text in ``[ ]`` and ``{ }`` at
every ``?``, and lets escapes through that are no characters. The methods below replace those of its Scanner where the
two differ; their names, and the attributes that they use, are PyYAML's. What is left: a ``?`` without a key in ``[ ]``
or ``{ }``, and a malformed directive, are refused by both but not always at the same character. This parser is some
fifty times slower than libyaml.
"""

from __future__ import annotations

import re

from yaml.error import Mark
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.scanner import Scanner, ScannerError
from yaml.tokens import ScalarToken, TagToken

__all__ = ["FallbackParser"]

_ENDS = "\0 \t\r\n"
_PLAIN_IN_BLOCK = re.compile(r"(?:[^\0 \t\r\n:]|:(?![\0 \t\r\n]))+")
_PLAIN_IN_FLOW = re.compile(r"(?:[^\0 \t\r\n:,\[\]{}]|:(?![\0 \t\r\n,?\[\]{}]))+")
_UNEXPECTED_COLON = re.compile(r":[,?\[\]{}]")
_BLANKS = re.compile(r"[ \t]*")
_DOCUMENT_INDICATOR = re.compile(r"(?:---|\.\.\.)[\0 \t\r\n]")
_TAG = re.compile(
    r"!<([-\w;/?:@&=+$,.!~*'()\[\]%]+)>|(![-\w]*!)([-\w;/?:@&=+$.!~*'()%]+)|!(?![-\w]*!)([-\w;/?:@&=+$.!~*'()%]+)?",
    re.ASCII,
)
_BLOCK_HEADER = re.compile(r"(?:([-+])([0-9])?|([0-9])([-+])?)?")
_SURROGATE = re.compile("[\ud800-\udfff]")


class FallbackParser(Reader, Scanner, Parser):
    """PyYAML's reader, scanner and parser. The text is one buffer, so patterns can be matched at `pointer`."""

    def __init__(self, data: bytes) -> None:
        Reader.__init__(self, data.decode())
        Scanner.__init__(self)
        Parser.__init__(self)

    def fetch_stream_end(self) -> None:
        if self.column:  # the end of a file is on a line of its own, which ends what can be a key
            self.line += 1
            self.column = 0
        self.stale_possible_simple_keys()
        super().fetch_stream_end()

    def scan_to_next_token(self) -> None:
        while True:
            while self.peek() == " " or (self.peek() == "\t" and (self.flow_level or not self.allow_simple_key)):
                self.forward()
            if self.peek() == "#":
                while self.peek() not in "\0\r\n":
                    self.forward()
            if not self._take_break():
                return
            if not self.flow_level:
                self.allow_simple_key = True

    def scan_plain(self) -> ScalarToken:
        pattern = _PLAIN_IN_FLOW if self.flow_level else _PLAIN_IN_BLOCK
        chunks: list[str] = []
        start = end = self.get_mark()
        between = ""
        follows_break = False
        while not _DOCUMENT_INDICATOR.match(self.buffer, self.pointer) or self.column:
            found = pattern.match(self.buffer, self.pointer) if self.peek() != "#" else None
            if found:
                chunks.append(between + found[0])
                self.forward(len(found[0]))
                end = self.get_mark()
                self.allow_simple_key = follows_break = False
            if self.flow_level and _UNEXPECTED_COLON.match(self.buffer, self.pointer):
                raise ScannerError("while scanning a plain scalar", start, "found unexpected ':'", self.get_mark())
            if not found or self.peek() not in " \t\r\n":
                break
            between, follows_break = self._scan_between_words(start)
            if not self.flow_level and self.column < self.indent + 1:
                break
        if follows_break:
            self.allow_simple_key = True
        return ScalarToken("".join(chunks), True, start, end)

    def _scan_between_words(self, start: Mark) -> tuple[str, bool]:
        """What stands for the blanks and line breaks here, and whether there was a break."""
        blanks = self._take_blanks()
        breaks = ""
        while line_break := self._take_break():
            breaks += line_break
            blanks = ""
            while self.peek() in " \t":
                if self.column < self.indent + 1 and self.peek() == "\t":
                    problem = "found a tab character that violates indentation"
                    raise ScannerError("while scanning a plain scalar", start, problem, self.get_mark())
                self.forward()
        return (breaks[1:] or " ", True) if breaks else (blanks, False)

    def _take_blanks(self) -> str:
        found = _BLANKS.match(self.buffer, self.pointer)
        blanks = found[0] if found else ""
        self.forward(len(blanks))
        return blanks

    def _take_break(self) -> str:
        found: str = self.scan_line_break()  # type: ignore[no-untyped-call]
        return found

    def scan_tag(self) -> TagToken:
        start = self.get_mark()
        found = _TAG.match(self.buffer, self.pointer)
        if found:
            self.forward(len(found[0]))
        if not found or not (self.peek() in _ENDS or (self.flow_level and self.peek() == ",")):
            raise ScannerError("while scanning a tag", start, "found no tag", self.get_mark())
        uri, handle, suffix, local = found.groups()
        if uri or not (suffix or local):
            handle, suffix = None, uri or "!"
        return TagToken((handle, suffix) if suffix else ("!", local), start, self.get_mark())

    def scan_block_scalar_indicators(self, start_mark: Mark) -> tuple[bool | None, int | None]:
        found = _BLOCK_HEADER.match(self.buffer, self.pointer)
        before, digit, other_digit, after = found.groups() if found else (None,) * 4
        digit, sign = digit or other_digit, before or after
        if digit == "0":
            self.forward(1 if before else 0)
            raise ScannerError("while scanning a block scalar", start_mark, "found indentation 0", self.get_mark())
        self.forward(len(found[0]) if found else 0)
        return (None if sign is None else sign == "+", int(digit) if digit else None)

    def scan_block_scalar_ignored_line(self, start_mark: Mark) -> None:
        self._take_blanks()
        super().scan_block_scalar_ignored_line(start_mark)

    def scan_block_scalar_indentation(self) -> tuple[list[str], int, Mark]:
        found: tuple[list[str], int, Mark] = super().scan_block_scalar_indentation()
        self._refuse_tab()
        return found

    def scan_block_scalar_breaks(self, indent: int) -> tuple[list[str], Mark]:
        found: tuple[list[str], Mark] = super().scan_block_scalar_breaks(indent)
        if self.column < indent:
            self._refuse_tab()
        return found

    def _refuse_tab(self) -> None:
        if self.peek() == "\t":
            problem = "found a tab character where an indentation space is expected"
            raise ScannerError("while scanning a block scalar", self.get_mark(), problem, self.get_mark())

    def scan_flow_scalar_non_spaces(self, double: bool, start_mark: Mark) -> list[str]:
        try:
            chunks: list[str] = super().scan_flow_scalar_non_spaces(double, start_mark)
        except (ValueError, OverflowError):
            chunks = ["\ud800"]
        if any(_SURROGATE.search(chunk) for chunk in chunks):
            problem = "found invalid Unicode character escape code"
            raise ScannerError("while parsing a quoted scalar", start_mark, problem, self.get_mark())
        return chunks
