"""Stage 5: applies events of a producer to the site's database.

Deciding is pure: `dependency` (what an event needs), `plan` (what it writes), `conflict` (who wins), `folding`
(the net effect of several events), `mapping` (other fields), `naming` and `localise` (other names). Acting is separate: `fetching` (missing documents), `writer` (plans to
statements), `applier` (one batch, one transaction), `healer` (events that failed or wait).
"""

from streamd.apply.applier import Applier
from streamd.apply.fetching import Fetcher
from streamd.apply.healer import Healer, Route
from streamd.apply.source import Source
from streamd.apply.whole import WholeResync

__all__ = ["Applier", "Fetcher", "Healer", "Route", "Source", "WholeResync"]
