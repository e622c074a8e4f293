"""The state database: the daemon's own logs, keys, consumers and producers.

`schema` defines the tables, `migrate` creates them, and `engine` opens them. The other modules hold one concept each.
The Event Update Log is a stage of its own: `streamd.update_log`.
"""
