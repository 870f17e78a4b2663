"""Reading the journal: beside a running daemon, within it, or when none runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from runtime import journal_schema as schema
from runtime.journal_address import file_of
from runtime.journal_engine import reading_engine
from runtime.journal_faults import FAULTS, worded
from runtime.journal_schema import EquityPoint, EquityStretch, Event, Intent, from_row
from runtime.journal_version import check_readable
from runtime.locks import assert_no_lock_held
from trading.client_ids import parse
from trading.errors import JournalError
from trading.facts import ClosedTrade, Fill, Position
from trading.lifecycle import IntentState, PositionState

AT_A_TIME = 500                # values in one question


class JournalReader:
    """What was committed. Any thread; every method may raise JournalError, and none changes anything."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._reading = reading_engine(url)

    @classmethod
    def open(cls, url: str) -> JournalReader:
        """Return a reader of an existing journal.

        Raises:
            JournalError: there is none at *url*, or this RAD cannot read it.
        """
        assert_no_lock_held("journal opening")
        file = file_of(url)
        if file is not None and not file.exists():
            raise JournalError(f"there is no journal {file} yet; it is made when RAD first runs")
        reader = cls(url)
        try:
            with reader._faults_in_words():
                check_readable(reader.meta())
        except BaseException:
            reader.close()
            raise
        return reader

    def open_positions(self) -> tuple[Position, ...]:
        """Return every position that is not closed, oldest first."""
        closed = schema.position.c.state == PositionState.CLOSED.value
        chosen = sa.select(schema.position).where(~closed)
        return self._facts(Position, chosen.order_by(schema.position.c.opened_ms, schema.position.c.position_id))

    def position(self, position_id: str) -> Position | None:
        """Return one position as last saved, closed ones too."""
        chosen = sa.select(schema.position).where(schema.position.c.position_id == position_id)
        found = self._facts(Position, chosen)
        return found[0] if found else None

    def unsettled_intents(self) -> tuple[Intent, ...]:
        """Return the orders that were written down and have not come to an end, oldest first."""
        chosen = sa.select(schema.intent).where(schema.intent.c.state.in_(schema.UNSETTLED))
        return self._facts(Intent, chosen.order_by(schema.intent.c.seq))

    def intents_of(self, position_id: str) -> tuple[Intent, ...]:
        """Return every order written down for a position, oldest first."""
        chosen = sa.select(schema.intent).where(schema.intent.c.position_id == position_id)
        return self._facts(Intent, chosen.order_by(schema.intent.c.seq))

    def client_oids(self, order_ids: Iterable[str], *, settled: bool = False) -> dict[str, str]:
        """Return the client ids of those of *order_ids* that RAD knows it sent, or has *settled*, by order id.

        Of all it ever sent would be more each day.
        """
        wanted = sorted(set(order_ids) - {""})
        chosen = sa.select(schema.intent.c.order_id, schema.intent.c.client_oid)
        if settled:
            chosen = chosen.where(schema.intent.c.state == IntentState.DONE.value)
        return {
            row.order_id: row.client_oid
            for start in range(0, len(wanted), AT_A_TIME)
            for row in self._rows(chosen.where(schema.intent.c.order_id.in_(wanted[start:start + AT_A_TIME])))
        }

    def last_attempt(self, position_id: str, purpose: str) -> int:
        """Return the highest number of a position's orders of that purpose; 0 if none was written down."""
        chosen = sa.select(schema.intent.c.client_oid).where(
            schema.intent.c.position_id == position_id, schema.intent.c.purpose == purpose
        )
        named = (parse(row.client_oid) for row in self._rows(chosen))
        return max((client_oid.attempt for client_oid in named if client_oid is not None), default=0)

    def fills_of(self, position_id: str) -> tuple[Fill, ...]:
        """Return the fills booked for a position's orders, oldest first."""
        # By what the ids say: an order found only after a crash has no intent.
        chosen = sa.select(schema.fill).where(schema.fill.c.client_oid.startswith(f"rad-{position_id}-"))
        return self._facts(Fill, chosen.order_by(schema.fill.c.ts_ms, schema.fill.c.trade_id))

    def booked_fills(self, since_ms: int) -> dict[tuple[str, str], Fill]:
        """Return the fills booked that traded since then, by symbol and trade id."""
        fills = self._facts(Fill, sa.select(schema.fill).where(schema.fill.c.ts_ms >= since_ms))
        return {(fill.symbol, fill.trade_id): fill for fill in fills}

    def is_booked(self, symbol: str, trade_id: str) -> bool:
        """Whether that fill is in the journal."""
        return bool(self._rows(
            sa.select(schema.fill.c.trade_id)
            .where(schema.fill.c.symbol == symbol, schema.fill.c.trade_id == trade_id)
        ))

    def is_closed(self, position_id: str) -> bool:
        """Whether that position has come to its end."""
        return bool(self._rows(sa.select(schema.trade.c.position_id).where(
            schema.trade.c.position_id == position_id
        )))

    def trades(
        self, limit: int = 100, *, symbol: str = "", side: str = "", reason: str = "", since_ms: int = 0,
        until_ms: int = 0,
    ) -> tuple[ClosedTrade, ...]:
        """Return the latest closed trades, newest first; those alone that match whatever is not empty or 0."""
        trade = schema.trade.c
        chosen = sa.select(schema.trade).order_by(trade.closed_ms.desc(), trade.position_id.desc()).limit(limit)
        for column, wanted in ((trade.symbol, symbol), (trade.side, side), (trade.exit_reason, reason)):
            if wanted:
                chosen = chosen.where(column == wanted)
        if since_ms:
            chosen = chosen.where(trade.closed_ms >= since_ms)
        if until_ms:
            chosen = chosen.where(trade.closed_ms < until_ms)
        return self._facts(ClosedTrade, chosen)

    def trades_since(self, closed_ms: int) -> tuple[ClosedTrade, ...]:
        """Return every trade closed since then, oldest first."""
        chosen = sa.select(schema.trade).where(schema.trade.c.closed_ms >= closed_ms)
        return self._facts(ClosedTrade, chosen.order_by(schema.trade.c.closed_ms, schema.trade.c.position_id))

    def trades_without_funding(self, closed_ms: int, limit: int) -> tuple[ClosedTrade, ...]:
        """Return trades closed until then whose funding is not known, oldest first."""
        chosen = sa.select(schema.trade).where(schema.without_funding, schema.trade.c.closed_ms <= closed_ms)
        return self._facts(
            ClosedTrade, chosen.order_by(schema.trade.c.closed_ms, schema.trade.c.position_id).limit(limit)
        )

    def equity_curve(self, since_ms: int = 0) -> tuple[EquityPoint, ...]:
        """Return what the account was worth since then, oldest first."""
        chosen = sa.select(schema.equity).where(schema.equity.c.at_ms >= since_ms)
        return self._facts(EquityPoint, chosen.order_by(schema.equity.c.at_ms, schema.equity.c.seq))

    def equity_stretches(self, since_ms: int, most: int) -> tuple[EquityStretch, ...]:
        """Return what the account was worth since then, in at most *most* stretches of time, oldest first."""
        point = schema.equity.c
        since = sa.select(sa.func.min(point.at_ms), sa.func.max(point.at_ms)).where(point.at_ms >= since_ms)
        first_ms, last_ms = tuple(self._rows(since)[0])
        if first_ms is None:
            return ()
        width_ms = (last_ms - first_ms) // most + 1
        worth = sa.cast(point.equity, sa.Float)
        stretch = (
            sa.select(
                sa.func.max(point.seq).label("seq"), sa.func.min(worth).label("lowest"),
                sa.func.max(worth).label("highest"),
            )
            .where(point.at_ms >= first_ms)
            .group_by((point.at_ms - first_ms) // width_ms)
            .subquery()
        )
        chosen = sa.select(point.at_ms, point.equity, stretch.c.lowest, stretch.c.highest)
        chosen = chosen.join(stretch, point.seq == stretch.c.seq).order_by(point.at_ms, point.seq)
        return tuple(
            EquityStretch(
                at_ms=row.at_ms, last=Decimal(row.equity), lowest=_about(row.lowest), highest=_about(row.highest)
            )
            for row in self._rows(chosen)
        )

    def highest_equity(self, before_ms: int) -> Decimal | None:
        """Return the most the account was worth before then, to some ten digits; None if nothing is known."""
        point = schema.equity.c
        chosen = sa.select(sa.func.max(sa.cast(point.equity, sa.Float))).where(point.at_ms < before_ms)
        highest = self._rows(chosen)[0][0]
        return None if highest is None else _about(highest)

    def equity_gaps(self, since_ms: int, longer_than_ms: int) -> tuple[tuple[int, int], ...]:
        """Return from when to when nobody looked at the account for so long, oldest first."""
        at_ms = schema.equity.c.at_ms
        before = sa.func.lag(at_ms).over(order_by=(at_ms, schema.equity.c.seq)).label("before_ms")
        looks = sa.select(at_ms, before).where(at_ms >= since_ms).subquery()
        chosen = sa.select(looks).where(looks.c.at_ms - looks.c.before_ms > longer_than_ms)
        return tuple((row.before_ms, row.at_ms) for row in self._rows(chosen.order_by(looks.c.at_ms)))

    def last_equity(self) -> EquityPoint | None:
        """Return what the account was worth when last looked at; None if it never was."""
        found = self._facts(EquityPoint, sa.select(schema.equity).order_by(schema.equity.c.seq.desc()).limit(1))
        return found[0] if found else None

    def events(self, limit: int = 100) -> tuple[Event, ...]:
        """Return the latest events, newest first."""
        return self._facts(Event, sa.select(schema.event).order_by(schema.event.c.seq.desc()).limit(limit))

    def meta(self) -> dict[str, str]:
        """Return what the journal says of itself: schema, label, peak_equity."""
        return {row.name: row.value for row in self._rows(sa.select(schema.meta))}

    def was_paused(self) -> bool:
        """Whether a person had paused entries when the journal was last written."""
        return self.meta().get("paused") == "yes"

    def peak_equity(self) -> Decimal | None:
        """Return the highest equity noted; None before the first."""
        said = self.meta().get("peak_equity")
        return None if said is None else Decimal(said)

    def day_start_equity(self, day: str) -> Decimal | None:
        """Return the equity as *day* (2026-11-24, UTC) began; None if RAD did not run then."""
        found = self._rows(sa.select(schema.day.c.start_equity).where(schema.day.c.day == day))
        return Decimal(found[0][0]) if found else None

    def close(self) -> bool:
        """Give the connections back; True: nothing was left to write."""
        assert_no_lock_held("journal close")
        self._reading.dispose()
        return True

    def _before_reading(self) -> None:
        """What has to be over before a read says the truth: nothing, for one who only reads."""

    def _facts(self, fact: type[schema.Fact], chosen: sa.Select[Any]) -> tuple[schema.Fact, ...]:
        return tuple(from_row(fact, row._asdict()) for row in self._rows(chosen))

    def _rows(self, chosen: sa.Select[Any]) -> Sequence[sa.Row[Any]]:
        assert_no_lock_held("journal read")
        self._before_reading()
        with self._faults_in_words(), self._reading.connect() as connection:
            return connection.execute(chosen).all()

    @contextmanager
    def _faults_in_words(self) -> Iterator[None]:
        try:
            yield
        except FAULTS as error:
            raise worded(error, self.url) from error


def _about(worth: float) -> Decimal:
    """Return a sum the database has turned into a float, without the digits it has not."""
    return Decimal(f"{worth:.10g}")
