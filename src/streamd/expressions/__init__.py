"""Conditions, `eval:` filters and naming: one small language over one document, `doc`, and no way out of it.

`tokens` takes a text apart, `syntax` reads what users write and says what it looks at, `evaluation` compiles and
evaluates it. docs/expressions.md is for those who write expressions.
"""

from streamd.expressions.evaluation import Expression, ExpressionError, compile_expression

__all__ = ["Expression", "ExpressionError", "compile_expression"]
