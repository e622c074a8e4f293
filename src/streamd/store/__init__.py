"""The state database: the daemon's own logs, keys, consumers and producers.

`schema` has the tables, `migrate` makes them, `engine` opens them; the other modules hold one concept each.
The Event Update Log, which is a stage of its own, is `streamd.update_log`.
"""
