"""Two wires with one deadline and one idea of the time: exits never queue behind a scan's sockets."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any

import ccxt

from kucoin.endpoints import Effect, Endpoint
from kucoin.wire import SendRule, Wire, addresses
from runtime.budget import ADDRESS, RateBudget
from runtime.deadline import Deadlines
from trading.errors import BadResponse, ClockSkew, ExchangeError, ExchangeUnavailable, OutcomeUnknown, RateLimited
from trading.facts import Priority
from trading.ports import Clock

log = logging.getLogger("kucoin")

LOAD_DEADLINES = 3             # the list of markets is long: so many times the usual deadline
NOTED_SKEW_MS = 1_000
FEW = 20
EXITS_UNCUT_S = 30.0           # how long RAD may go on when nobody cuts the calls of exits


class Sessions:
    """Sends a request that has been let through, and tells the budget what came of it; any thread."""

    def __init__(
        self, *, futures_url: str, spot_url: str, key: str, secret: str, passphrase: str, key_version: str,
        budget: RateBudget, clock: Clock, deadline_s: float, send_rule: SendRule | None = None,
    ) -> None:
        self._budget = budget
        self._clock = clock
        self._key_version = key_version
        self._send_rule = send_rule
        self.deadline_s = deadline_s
        self._urls = addresses(futures_url, spot_url)
        # Apart, so that at the end the others can be cut short while exits are seen through.
        self._critical_deadlines = Deadlines("Deadlines-exits", vital_s=EXITS_UNCUT_S)
        self._common_deadlines = Deadlines()

        def wire() -> Wire:
            return Wire(
                futures_url=futures_url, spot_url=spot_url, key=key, secret=secret, passphrase=passphrase,
                key_version=key_version, timeout_s=deadline_s, clock=clock, send_rule=send_rule,
            )

        self.critical, self.common = wire(), wire()
        self.is_clock_off = threading.Event()      # our time was refused since it was last measured

    def load(self) -> None:
        """Learn ccxt's names of every market, once, before threads start. Raises ExchangeError."""
        try:
            with self._common_deadlines.limit(self.deadline_s * LOAD_DEADLINES, "list of markets"):
                self.common.load_markets(False, {"marginables": False})
        except ExchangeError:
            raise
        except (ccxt.BaseError, OSError, ValueError, TypeError, LookupError, AttributeError) as error:
            raise BadResponse(f"the list of markets cannot be read ({type(error).__name__})") from error
        self.critical.set_markets_from_exchange(self.common)

    def ask(self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority) -> Any:
        """Return the `data` of one answer. Raises ExchangeError, within the deadline."""
        wire = self._wire(priority)
        deadlines = self._critical_deadlines if wire is self.critical else self._common_deadlines
        if deadlines.is_past():
            raise ExchangeUnavailable("not sent: the end has come")
        asked_at = self._clock.monotonic()
        try:
            with deadlines.limit(self.deadline_s, endpoint.method) as call:
                return wire.ask(endpoint, params)
        except RateLimited as error:
            if error.retry_after_ms:
                # What refuses one endpoint alone holds an exit up only if that is the exit's own.
                self._budget.hold(
                    ADDRESS if error.everything else endpoint.pool, error.retry_after_ms / 1000,
                    exits=not error.one_endpoint or endpoint.effect is Effect.PLACES,
                )
            raise
        except ClockSkew:
            self.is_clock_off.set()
            raise
        except (ExchangeUnavailable, OutcomeUnknown) as error:
            if call.is_over():
                raise type(error)(f"no whole answer within {self.deadline_s:g} s") from error
            raise
        finally:
            self._learn_rate(endpoint.pool, wire.answer_headers(), asked_at)

    def set_clock_by(self, answer: Any, priority: Priority) -> int:
        """Sign by the exchange's time from now on; *answer* is this thread's last of *priority*, to SERVER_TIME.

        Returns milliseconds by which our clock is ahead.
        """
        try:
            ahead_ms = self._wire(priority).clock_ahead_ms(int(answer))
        except (TypeError, ValueError) as error:
            raise BadResponse("the exchange's time cannot be read") from error
        for wire in (self.critical, self.common):
            wire.options["timeDifference"] = ahead_ms
        self.is_clock_off.clear()
        if self._send_rule is not None:
            self._send_rule.clock_measured()
        if abs(ahead_ms) > NOTED_SKEW_MS:
            log.warning("clock differs from the exchange's ahead_by=%dms", ahead_ms)
        return ahead_ms

    def clock_offset_ms(self) -> int:
        """Return milliseconds by which our clock was ahead when last measured."""
        return int(self.common.options["timeDifference"])

    def stream_config(self) -> dict[str, Any]:
        """Return what ccxt.pro needs to speak to the same addresses with the same key."""
        wire = self.common
        return {
            "apiKey": wire.apiKey, "secret": wire.secret, "password": wire.password,
            "enableRateLimit": False, "newUpdates": True,
            "urls": {"api": dict(self._urls)},
            # RAD reads each push as it comes; what ccxt keeps of them for others is 1000 orders and trades.
            "options": {"hf": True, "uta": False, "defaultType": "swap", "keyVersion": self._key_version,
                        "timeDifference": self.clock_offset_ms(), "ordersLimit": FEW, "tradesLimit": FEW},
        }

    def hurry(self, seconds: float) -> None:
        """Give everything but exits and stops *seconds* more, all together: the end is near."""
        ends = self._clock.monotonic() + seconds
        self._common_deadlines.end_by(ends)
        self._budget.end_by(ends)

    def hurry_exits(self, seconds: float) -> None:
        """Give exits and stops *seconds* more, all together: the end is there."""
        ends = self._clock.monotonic() + seconds
        self._critical_deadlines.end_by(ends)
        self._budget.end_by(ends, exits=True)

    def close(self) -> None:
        """Cut what is under way, end the deadline threads, close the connections."""
        self._critical_deadlines.stop()
        self._common_deadlines.stop()
        for wire in (self.critical, self.common):
            wire.close_connections()

    def _wire(self, priority: Priority) -> Wire:
        return self.critical if priority is Priority.CRITICAL else self.common

    def _learn_rate(self, pool: str, headers: Mapping[str, str], asked_at: float) -> None:
        try:
            self._budget.correct(
                pool,
                limit=int(headers["gw-ratelimit-limit"]),
                remaining=int(headers["gw-ratelimit-remaining"]),
                resets_in_s=int(headers["gw-ratelimit-reset"]) / 1000,
                asked_at=asked_at,
            )
        except (KeyError, ValueError):
            pass    # KuCoin promises the headers for the pools of a user, not for the public one
