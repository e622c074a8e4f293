"""What people write that has no place in an expression: what is wrong, and what to write in its place."""

from __future__ import annotations

from typing import NamedTuple


class Hint(NamedTuple):
    what: str
    hint: str


def _table(text: str) -> dict[str, Hint]:
    """By words: lines of `word word: what is wrong → what to write`. In the text, {} is the word."""
    found = {}
    for line in text.strip().splitlines():
        words, _, meant = line.partition(": ")
        for word in words.split():
            found[word] = Hint(*meant.replace("{}", word).split(" → "))
    return found


WORDS = _table("""
now today nowdate nowtime now_datetime time utcnow: an expression cannot look at the clock: it must say the same of a \
document every time → compare two fields, or a field with a fixed date: doc.posting_date >= '2026-01-01'
datetime date timestamp duration getdate get_datetime add_days date_diff add_months getYear getFullYear getMonth \
getDate: dates are texts here → compare them as they are: doc.posting_date >= '2026-01-01'
for while map filter all any exists exists_one sum range: nothing can be repeated in an expression → compare with \
several values by `in`: doc.country in ['IN', 'NP']
exec compile open import getattr setattr hasattr type globals locals vars dir print await yield os sys re json \
lambda def class return with let isinstance super object: code cannot be run from an expression → use the fields of \
the document alone: doc.country == 'IN'
flt cint rounded round: numbers are numbers already → write the field alone: doc.total > 1000
lower upper casefold lowerAscii upperAscii: small and capital letters cannot be changed → ask for both: doc.country in \
['IN', 'in'], or matches('(?i)^in$')
strip split replace find index: texts cannot be taken apart → ask with startsWith, endsWith, contains or matches
format format_map join: texts are not put together this way → join them with +: doc.country + '-' + string(doc.code)
AND OR NOT And Or Not: `{}` is not known → write and, or and not in small letters; put texts in quotes: '{}'
cmd: `cmd:` names code for the other site to run, which no site does here → write the condition itself: doc.total > 0
eval: no code can be run, and `eval:` is written before expressions in filters only → leave it out here
cstr: the function `cstr` is not known → write string(…)
bool: the function `bool` is not known → compare: doc.enabled == 1
doc: `doc` is the whole document, which is no value → name one of its fields: doc.country, doc['country'] or \
doc.get('country'); for another value where it is null: doc.x if doc.x is not None else 'IN'
frappe: the application's code and database are not there, and nobody is logged in → use the fields of the document \
alone: doc.territory, doc.owner, dates as texts such as '2026-01-31'; a filter (not a condition, nor naming) may \
follow a link, one step: doc.customer.territory
self: only `doc` is known → name a field of the document: doc.country
undefined: `undefined` is not known → write null or None
""")
"""Words that are names of other things elsewhere."""

SIGNS = _table("""
**: powers cannot be calculated → write the number that is meant
//: `//` is neither a comment nor a division → divide with /, and take int(…) of it for a whole number
#: there are no comments in expressions → leave it out
===: `===` is not an operator → compare with ==
!== <>: `{}` is not an operator → compare with !=
:=: nothing can be assigned → write the value where it is used
->: `->` is not an operator → write a condition, such as doc.country == 'IN'
=: `=` compares nothing → compare with ==
&: `&` is not an operator → write && or `and`
|: `|` is not an operator → write || or `or`
""")
"""Signs of other languages."""

KINDS = _table("""
and not if: {} → conditions stand here; of a field, say what it is compared with: doc.customer != null
or: {} → conditions stand here; for another value where one is null: a if a != null else b
null: {} → ask first whether there is a value: doc.qty != null and …
+: {} → write numbers as texts: doc.country + '-' + string(doc.code)
other: {} → compare numbers with numbers and texts in quotes with texts; int(…) makes a number of a text
""")
"""By the sign that was given values that it does not take."""

FIELD = "a field is written doc.country or doc['country']"
CHOICE = "a choice is written c ? a : b, or a if c else b"
CHAINED = Hint("comparisons cannot be chained", "write doc.a < doc.b and doc.b < doc.c, or use brackets")
END = Hint("something is missing", "complete it, such as doc.country == 'IN', or leave it out")
LONG = Hint("it has more than 2000 characters", "shorten it, or add a field that the document carries the answer in")
ODD = Hint("this was not expected", "write doc.country == 'IN' and doc.total > 1000, numbers without commas: 1000.5")
DEEP = Hint("too many brackets, conditions and calculations", "make it simpler: 32 may stand inside one another")
LIST = Hint("a list stands behind `in` only", "write doc.country in ['IN', 'NP']")
NO_LIST = Hint("behind `in`, a list is expected", "write doc.a in ['IN', 'NP'], or doc.remarks.contains('urgent')")
NO_PART = Hint("parts of texts and lists cannot be taken", f"ask with startsWith, contains or matches; {FIELD}")
FOLLOWED = "compare a field of the linked document, or only whether there is one: != null"
DIVIDED = Hint("a number is divided by 0", "ask first whether a divisor is not 0: doc.qty != 0 and …")
PATTERN = Hint(
    "the pattern of matches has to be a text in quotes",
    "write characters, \\d, ., [A-Z], and * + ? {2,3} behind one of them: '^A-[0-9]+$'; no groups: join two by or",
)
WORK = Hint("the patterns are too much work", "begin them with ^, and use fewer * + ? and {…}")
STRANGE = "put texts in straight quotes: 'IN'; put other names in quotes: doc['größe']; remove what cannot be seen"
CALLS = (
    "write doc.country, size(doc.a), string(doc.a), int(doc.a), double(doc.a), has(doc.a), doc.a.startsWith('A-'), …"
)
OPEN = Hint("a text in quotes has no end", "close it with the same quotes")
PREFIX = Hint("letters before a quote mean nothing", "join texts with +; only r'…' is known, without backslashes")
BACKSLASH = Hint("a backslash in the text stands for no character", r"write \\ for a backslash, or r before the quotes")
ZERO = Hint("a number begins with 0", "write numbers without commas: 1000, 1000.5; put codes in quotes: '007'")
NO_NUMBER = Hint("this is no number", "write whole numbers as 1000, others as 1000.5, without units")
DIGITS = Hint("a number has too many digits", "numbers have at most 400")
