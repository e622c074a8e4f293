"""Reads an expression as users write it, in CEL or as in Python, and writes it as CEL. Pure.

Only what is known to be harmless gets through: one variable, a handful of functions, operators, numbers and texts.
There are no loops, so what an expression costs is bounded by its length. CEL: https://cel.dev
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streamd.expressions.tokens import CLOSING, Group, Node, SyntaxFault, Token, grouped, tokens_of

TEXT_LIMIT = 2000
"""Characters in an expression, at most."""

NESTED_LIMIT = 40
"""How often choices and denials may stand in each other."""

PATTERN_LIMIT = 200
"""Characters in a regular expression, at most: it costs as much as it is long, for each character that it looks at."""

JOINED_LIMIT = 40
"""Values that may be joined or added, at most: each `+` copies what stands before it."""

DOC = "doc"
FUNCTIONS = frozenset({"size", "string", "int", "double"})
METHODS = frozenset({"startsWith", "endsWith", "contains", "matches"})
_COUNTING = frozenset({"size", "int"})
_CALCULATING = frozenset({"+", "-", "*", "/"})

_PYTHON = {"and": "&&", "or": "||", "True": "true", "False": "false", "None": "null"}
_WORDS = frozenset({"in", "not", "is", "if", "else"})
_COMPARING = frozenset({"==", "!=", "<", "<=", ">", ">=", "in"})

_POINTERS = {
    "frappe": "there is no application here: compare the document's own fields (dates as text: "
    "doc.posting_date >= '2026-01-01'), and find other documents with remote_value_filters",
    "cmd": "nothing can be run from here: write a condition over the document's own fields",
    "lambda": "write what is to hold of this one document",
    "for": "there are no loops: write what is to hold of this one document",
    "import": "there is nothing to import: use the document's own fields",
}


@dataclass
class Read:
    """An expression as CEL, the fields of the document that it looks at, and those of documents one link away.

    `calculates`: it has operators that CEL does not apply to whole numbers and others together, so that all numbers
    have to be of one kind.
    """

    cel: str = ""
    calculates: bool = False
    fields: set[str] = field(default_factory=set)
    hops: dict[str, set[str]] = field(default_factory=dict)


def read_expression(text: str) -> Read:
    """Raises `SyntaxFault`."""
    if not text.strip():
        raise SyntaxFault("is empty", 1, "write what is to hold, such as doc.country == 'IN'")
    if len(text) > TEXT_LIMIT:
        raise SyntaxFault(f"is longer than {TEXT_LIMIT} characters", TEXT_LIMIT, "write it shorter")
    tokens = tokens_of(text)
    joined = [token for token in tokens if token.kind == "operator" and token.text == "+"]
    if len(joined) > JOINED_LIMIT:
        raise SyntaxFault(f"adds or joins more than {JOINED_LIMIT} values", joined[JOINED_LIMIT].at, "write it shorter")
    nodes, _ = grouped(tokens, 0, "", 0)
    if len(nodes) > 1:
        raise SyntaxFault("has a comma outside of brackets", 1, "join the parts with and, or write a list in [ ]")
    reader = _Reader(any(token.kind == "operator" and token.text in _CALCULATING for token in tokens))
    reader.read.cel = reader.whole(nodes[0])
    both = reader.plain & reader.read.hops.keys()
    if both:
        raise SyntaxFault(f"uses {min(both)} both as a value and as a link to another document", 1, "use it one way")
    return reader.read


class _Reader:
    """Writes nodes as CEL, and notes what they look at."""

    def __init__(self, calculates: bool) -> None:
        self.read = Read(calculates=calculates)
        self.plain: set[str] = set()
        self._nested = 0

    def whole(self, nodes: Sequence[Node]) -> str:
        """An expression, from what binds weakest on."""
        if not nodes:
            raise SyntaxFault("has nothing where a value should be", 1, "write a value there")
        if self._nested > NESTED_LIMIT:
            raise SyntaxFault("has too many parts in each other", _at(nodes[0]), "write it flatter")
        self._nested += 1
        written = self._whole(nodes)
        self._nested -= 1
        return written

    def _whole(self, nodes: Sequence[Node]) -> str:
        choice = _find(nodes, "if")
        if choice is not None:
            other = _find(nodes, "else", choice)
            if other is None:
                raise SyntaxFault("has an if without else", _at(nodes[choice]), "write a if condition else b")
            parts = (nodes[choice + 1 : other], nodes[:choice], nodes[other + 1 :])
            return "({}) ? ({}) : ({})".format(*map(self.whole, parts))
        choice = _find(nodes, "?")
        if choice is not None:
            other = _matching_colon(nodes, choice)
            parts = (nodes[:choice], nodes[choice + 1 : other], nodes[other + 1 :])
            return "({}) ? ({}) : ({})".format(*map(self.whole, parts))
        for words, sign in ((("||", "or"), " || "), (("&&", "and"), " && ")):
            parts_of = _split(nodes, words)
            if len(parts_of) > 1:
                return sign.join(self.whole(part) for part in parts_of)
        if _is(nodes[0], "not"):
            return f"!({self.whole(nodes[1:])})"
        return self.comparison(nodes)

    def comparison(self, nodes: Sequence[Node]) -> str:
        for index, node in enumerate(nodes):
            if _is(node, "not"):
                if index + 1 < len(nodes) and _is(nodes[index + 1], "in"):
                    return f"!({self.plainly(nodes[:index])} in {self.plainly(nodes[index + 2 :])})"
                raise SyntaxFault("has a not that belongs to nothing", _at(node), "write not before what it denies")
            if _is(node, "is"):
                denied = index + 1 < len(nodes) and _is(nodes[index + 1], "not")
                rest = nodes[index + 1 + denied :]
                if len(rest) != 1 or not _is(rest[0], "None", "null"):
                    raise SyntaxFault("has an is that is not followed by None", _at(node), "compare with ==")
                return f"{self.plainly(nodes[:index])} {'!=' if denied else '=='} null"
        signs = [node for node in nodes if isinstance(node, Token) and node.text in _COMPARING and node.kind != "text"]
        if len(signs) > 1:
            raise SyntaxFault("compares twice in a row", signs[1].at, "join two comparisons with and")
        return self.plainly(nodes)

    def plainly(self, nodes: Sequence[Node]) -> str:
        """Values and operators in their order."""
        if not nodes:
            raise SyntaxFault("has nothing where a value should be", 1, "write a value there")
        parts: list[str] = []
        index = 0
        while index < len(nodes):
            node = nodes[index]
            if _is(node, DOC) and isinstance(node, Token):
                text, index = self.document(nodes, index)
                parts.append(text)
                continue
            following = nodes[index + 1] if index + 1 < len(nodes) else None
            part = self.one(node, following, nodes[index - 1] if index else None)
            if part in _COUNTING and self.read.calculates and following is not None:
                part = f"double({part}{self.one(following, None, node)})"
                index += 1
            parts.append(part)
            index += 1
        return " ".join(parts)

    def one(self, node: Node, following: Node | None, before: Node | None) -> str:
        if isinstance(node, Group):
            inner = [] if node.parts == [[]] else [self.whole(part) for part in node.parts]
            if node.opening == "(" and len(inner) != 1 and not (isinstance(before, Token) and before.kind == "name"):
                raise SyntaxFault("has brackets with no value, or several, in them", node.at, "write a list in [ ]")
            return f"{node.opening}{', '.join(inner)}{CLOSING[node.opening]}"
        if node.kind == "text":
            return json.dumps(node.text, ensure_ascii=False).replace("\x7f", "\\u007f")
        if node.kind == "number":
            number = _number(node)
            return f"{number}.0" if self.read.calculates and number.isdigit() else number
        if node.kind == "operator":
            if node.text in ("*", "/") and isinstance(following, Token) and following.text == node.text:
                raise SyntaxFault(f"has {node.text * 2}, which means nothing here", node.at, f"use one {node.text}")
            return node.text
        return self.name(node, following, before)

    def name(self, node: Token, following: Node | None, before: Node | None) -> str:
        called = isinstance(following, Group) and following.opening == "("
        word = _PYTHON.get(node.text, node.text)
        if isinstance(before, Token) and before.kind == "operator" and before.text == ".":
            if called and word in METHODS:
                if word == "matches" and isinstance(following, Group):
                    pattern = _only_text(following, "has a matches without a text", "write .matches('^[A-Z]+$')")
                    if len(pattern) > PATTERN_LIMIT:
                        raise SyntaxFault(
                            f"has a pattern of more than {PATTERN_LIMIT} characters", node.at, "shorten it"
                        )
                return word
            raise SyntaxFault(f"has .{node.text}, which is no function of a value", node.at, _known(METHODS))
        if word in ("true", "false", "null", "in") or (called and word in FUNCTIONS):
            return word
        mend = (
            _POINTERS.get(node.text)
            or f"the document is called {DOC}: write {DOC}.{node.text}; or put a text in quotes"
        )
        if called:
            mend = _POINTERS.get(node.text) or _known(FUNCTIONS)
        raise SyntaxFault(f"does not know {node.text}", node.at, mend)

    def document(self, nodes: Sequence[Node], index: int) -> tuple[str, int]:
        """`doc` with its field, and perhaps one more; written as CEL. Returns where the rest begins."""
        start, index = nodes[index], index + 1
        path: list[str] = []
        while index < len(nodes):
            step, length = _step(nodes, index)
            if step is None:
                break
            path.append(step)
            index += length
        if not path:
            raise SyntaxFault(f"uses {DOC} itself as a value", _at(start), f"name a field: {DOC}.country")
        if len(path) > 2:
            raise SyntaxFault(
                f"looks further than one link ({'.'.join(path)})", _at(start), "look at the next document"
            )
        for name in path:
            if name.startswith("__"):
                raise SyntaxFault(f"does not know {name}", _at(start), "use the document's own fields")
        self.read.fields.add(path[0])
        if len(path) == 2:
            self.read.hops.setdefault(path[0], set()).add(path[1])
        else:
            self.plain.add(path[0])
        return DOC + "".join(f"[{json.dumps(name, ensure_ascii=False)}]" for name in path), index


def _step(nodes: Sequence[Node], index: int) -> tuple[str | None, int]:
    """A step into the document: `.name`, `["name"]` or `.get("name")`; and of how many nodes it is made."""
    node = nodes[index]
    if isinstance(node, Group) and node.opening == "[":
        return _only_text(node, "names a field by something that is no text"), 1
    if not _is(node, ".") or index + 1 >= len(nodes):
        return None, 0
    name = nodes[index + 1]
    if not isinstance(name, Token) or name.kind != "name":
        return None, 0
    following = nodes[index + 2] if index + 2 < len(nodes) else None
    if isinstance(following, Group) and following.opening == "(":
        if name.text != "get":
            return None, 0
        return _only_text(following, "has a get with more than a field's name"), 3
    return name.text, 2


def _only_text(group: Group, fault: str, mend: str = 'write doc["field"]') -> str:
    if len(group.parts) == 1 and len(group.parts[0]) == 1:
        (only,) = group.parts[0]
        if isinstance(only, Token) and only.kind == "text":
            return only.text
    raise SyntaxFault(fault, group.at, mend)


def _number(token: Token) -> str:
    plain = token.text.replace("_", "")
    if "." in plain and not plain.startswith(".") and plain.rstrip("0123456789").endswith("."):
        plain += "0" if plain.endswith(".") else ""
    if plain.startswith("."):
        plain = "0" + plain
    if len(plain) > 1 and plain[0] == "0" and plain[1].isdigit():
        raise SyntaxFault("has a number that begins with 0", token.at, "write it without the 0")
    return plain


def _known(names: frozenset[str]) -> str:
    return f"known are {', '.join(sorted(names))}"


def _is(node: Node | None, *texts: str) -> bool:
    return isinstance(node, Token) and node.kind in ("name", "operator") and node.text in texts


def _at(node: Node) -> int:
    return node.at


def _find(nodes: Sequence[Node], text: str, after: int = -1) -> int | None:
    return next((index for index, node in enumerate(nodes) if index > after and _is(node, text)), None)


def _matching_colon(nodes: Sequence[Node], choice: int) -> int:
    deep = 0
    for index in range(choice + 1, len(nodes)):
        if _is(nodes[index], "?"):
            deep += 1
        elif _is(nodes[index], ":"):
            if not deep:
                return index
            deep -= 1
    raise SyntaxFault("has a ? without :", _at(nodes[choice]), "write condition ? a : b")


def _split(nodes: Sequence[Node], words: Sequence[str]) -> list[Sequence[Node]]:
    parts: list[list[Node]] = [[]]
    for node in nodes:
        if _is(node, *words):
            parts.append([])
        else:
            parts[-1].append(node)
    return [list(part) for part in parts]


def names_of(read: Read) -> tuple[frozenset[str], Mapping[str, frozenset[str]]]:
    """The fields, and the hops, as values that do not change."""
    return frozenset(read.fields), {link: frozenset(fields) for link, fields in read.hops.items()}
