"""The journal on a PostgreSQL server: durable commits, one writer at a time, and no wait without an end."""

from __future__ import annotations

import logging
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool

log = logging.getLogger("journal")

CONNECT_S = 5
IDLE_IN_TRANSACTION_S = 5
ANSWER_S = 8.0              # after that the server is as good as gone, whatever keeps it
POOL_S = 5.0                # how long a read waits for one of the connections

# What a commit is worth and how long the server itself may take, whatever it does by default.
# A writer frozen within its transaction holds locks that a successor needs: the server ends that transaction.
_SESSION = {
    "synchronous_commit": "on", "statement_timeout": "6s", "lock_timeout": "5s",
    "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
}
# A server that has vanished without a word is noticed by the kernel, also between two statements.
_KEEPALIVE = {
    "keepalives": 1, "keepalives_idle": 5, "keepalives_interval": 2, "keepalives_count": 3,
    "tcp_user_timeout": 8000,
}
# Taken by each of the writer's transactions: what BEGIN IMMEDIATE is to SQLite. Any number would do.
_WRITER_LOCK = 0x5241444A


class _Connection(psycopg.Connection[Any]):
    """A connection that gives up when no answer comes: a server's own timeouts need a living server."""

    def wait(self, gen: PQGen[Any], interval: float = 0.1, timeout: float | None = None) -> Any:
        try:
            return super().wait(gen, interval, ANSWER_S if timeout is None else timeout)
        except psycopg.OperationalError:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()      # the answer may still come, and would be taken for another's
            raise


def writing_engine(parts: URL) -> sa.Engine:
    """Return an engine for the one writer."""
    engine = _engine(parts, poolclass=NullPool)

    @sa.event.listens_for(engine, "begin")
    def lock(connection: sa.Connection) -> None:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITER_LOCK})")

    return engine


def reading_engine(parts: URL) -> sa.Engine:
    """Return an engine that cannot write. A connection that died meanwhile is noticed and replaced."""
    return _engine(
        parts, pool_timeout=POOL_S, pool_pre_ping=True, execution_options={"postgresql_readonly": True}
    )


def warn_unless_durable(connection: sa.Connection) -> None:
    """Say so where the server does not put on disk what it says is committed."""
    if connection.exec_driver_sql("SHOW fsync").scalar() != "on":
        log.warning("PostgreSQL runs with fsync=off: a power cut may cost orders written down; turn it on")


def _engine(parts: URL, **options: Any) -> sa.Engine:
    usual = {**_KEEPALIVE, "connect_timeout": CONNECT_S, "application_name": "rad"}
    said = {name: value for name, value in usual.items() if name not in parts.query}
    engine = sa.create_engine(parts, connect_args=said, use_native_hstore=False, **options)

    @sa.event.listens_for(engine, "do_connect")
    def connect(_dialect: Any, _record: Any, arguments: list[Any], named: dict[str, Any]) -> _Connection:
        return _Connection.connect(*arguments, **named)

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: psycopg.Connection[Any], _record: Any) -> None:
        for name, value in _SESSION.items():
            connection.execute("SELECT set_config(%s, %s, false)", (name, value))
        connection.commit()

    return engine
