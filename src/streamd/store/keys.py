"""API keys. The secret is shown once and stored as a hash only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass

from sqlalchemy import and_, func, insert, select, update

from streamd.errors import NotFound, StreamdError
from streamd.store.engine import State, now_ms
from streamd.store.schema import api_keys, consumers

KEYS_PER_CONSUMER = 2
"""Active keys per consumer: the one in use and its replacement."""

SECRET_BYTES = 32
USED_EVERY_MS = 60_000
"""`last_used_at` and `last_seen_at` are written at most this often."""

NAME_LIMIT = 140
NO_HASH = hashlib.sha256(secrets.token_bytes(SECRET_BYTES)).hexdigest()
"""Compared with the secret of an unknown key, so that unknown and known keys take equally long."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A stored key, without its secret. Times are in milliseconds since 1970."""

    api_key: str
    consumer: str
    created_at: int
    last_used_at: int | None
    revoked_at: int | None

    @property
    def active(self) -> bool:
        return self.revoked_at is None


class Keys:
    """The API keys of one site. Nothing is cached: a revoked key is refused at once."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._site = state.site

    async def create_key(self, consumer_name: str) -> tuple[str, str]:
        """Create a key. Returns it with its secret, which is not stored.

        Raises `StreamdError` for a third active key.
        """
        if not consumer_name.isprintable() or not consumer_name.strip() or len(consumer_name) > NAME_LIMIT:
            raise StreamdError(
                f"{consumer_name!r} is not a valid name for a consumer",
                hint=f"use the name of the site that gets the key: 1 to {NAME_LIMIT} printable characters",
            )
        api_key, secret = secrets.token_hex(16), secrets.token_urlsafe(SECRET_BYTES)
        async with self._state.write() as connection:
            active = await connection.scalar(
                select(func.count())
                .select_from(api_keys)
                .where(
                    api_keys.c.site == self._site,
                    api_keys.c.consumer == consumer_name,
                    api_keys.c.revoked_at.is_(None),
                )
            )
            if (active or 0) >= KEYS_PER_CONSUMER:
                raise StreamdError(
                    f"{consumer_name} already has {active} active keys, and a consumer can have no more",
                    hint="find the unused one with `streamd keys list`, and run `streamd keys revoke API_KEY`",
                )
            await connection.execute(
                insert(api_keys).values(
                    site=self._site,
                    api_key=api_key,
                    secret_hash=hash_secret(secret),
                    consumer=consumer_name,
                    created_at=now_ms(),
                )
            )
        return api_key, secret

    async def keys(self) -> list[ApiKey]:
        """All keys, including revoked ones, by consumer and age."""
        k = api_keys.c
        query = (
            select(k.api_key, k.consumer, k.created_at, k.last_used_at, k.revoked_at)
            .where(k.site == self._site)
            .order_by(k.consumer, k.created_at, k.api_key)
        )
        return [ApiKey(*row) for row in await self._state.fetch(query)]

    async def secret_hashes(self) -> dict[str, str]:
        """The hashed secrets of all active keys, by key."""
        k = api_keys.c
        query = select(k.api_key, k.secret_hash).where(k.site == self._site, k.revoked_at.is_(None))
        return {row.api_key: row.secret_hash for row in await self._state.fetch(query)}

    async def revoke_key(self, api_key: str) -> None:
        """Revoke a key: nothing is served to it any longer. Raises `NotFound`."""
        mine = and_(api_keys.c.site == self._site, api_keys.c.api_key == api_key)
        async with self._state.write() as connection:
            if (await connection.execute(select(api_keys.c.api_key).where(mine))).first() is None:
                raise NotFound(f"there is no key {api_key}", hint="see `streamd keys list`")
            await connection.execute(
                update(api_keys).where(mine, api_keys.c.revoked_at.is_(None)).values(revoked_at=now_ms())
            )

    async def authenticate(self, api_key: str, api_secret: str) -> str | None:
        """The name of the consumer with these credentials, or None. Both cases take equally long."""
        row = None
        if api_key.isascii() and api_key.isprintable() and len(api_key) <= 64:
            async with self._state.read() as connection:
                found = await connection.execute(
                    select(api_keys.c.consumer, api_keys.c.secret_hash, api_keys.c.last_used_at).where(
                        api_keys.c.site == self._site,
                        api_keys.c.api_key == api_key,
                        api_keys.c.revoked_at.is_(None),
                    )
                )
                row = found.first()
        stored = row.secret_hash if row is not None else NO_HASH
        if not hmac.compare_digest(stored, hash_secret(api_secret)) or row is None:
            return None
        if (row.last_used_at or 0) < now_ms() - USED_EVERY_MS:
            await self._record_use(api_key, row.consumer)
        return str(row.consumer)

    async def _record_use(self, api_key: str, consumer: str) -> None:
        now = now_ms()
        async with self._state.write() as connection:
            await connection.execute(
                update(api_keys)
                .where(api_keys.c.site == self._site, api_keys.c.api_key == api_key)
                .values(last_used_at=now)
            )
            await connection.execute(
                update(consumers)
                .where(consumers.c.site == self._site, consumers.c.name == consumer)
                .values(last_seen_at=now)
            )


def hash_secret(secret: str) -> str:
    """The form in which a secret is stored."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
