"""What users of these sites write."""

from __future__ import annotations

import pytest

from tests.support.matrix import ALIKE

CUSTOMER = "INSERT INTO Customer VALUES (1, 'Ada', 'Turin', NULL)"

ITEM = "INSERT INTO Item VALUES ('tea', 'Tea', 2.5, 10)"

INVOICE = "INSERT INTO Invoice VALUES (1, 1, 'first')"

LINE = "INSERT INTO Line VALUES (1, 1, 'tea', 2)"

ON_SQLITE = pytest.mark.parametrize("engines", [ALIKE], ids="-".join)
