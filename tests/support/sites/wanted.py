"""What a site wants of a producer: entries of its `doctypes`."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Wanted:
    """An entry of a producer's `doctypes` that says more than the type. `remote` is what the producer calls that."""

    doctype: str
    settings: dict[str, Any] = field(default_factory=dict)
    remote: str = ""

    @property
    def there(self) -> str:
        return self.remote or self.doctype

    def toml(self) -> str:
        said = {"doctype": self.doctype, **self.settings}
        return (
            "{ " + ", ".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in said.items()) + " }"
        )


def wanted(doctype: str | Wanted) -> Wanted:
    return Wanted(doctype) if isinstance(doctype, str) else doctype
