"""Expressions over a document: conditions, the `eval:` of a mapping's filters, and names.

    compile_expression("doc.country == 'IN' and doc.total > 1000").holds(row)

They are written in CEL, or as the ancestor's users write them in Python. `tokens` and `syntax` read the text into a
`tree`, in which nothing can stand that is not known here; `translation` writes the tree as CEL; `values` says in which
form a row's values go in and come out; `evaluation` puts them together. Users read docs/reference/expressions.md.
"""

from __future__ import annotations

from streamd.expressions.evaluation import Expression, compile_expression
from streamd.expressions.tokens import LONGEST_TEXT

__all__ = ["LONGEST_TEXT", "Expression", "compile_expression"]
