"""What the daemon answers to the console and does at its word."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from decimal import Decimal
from math import inf
from statistics import median
from typing import Any

from control import views
from control.event_views import event_view
from control.metrics import Family
from control.steering import NotFound
from control.thread_views import threads_view
from daemon import showing
from daemon.figures import figures
from daemon.house import House
from daemon.opening import Opener
from daemon.reload import Reloader
from daemon.verify import Parties, verify
from execution.book import NotOpened
from performance_monitor import Summary
from runtime.heartbeat import hearts
from runtime.locks import lock_stats
from runtime.stacks import places
from runtime.version import VERSION
from trading.client_ids import parse
from trading.errors import RadError
from trading.facts import ExitReason, Order, Position, Side

log = logging.getLogger("console")

JsonObject = dict[str, Any]

ENTRY_PATIENCE_S = 15.0        # for an entry under way: flattening includes what it brings
START_PATIENCE_S = 20.0        # for what left before the start to be known: before, an exit could take its number


class Desk:
    """`control.steering.Steering` of the running daemon; called from the control API's threads."""

    def __init__(self, house: House, opener: Opener) -> None:
        self._house = house
        self._opener = opener
        self._reloader = Reloader(house)

    # ---- asking ---------------------------------------------------------------------------------

    def held_up(self) -> str:
        return self._house.supervisor.trouble()

    def status(self) -> JsonObject:
        house = self._house
        positions = house.manager.snapshot()
        stats = house.monitor.get_stats(brief=True)
        blocked = self._opener.blocked_by() if house.status.state != "starting" else "starting"
        return views.status_view(
            state=house.status.state,
            mode=house.settings.mode,
            market=house.settings.market,
            version=VERSION,
            equity=house.account.equity(),
            positions=len(positions),
            protected=sum(position.protective_stop is not None for position in positions),
            rate=house.rate(),
            exit_latency_ms=house.exit_latency_ms(stats),
            protection_gap_ms=_gaps(stats.protection_gaps),
            problems=house.problems(),
            equity_age_s=_known(house.account.age_s()),
            paused=house.status.paused,
            entries_blocked=blocked or None,
            realised_pnl=views.amount(stats.realised_pnl),
            awaiting_funding=stats.awaiting_funding,      # trades without it in that
            trades=stats.trades,
            drawdown=views.ratio(stats.drawdown),
            started_at=views.moment(house.started_ms),
            reconciled_at=views.moment(house.status.reconciled_ms),
            exchange=house.client.futures_url,
            stale_after_s=house.settings.monitor.stale_after_s,      # from that age on a price is none
            journal_commit_ms=_median_ms(house.journal.commit_seconds()),
        )

    def positions(self) -> list[JsonObject]:
        positions = self._house.manager.snapshot()
        prices = self._house.prices.snapshot(position.symbol for position in positions)
        now = self._house.clock.monotonic()
        return [views.held_view(position, prices.get(position.symbol), now) for position in positions]

    def opportunities(self) -> list[JsonObject]:
        kept_out = self._house.blacklist.symbols()
        best = self._house.scanner.get_best_pairs(50)
        return [views.opportunity_view(found) for found in best if found.symbol not in kept_out]

    def orders(self) -> list[JsonObject]:
        client = self._house.client
        return [
            views.order_view(order, _purpose(order))
            for order in client.fetch_open_orders() + client.fetch_stop_orders()
        ]

    def trades(
        self, limit: int, *, symbol: str = "", side: str = "", reason: str = "", since_ms: int = 0,
        until_ms: int = 0,
    ) -> list[JsonObject]:
        if symbol:
            symbol = self._house.client.instrument(symbol).symbol
        found = self._house.journal.trades(
            limit, symbol=symbol, side=side, reason=reason, since_ms=since_ms, until_ms=until_ms
        )
        return [views.trade_view(trade) for trade in found]

    def rate(self) -> JsonObject:
        return self._house.rate()

    def latency(self) -> JsonObject:
        return self._house.exit_latency_ms()

    def equity(self, since_ms: int, points: int) -> JsonObject:
        return showing.equity(self._house, since_ms, points)

    def chart(self, symbol: str) -> JsonObject:
        return showing.chart(self._house, symbol)

    def events(self, after: int, limit: int) -> list[JsonObject]:
        return [event_view(event) for event in self._house.events.after(after)[-limit:]]

    def figures(self) -> tuple[Family, ...]:
        return figures(self._house)

    def blacklist(self) -> JsonObject:
        return {"symbols": sorted(self._house.blacklist.symbols())}

    def threads(self, stacks: bool = False) -> JsonObject:
        where = places()               # before the hearts: who is born meanwhile is in none, not in one alone
        watched = hearts()
        vital = frozenset(heart.name for heart in watched if heart.vital_s is not None)
        states = [heart.state() for heart in watched]
        return threads_view(states, where, lock_stats(), stacks=stacks, vital=vital)

    def verify(self) -> JsonObject:
        house = self._house
        return verify(Parties(
            client=house.client, journal=house.journal, clock=house.clock, protect=house.settings.protect.enabled,
            protect_deadline_s=house.settings.protect.deadline_s, book=house.manager,
        ))

    def summary(self) -> str:
        """Return the minute's line in the log."""
        house = self._house
        stats = house.monitor.get_stats(brief=True)
        positions = house.manager.snapshot()
        latency = house.exit_latency_ms(stats)
        return (
            f"state={house.status.state} equity={house.account.equity() or 0:.2f} open={len(positions)} "
            f"protected={sum(p.protective_stop is not None for p in positions)} trades={stats.trades} "
            f"pnl={stats.realised_pnl:+.2f} exit_p99_ms={latency.get('p99')} "
            f"problems={len(house.problems())}"
        )

    # ---- acting ---------------------------------------------------------------------------------

    def open(self, symbol: str, side: str, notional: Decimal | None) -> JsonObject:
        log.info("%s open by hand side=%s notional=%s", symbol, side, notional or "usual")
        opened = self._opener.open_by_hand(symbol, Side(side), notional)
        if isinstance(opened, NotOpened):
            raise RadError(f"{symbol} was not opened: {opened.reason}")
        return views.position_view(opened, self._mark(opened))

    def close(self, symbol: str) -> JsonObject:
        symbol = self._house.client.instrument(symbol).symbol
        if self._house.manager.find(symbol) is None:
            raise NotFound(f"there is no position in {symbol}")
        if not self._house.clock.wait(self._house.exits_may_leave, START_PATIENCE_S):
            raise RadError("RAD is starting: no exit leaves until it knows which have; its stop rests meanwhile")
        log.info("%s close by hand", symbol)
        trade = self._house.manager.close_position(symbol, ExitReason.MANUAL)
        if trade is None:
            raise RadError(f"{symbol} is being closed already")
        return views.trade_view(trade)

    def flatten(self) -> JsonObject:
        """Pause, then close everything at once, each in a worker of its own."""
        self._pause(True)
        log.warning("flatten: pausing and closing everything")
        uncertain = self._house.manager.await_entries(ENTRY_PATIENCE_S)
        positions = self._house.manager.snapshot()
        results = self._house.close_all([position.symbol for position in positions])
        failures = [f"{plan.symbol}: an entry is under way, its outcome not certain yet" for plan in uncertain]
        return {
            "closed": [views.trade_view(trade) for trade in results.trades],
            "failed": failures + results.failures,
            "paused": True,
        }

    def blacklist_add(self, symbol: str) -> JsonObject:
        house = self._house
        house.blacklist.add(house.client.instrument(symbol).symbol)
        house.choose_pairs()
        return self.blacklist()

    def blacklist_remove(self, symbol: str) -> JsonObject:
        house = self._house
        listed = house.blacklist.symbols()
        if symbol not in listed:               # it may be one that the exchange no longer lists
            symbol = house.client.instrument(symbol).symbol
        if not house.blacklist.remove(symbol):
            raise NotFound(f"{symbol} is not on the black list")
        house.choose_pairs()
        return self.blacklist()

    def pause(self) -> JsonObject:
        self._pause(True)
        log.info("paused: no entries from scanning")
        return {"paused": True}

    def resume(self) -> JsonObject:
        self._pause(False)
        self._house.account.forgive_losses()
        log.info("resumed")
        return {"paused": False}

    def _pause(self, paused: bool) -> None:
        """At once in memory; the journal's thread writes it down for whoever comes after this process."""
        self._house.status.pause(paused)
        noted: object = None
        while noted is not (now := self._house.status.paused):     # another may say otherwise meanwhile
            noted = now
            self._house.journal.record_pause(now)

    def reload(self) -> JsonObject:
        return self._reloader.reload()

    def _mark(self, position: Position) -> Decimal | None:
        price = self._house.prices.get(position.symbol)
        return None if price is None else price.mark


def _median_ms(seconds: Sequence[float]) -> float | None:
    return round(median(seconds) * 1000, 3) if seconds else None


def _known(seconds: float) -> float | None:
    return None if seconds == inf else round(seconds, 1)


def _gaps(gaps: Summary) -> JsonObject | None:
    return views.in_ms(gaps.count, p50=gaps.p50, p99=gaps.p99, max=gaps.maximum) if gaps.count else None


def _purpose(order: Order) -> str:
    client_oid = parse(order.client_oid)
    return client_oid.purpose.name.lower() if client_oid else "foreign"


