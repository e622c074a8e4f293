"""A producer whose URL leads to the very site that asks: said by whoever asks, whatever the key is."""

from __future__ import annotations

import pytest

from streamd.errors import PeerRefused
from streamd.pull import Peer
from streamd.settings import ProducerSettings
from tests.support.sites.serving import ProducerSite


@pytest.mark.parametrize("known_key", [False, True], ids=["a key of another site", "a key of its own"])
async def test_a_site_that_subscribes_to_itself_is_told_so(hq: ProducerSite, known_key: bool) -> None:
    key = await hq.peers.create_key("store") if known_key else ("somebodys", "secret")
    settings = ProducerSettings(url=hq.server.url, doctypes=(), use_same_name=True)
    peer = Peer("store", settings, key, [])
    try:
        with pytest.raises(PeerRefused, match=r"the url of \[producers\.store\] leads to this very site") as raised:
            await peer.handshake(hq.site, "hq")
        assert "write the other site's address" in raised.value.hint
    finally:
        await peer.close()
