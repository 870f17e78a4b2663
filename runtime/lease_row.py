"""The lease's row in PostgreSQL: taken, kept and given back in single statements, by the database's clock."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from runtime.journal_address import SQLITE, read_url
from runtime.journal_faults import FAULTS, worded
from runtime.journal_schema import lease
from runtime.locks import assert_no_lock_held

PATIENCE_S = 2             # for the database, to connect and to answer; libpq waits no shorter


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseRow:
    """The row as it was at one look; equal to another unless it was taken, renewed or given back between."""

    owner: str
    host: str
    epoch: int
    renewed_ms: int
    expired: bool = field(compare=False)


class LeaseTable:
    """`runtime.lease.Store` on a PostgreSQL server; any thread, no lock held."""

    def __init__(self, url: str, name: str) -> None:
        self._url = url
        self._name = name
        # A statement is its own transaction: frozen anywhere, we hold no lock on the row.
        self._engine = sa.create_engine(
            read_url(url), isolation_level="AUTOCOMMIT", pool_size=1, max_overflow=1, pool_timeout=PATIENCE_S,
            connect_args={
                "connect_timeout": PATIENCE_S,
                "tcp_user_timeout": PATIENCE_S * 1000,
                "keepalives_idle": PATIENCE_S, "keepalives_interval": 1, "keepalives_count": PATIENCE_S,
                "options": f"-c statement_timeout={PATIENCE_S * 1000}",
            },
        )

    def look(self) -> LeaseRow | None:
        """Return the row, None if there never was one."""
        expired = (lease.c.expires_ms <= _now_ms()).label("expired")
        chosen = sa.select(lease.c.owner, lease.c.host, lease.c.epoch, lease.c.renewed_ms, expired)
        with self._connection() as connection:
            row = connection.execute(chosen.where(lease.c.name == self._name)).one_or_none()
        return None if row is None else LeaseRow(**row._asdict())

    def take(self, owner: str, host: str, seen: LeaseRow | None, length_ms: int) -> int | None:
        """Make it *owner*'s if it still is as *seen* and has expired; return the new epoch, None if not."""
        now = _now_ms()
        said = {"owner": owner, "host": host, "expires_ms": now + length_ms, "renewed_ms": now}
        wish = insert(lease).values(name=self._name, epoch=1, **said)
        if seen is None:
            taking = wish.on_conflict_do_nothing()
        else:
            taking = wish.on_conflict_do_update(
                index_elements=[lease.c.name], set_={**said, "epoch": lease.c.epoch + 1},
                where=(lease.c.epoch == seen.epoch) & (lease.c.renewed_ms == seen.renewed_ms)
                & (lease.c.expires_ms <= now),
            )
        with self._connection() as connection:
            epoch: int | None = connection.execute(taking.returning(lease.c.epoch)).scalar_one_or_none()
        return epoch

    def keep(self, owner: str, epoch: int, length_ms: int) -> bool:
        """Prolong it, expired or not; False if another has it."""
        now = _now_ms()
        return self._update(owner, epoch, expires_ms=now + length_ms, renewed_ms=now)

    def give_back(self, owner: str, epoch: int, left_ms: int) -> bool:
        """Let it go, to be taken in *left_ms*; False if another has it already."""
        return self._update(owner, epoch, owner="", expires_ms=_now_ms() + left_ms)

    def is_kept(self, connection: sa.Connection, owner: str, epoch: int) -> bool:
        """Whether it is *owner*'s, and stays so until the transaction of *connection* ends."""
        held = sa.select(lease.c.epoch).where(*self._mine(owner, epoch)).with_for_update(read=True)
        return connection.execute(held).first() is not None

    def close(self) -> None:
        """Give the connection back."""
        assert_no_lock_held("closing the lease")
        self._engine.dispose()

    def _update(self, owner: str, epoch: int, /, **values: Any) -> bool:
        with self._connection() as connection:
            found = connection.execute(sa.update(lease).where(*self._mine(owner, epoch)).values(**values))
        return found.rowcount == 1

    def _mine(self, owner: str, epoch: int) -> tuple[sa.ColumnElement[bool], ...]:
        return lease.c.name == self._name, lease.c.owner == owner, lease.c.epoch == epoch

    @contextmanager
    def _connection(self) -> Iterator[sa.Connection]:
        assert_no_lock_held("lease")
        try:
            with self._engine.connect() as connection:
                yield connection
        except FAULTS as error:
            raise worded(error, self._url) from error


def on_server(url: str) -> bool:
    """Whether the journal at *url* can be reached by a RAD on another machine."""
    return read_url(url).drivername != SQLITE


def _now_ms() -> sa.ColumnElement[int]:
    """The database's clock as a statement gets to it, waits included."""
    return sa.cast(sa.func.floor(sa.extract("epoch", sa.func.clock_timestamp()) * 1000), sa.BigInteger)
