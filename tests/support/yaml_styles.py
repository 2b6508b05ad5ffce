"""State files that are made up: the same values, written in whatever way YAML allows and people do.

Takes nothing; gives a hypothesis strategy of bytes. Each file is valid, and speaks of the table of `corpus`.
"""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["files"]

_VALUES: dict[str, list[str]] = {
    "open": ["true", "false", "True", "FALSE", "!!bool true"],
    "seats": ["0", "12", "+3", "0x1F", "-4"],
    "title": ["Acme", '"Acme: #1"', "'it''s'", "null", "~", "", '"tab\\t"', "two words", "!!str 5", '"#"'],
    "tags": ["[]", "[a, b]", "[a, 'b, c', \"d\"]"],
    "extra": ["{}", "{a: 1}", "[1, {b: null}]", "{value: 1, other: 2}", "plain", "1.50"],
    "since": ["2026-11-27T09:00:00Z", '"1999-01-01T00:00:00Z"'],
}
_BLOCKS: dict[str, list[list[str]]] = {
    "title": [
        ["|", "one", "two"],
        [">-", "one", "", "two"],
        ["|-  # why", "one", "  two", "# three"],
        ["|+", "one", ""],
    ],
    "tags": [["", "- a", "- b   # b"], ["", "- 'x'", "# between", "- y"]],
    "extra": [["", "a: 1", "b:", "  - c", "  - d: e"], ["", "# in it", "x: {y: z}"]],
}
_REASONS = ["why", '"because: of this"', "'it''s'", "INC-142"]
_COMMENTS = ["", "", "", "   # a comment", "\t# after a tab", " #"]
_BETWEEN = ["", "", "", "# alone", "#", "  # deeper", "   "]


@st.composite
def _value(draw: st.DrawFn, field: str, in_flow: bool) -> str:
    allowed = [text for text in _VALUES[field] if not in_flow or text != ""]
    return draw(st.sampled_from(allowed))


@st.composite
def _long_in_flow(draw: st.DrawFn, field: str) -> str:
    pairs = [f"value: {draw(_value(field, in_flow=True))}"]
    if draw(st.booleans()):
        pairs.append(f"reason: {draw(st.sampled_from(_REASONS))}")
    if draw(st.booleans()):
        pairs.append("until: 2026-11-27T09:00:00Z")
    text = ", ".join(draw(st.permutations(pairs)))
    return "{" + text + draw(st.sampled_from(["", " ", ","])) + "}"


@st.composite
def _field(draw: st.DrawFn, field: str, indent: str, step: str) -> list[str]:
    name = draw(st.sampled_from([field, field, f'"{field}"', f"'{field}'"]))
    colon = draw(st.sampled_from([": ", ": ", ":  ", ":\t"]))
    kind = draw(st.sampled_from(["short", "short", "long", "flow", "block", "below"]))
    comment = draw(st.sampled_from(_COMMENTS))
    if kind == "long":
        inner = indent + step
        parts = [f"{inner}value: {draw(_value(field, in_flow=False))}{comment}"]
        if draw(st.booleans()):
            parts.append(f"{inner}reason: {draw(st.sampled_from(_REASONS))}{draw(st.sampled_from(_COMMENTS))}")
        if draw(st.booleans()):
            parts.append(f"{inner}until: 2026-11-27T09:00:00Z")
        if draw(st.booleans()):
            parts += [f"{inner}override:", f"{inner}{step}after: ok"]
            return [f"{indent}{name}:{draw(st.sampled_from(_COMMENTS))}", *parts]
        return [f"{indent}{name}:{draw(st.sampled_from(_COMMENTS))}", *draw(st.permutations(parts))]
    if kind == "flow":
        return [f"{indent}{name}{colon}{draw(_long_in_flow(field))}{comment}"]
    if kind == "block" and field in _BLOCKS:
        head, *lines = draw(st.sampled_from(_BLOCKS[field]))
        begin = f"{indent}{name}: {head}" if head else f"{indent}{name}:{comment}"
        return [begin, *(f"{indent}{step}{line}" if line else "" for line in lines)]
    value = draw(_value(field, in_flow=False))
    if kind == "below" and value:
        return [f"{indent}{name}:", f"{indent}{step}{value}{comment}"]
    return [f"{indent}{name}{colon}{value}{comment}" if value else f"{indent}{name}:{comment}"]


@st.composite
def _row(draw: st.DrawFn, key: str, indent: str, step: str) -> list[str]:
    fields = draw(st.lists(st.sampled_from(sorted(_VALUES)), unique=True, min_size=1, max_size=4))
    style = draw(st.sampled_from(["block", "block", "block", "flow", "lines"]))
    comment = draw(st.sampled_from(_COMMENTS))
    if style == "block":
        lines = [f"{indent}{key}:{comment}"]
        if draw(st.booleans()):
            lines.append(f"{indent}{step}$expect: {{title: Acme}}")
        for field in fields:
            lines += draw(_field(field, indent + step, step))
            between = draw(st.sampled_from(_BETWEEN))
            if between and "|" not in "".join(lines) and ">" not in "".join(lines):
                lines.append(between)
        return lines
    pairs = []
    for field in fields:
        value = draw(st.one_of(_value(field, in_flow=True), _long_in_flow(field)))
        pairs.append(f"{draw(st.sampled_from([field, chr(34) + field + chr(34)]))}: {value}")
    if style == "flow":
        text = draw(st.sampled_from([", ", ",", " , "])).join(pairs) + draw(st.sampled_from(["", " ", ","]))
        return [f"{indent}{key}: {{{text}}}{comment}"]
    lines = [f"{indent}{key}: {{{comment}"]
    for at, pair in enumerate(pairs):
        comma = "," if at < len(pairs) - 1 or draw(st.booleans()) else ""
        lines.append(f"{indent}{step}{pair}{comma}{draw(st.sampled_from(_COMMENTS))}")
    return [*lines, f"{indent}{step[:-1]}}}"]


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """One file, of no to four rows."""
    indent = draw(st.sampled_from(["", "", "", "  "]))
    step = " " * draw(st.sampled_from([2, 2, 3, 4, 8, 1]))
    lines: list[str] = []
    if draw(st.booleans()):
        lines.append("# yaml-language-server: $schema=x.json")
    if draw(st.booleans()):
        lines.append("---")
    for key in draw(
        st.lists(st.sampled_from(["acme", '"bistro"', "'corner 1'", "12", "yes"]), unique=True, max_size=4)
    ):
        lines += draw(_row(key, indent, step))
        lines += draw(st.sampled_from([[], [""], ["", "# between rows"], ["", ""]]))
    if draw(st.booleans()):
        lines.append("# the end")
    if draw(st.integers(0, 4)) == 0 and any(not line.startswith("#") for line in lines):
        lines.append("...")
    newline = draw(st.sampled_from(["\n", "\n", "\r\n"]))
    text = newline.join(lines) + (newline if draw(st.booleans()) else "")
    return (b"\xef\xbb\xbf" if draw(st.integers(0, 4)) == 0 else b"") + text.encode()
