"""What CEL complains of, in the words of the people who write expressions."""

from __future__ import annotations

import re

_KINDS = {
    "int": "a whole number",
    "int64": "a whole number",
    "uint": "a whole number",
    "double": "a number",
    "string": "a text",
    "bool": "true or false",
    "null_type": "null",
    "dyn": "a field",
}
_AS_WRITTEN = {"@in": "in", "_in_": "in", "_?_:_": "a choice (c ? a : b)"}
_CONDITIONS = ("&&", "||", "!", _AS_WRITTEN["_?_:_"])
_COMPILING = re.compile(r"<input>:1:(\d+): found no matching overload for '([^']+)' applied to '([^']*)'")
_EVALUATING = re.compile(r"No matching overloads found : ([^\s(]+)\s*(\(.*\))?")
_ANY_PLACE = re.compile(r"<input>:1:(\d+): ([^\n]*)")


def compile_complaint(message: str) -> tuple[int, str, str]:
    """From what CEL says of a text that it does not compile: the place in it (from 0), what is wrong, and the mend."""
    found = _COMPILING.search(message)
    if found:
        return int(found[1]) - 1, *_kinds(found[2], found[3])
    if "recursion" in message:
        return 0, "too much stands inside one another", "make it simpler, with fewer brackets"
    placed = _ANY_PLACE.search(message)
    if placed:
        return int(placed[1]) - 1, f"CEL says: {placed[2]}", "compare fields with values: doc.country == 'IN'"
    return 0, f"CEL says: {message}", "compare fields with values: doc.country == 'IN'"


def evaluation_complaint(message: str) -> tuple[str, str]:
    """From what CEL says of an evaluation that failed: what is wrong, and the mend."""
    found = _EVALUATING.search(message)
    if found:
        return _kinds(found[1], found[2] or "")
    _, _, why = message.partition(": ")
    return why or message, "ask first whether the field can be used: doc.qty != null && …"


def _kinds(function: str, arguments: str) -> tuple[str, str]:
    """That a function or sign does not take values of such kinds, and what may help."""
    sign = _AS_WRITTEN.get(function) or function.strip("_@").replace("_", "")
    given = [_KINDS.get(each, each) for each in re.findall(r"[\w.]*\w", arguments)]
    what = (
        f"`{sign}` cannot be used with {' and '.join(given)}" if given else f"`{sign}` cannot be used with these values"
    )
    if sign in _CONDITIONS:
        mend = "conditions stand here; of a field, say what it is compared with: doc.customer != null"
        return what, mend + ("; for another value where one is null: a if a != null else b" if sign == "||" else "")
    if "null" in given:
        return what, "ask first whether there is a value, and whether a divisor is not 0: doc.qty != null && …"
    if sign == "+" and "a text" in given:
        return what, "write numbers as texts: doc.country + '-' + string(doc.code)"
    if sign == "%":
        return what, "a remainder is for whole numbers: int(doc.total) % 2; texts are joined with +"
    return what, "compare numbers with numbers and texts in quotes with texts; int(…) makes a number of a text"
