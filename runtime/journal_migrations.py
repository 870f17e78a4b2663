"""Making the journal's tables, and bringing those of an older RAD up to date.

Whatever is done here is done in the writer's opening transaction: an older journal is afterwards at
the newest version, or as it was. Of a file a copy is kept as it was before. A column or table added to
`runtime.journal_schema` needs a step.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path

import sqlalchemy as sa

from runtime import journal_schema as schema
from runtime.journal_copies import keep_before_migration
from runtime.journal_engine import writing_engine
from runtime.journal_faults import FAULTS, worded
from runtime.journal_version import SCHEMA_VERSION, version_of
from runtime.locks import assert_no_lock_held
from trading.errors import JournalError

log = logging.getLogger("journal")


def _second(connection: sa.Connection) -> None:
    for column in ("margin_mode", "part_left"):
        connection.exec_driver_sql(f"ALTER TABLE position ADD COLUMN {column} TEXT")
    connection.exec_driver_sql(
        # There already where an older dump was restored over a database of a newer RAD's.
        "CREATE TABLE IF NOT EXISTS lease "
        "(name TEXT NOT NULL, owner TEXT NOT NULL, host TEXT NOT NULL, epoch BIGINT NOT NULL, "
        "expires_ms BIGINT NOT NULL, renewed_ms BIGINT NOT NULL, PRIMARY KEY (name))"
    )


def _third(connection: sa.Connection) -> None:
    connection.exec_driver_sql("CREATE INDEX ix_intent_order_id ON intent (order_id)")


def _fourth(connection: sa.Connection) -> None:
    connection.exec_driver_sql("ALTER TABLE trade ADD COLUMN funding_known BOOLEAN")
    # Until now a look-up that failed was booked as none; KuCoin's funding falls on full hours.
    no = "false" if connection.dialect.name == "postgresql" else "0"
    connection.exec_driver_sql(
        f"UPDATE trade SET funding_known = {no} WHERE funding = '0' AND closed_ms / 3600000 > opened_ms / 3600000"
    )
    connection.exec_driver_sql(
        f"CREATE INDEX trade_without_funding ON trade (closed_ms) WHERE funding_known IS {no}"
    )


# What makes version n of version n - 1. Written in SQL: the tables as they are now are not what a step knew.
STEPS: Mapping[int, Callable[[sa.Connection], None]] = {2: _second, 3: _third, 4: _fourth}


def prepare_schema(connection: sa.Connection, label: str) -> None:
    """Make the tables, or migrate them, inside the caller's transaction.

    Raises:
        JournalError: they are of a newer RAD or not RAD's, or belong to another mode.
    """
    present = set(sa.inspect(connection).get_table_names()) & set(schema.metadata.tables)
    if not present:
        schema.metadata.create_all(connection)
        _stamp(connection, schema=str(SCHEMA_VERSION), label=label)
        return
    if schema.meta.name not in present:
        raise JournalError(f"is not a journal of RAD's, but has a table {min(present)}")
    found: dict[str, str] = {row.name: row.value for row in connection.execute(sa.select(schema.meta))}
    version = version_of(found)
    if found.get("label") != label:
        raise JournalError(f"belongs to {found.get('label')}, not to {label}; each needs a journal of its own")
    if version < SCHEMA_VERSION:
        _keep_copy(connection, version)
        for step in range(version + 1, SCHEMA_VERSION + 1):
            STEPS[step](connection)
        _stamp(connection, schema=str(SCHEMA_VERSION))
        log.info("journal migrated from=%d to=%d", version, SCHEMA_VERSION)


def migrate(url: str, label: str) -> None:
    """Bring the journal at *url* up to date, which nobody has open.

    Raises:
        JournalError: as `prepare_schema`, or it cannot be written.
    """
    assert_no_lock_held("journal migration")
    engine = writing_engine(url)
    try:
        with engine.begin() as connection:
            prepare_schema(connection, label)
    except FAULTS as error:
        raise worded(error, url) from error
    finally:
        engine.dispose()


def _keep_copy(connection: sa.Connection, version: int) -> None:
    """Copy a file before it is changed: what is committed, which nobody adds to while this transaction is open."""
    if connection.dialect.name == "sqlite" and connection.engine.url.database:
        kept = keep_before_migration(Path(connection.engine.url.database), version)
        log.info("journal copied before its migration copy=%s", kept)


def _stamp(connection: sa.Connection, **values: str) -> None:
    for name, value in values.items():
        connection.execute(sa.delete(schema.meta).where(schema.meta.c.name == name))
        connection.execute(sa.insert(schema.meta).values(name=name, value=value))
