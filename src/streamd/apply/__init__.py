"""Stage 5: applies events of a producer to the site's database.

Deciding is pure: `mapping` (other fields), `dependency` (what an event needs), `renaming` (other names), `plan` (what
it writes), `conflict` (who wins), `joining` (several events of one document as one). Acting is separate: `preparation`
and `fetching` (missing documents), `waiting` (what is kept back), `localise`, `givenames` and `rowkeys` (names of our
own), `writer` (plans to statements), `applier` (one batch, one transaction), `healer` (events that failed or wait).
"""

from streamd.apply.applier import Applier
from streamd.apply.event.mapping import MappedType, mapped_types
from streamd.apply.fetch.fetching import Fetcher
from streamd.apply.localnames.naming_problems import naming_problems
from streamd.apply.parked.healer import Healer, Route
from streamd.apply.parked.whole import Lister, WholeResync
from streamd.apply.source import Source, columns_left_out, columns_there, own_names

__all__ = [
    "Applier",
    "Fetcher",
    "Healer",
    "Lister",
    "MappedType",
    "Route",
    "Source",
    "WholeResync",
    "columns_left_out",
    "columns_there",
    "mapped_types",
    "naming_problems",
    "own_names",
]
