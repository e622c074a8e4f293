"""Expressions over a document: conditions, the `eval:` of a mapping's filters, and names.

    compile_expression("doc.country == 'IN' and doc.total > 1000").holds(row)

`tokens` and `parser` read the text and make `parts` of it, which say their `values` for a row: nothing can be written
that is not known here. `patterns` says which regular expressions are taken, `hints` what to write for what is refused.
Users read docs/reference/expressions.md.
"""

from __future__ import annotations

from streamd.expressions.evaluation import Expression, compile_expression
from streamd.expressions.tokens import LONGEST_TEXT

__all__ = ["LONGEST_TEXT", "Expression", "compile_expression"]
