"""What people write that has no place in an expression, and what to write in its place."""

from __future__ import annotations

_OTHERS = (
    "use a field of the document itself: doc.territory; a filter (not a condition, nor naming) may follow the link, "
    "one step: doc.customer.territory"
)

FRAPPE = {
    "db": ("the database cannot be asked", _OTHERS),
    "get_doc": ("other documents cannot be fetched", _OTHERS),
    "get_value": ("other documents cannot be fetched", _OTHERS),
    "get_cached_value": ("other documents cannot be fetched", _OTHERS),
    "session": ("nobody is logged in where expressions are evaluated", "use a field, such as doc.owner"),
    "user": ("nobody is logged in where expressions are evaluated", "use a field, such as doc.owner"),
    "utils": (
        "the functions of the application are not there",
        "compare fields as they are: numbers as numbers, dates as texts such as '2026-01-31'",
    ),
}
"""By what stands behind `frappe.`."""

FRAPPE_OTHERWISE = (
    "the application's code does not run here",
    "use the fields of the document alone: doc.country == 'IN'",
)

_CLOCK = (
    "an expression cannot look at the clock: it must say the same of a document every time",
    "compare two fields, or a field with a fixed date: doc.posting_date >= '2026-01-01'",
)
_DATES = ("dates are texts here", "compare them as they are: doc.posting_date >= '2026-01-01'")
_LOOPS = (
    "nothing can be repeated in an expression",
    "compare with several values by `in`: doc.country in ['IN', 'NP']",
)
_CODE = ("code cannot be run from an expression", "use the fields of the document alone: doc.country == 'IN'")
_NUMBERS = ("numbers are numbers already", "write the field alone: doc.total > 1000")
_BINDING = ("nothing can be named in an expression", "write the value where it is used")

WORDS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("now", "today", "nowdate", "nowtime", "now_datetime", "time", "utcnow"), _CLOCK),
    **dict.fromkeys(("datetime", "date", "timestamp", "duration", "getdate", "get_datetime", "add_days"), _DATES),
    **dict.fromkeys(("date_diff", "add_months", "getYear", "getFullYear", "getMonth", "getDate"), _DATES),
    **dict.fromkeys(("for", "while", "map", "filter", "all", "any", "exists", "exists_one", "sum", "range"), _LOOPS),
    **dict.fromkeys(("eval", "exec", "compile", "open", "import", "__import__", "getattr", "setattr"), _CODE),
    **dict.fromkeys(("globals", "locals", "vars", "dir", "print", "await", "yield", "os", "sys", "re", "json"), _CODE),
    **dict.fromkeys(("hasattr", "type", "isinstance", "super", "object"), _CODE),
    **dict.fromkeys(("flt", "rounded", "round"), _NUMBERS),
    **dict.fromkeys(("let", "bind", "cel", "def", "class", "return", "with"), _BINDING),
    "lambda": ("functions cannot be written in an expression", "write the condition itself: doc.country == 'IN'"),
    **{
        word: (f"`{word}` is not known", f"write and, or and not in small letters; put texts in quotes: '{word}'")
        for word in ("AND", "OR", "NOT", "And", "Or", "Not")
    },
    "cint": ("the function `cint` is not known", "write the field alone, or int(…)"),
    "cstr": ("the function `cstr` is not known", "write string(…)"),
    "bool": ("the function `bool` is not known", "compare: doc.enabled == 1"),
    "doc": ("`doc` is the whole document, which is no value", "name one of its fields: doc.country"),
    "self": ("only `doc` is known", "name a field of the document: doc.country"),
    "undefined": ("`undefined` is not known", "write null or None"),
}
"""Words that are names of other things elsewhere."""

METHODS: dict[str, tuple[str, str]] = {
    **dict.fromkeys(("map", "filter", "all", "exists", "exists_one"), _LOOPS),
    **dict.fromkeys(("format", "format_map", "join"), ("texts are not put together this way", "join them with +")),
    **dict.fromkeys(
        ("lower", "upper", "casefold", "lowerAscii", "upperAscii"),
        (
            "small and capital letters cannot be changed",
            "ask for both: doc.country in ['IN', 'in'], or matches('(?i)^in$')",
        ),
    ),
    **dict.fromkeys(
        ("strip", "split", "replace", "find", "index"),
        ("texts cannot be taken apart", "ask with startsWith, endsWith, contains or matches"),
    ),
    **dict.fromkeys(("getFullYear", "getMonth", "getDate", "getHours", "getDayOfWeek"), _DATES),
}
"""Words behind a dot, before a bracket."""

NO_LIST = (
    "behind `in`, a list is expected",
    "write doc.country in ['IN', 'NP']; whether a text is part of another is doc.remarks.contains('urgent')",
)
NO_PART = (
    "parts of texts and lists cannot be taken",
    "ask with startsWith, endsWith, contains or matches; a field is written doc.country or doc['country']",
)
BEGINNINGS: dict[str, tuple[str, str]] = {
    "cmd:": (
        "`cmd:` names code for the other site to run, which no site does here",
        "write the condition itself: doc.country == 'IN'",
    ),
    "eval:": ("`eval:` is written before expressions in filters only, and not part of them", "leave it out here"),
}
"""By what an expression begins with."""
