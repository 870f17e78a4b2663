"""Every contract's rules in memory, and how one never heard of is learnt."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from kucoin import endpoints, parse
from kucoin.endpoints import Endpoint
from kucoin.sessions import Sessions
from runtime.locks import guard, named_lock
from trading.errors import ExchangeError, OrderNotFound, RequestRefused, UnknownInstrument
from trading.facts import Instrument, Position, Priority
from trading.ports import Clock

log = logging.getLogger("kucoin")

REMEMBERED_ORDERS = 2_000
REFRESH_S = 30.0               # between two looks at all contracts, and at one that KuCoin does not describe


class KnownInstruments(ABC):
    """The part of KuCoinClient that knows what is listed; any thread."""

    def __init__(self, sessions: Sessions, clock: Clock) -> None:
        self._sessions = sessions
        self._clock = clock
        self._metadata_lock = named_lock("metadata")
        # Guarded by _metadata_lock; each but the last is replaced whole, never edited.
        self._symbol_metadata_cache: dict[str, Instrument] = {}
        self._by_id: Mapping[str, Instrument] = MappingProxyType({})       # this and the next are handed out
        self._contracts: Mapping[str, parse.Row] = MappingProxyType({})
        self._foreign_ids: frozenset[str] = frozenset()
        self._undescribed: dict[str, float] = {}        # until when not to ask again, monotonic, by KuCoin's id
        self._refresh_due = 0.0                         # monotonic
        self._ordered: dict[str, str] = {}
        guard(
            self, self._metadata_lock, "_symbol_metadata_cache", "_by_id", "_contracts", "_foreign_ids",
            "_undescribed", "_refresh_due", "_ordered",
        )

    @abstractmethod
    def _call(self, endpoint: Endpoint, params: Mapping[str, Any], priority: Priority) -> Any:
        """Pass the gate and the budget, and return the answer's `data`."""

    def refresh_instruments(self, priority: Priority = Priority.NORMAL) -> None:
        """Fetch every contract's rules anew and replace them whole.

        One no longer listed stays known as not tradable: a position in it still has to be closed.
        """
        self._learn(parse.listed(self._call(endpoints.CONTRACTS, {}, priority), self._symbol_of))
        with self._metadata_lock:
            self._refresh_due = self._clock.monotonic() + REFRESH_S

    def _is_due_to_refresh(self) -> bool:
        """Whether the contracts are to be asked for again, for their turnover.

        Not in each scan: no other answer takes as long to read.
        """
        with self._metadata_lock:
            return self._clock.monotonic() >= self._refresh_due

    def _learn(self, found: Mapping[str, tuple[Instrument, parse.Row]], *, complete: bool = True) -> None:
        fresh = {instrument.symbol: instrument for instrument, _ in found.values()}
        with self._metadata_lock:
            for symbol, old in self._symbol_metadata_cache.items():
                if symbol not in fresh:
                    fresh[symbol] = parse.delisted(old) if complete else old
            self._symbol_metadata_cache = fresh
            self._by_id = MappingProxyType({instrument.exchange_id: instrument for instrument in fresh.values()})
            rows = {exchange_id: row for exchange_id, (_, row) in found.items()}
            self._contracts = MappingProxyType(rows if complete else {**self._contracts, **rows})

    def instruments(self) -> Mapping[str, Instrument]:
        """Return every instrument by symbol, from memory."""
        with self._metadata_lock:
            return dict(self._symbol_metadata_cache)

    def instrument(self, symbol: str) -> Instrument:
        """Return one instrument from memory, by ccxt's symbol, whole or short of its end, or KuCoin's id.

        Capitals or not: who closes by hand in a hurry types btc.

        Raises:
            UnknownInstrument: KuCoin does not list it.
        """
        capitals = symbol.upper()
        with self._metadata_lock:
            known = self._symbol_metadata_cache
            # As it stands first: ccxt's name of a base currency may have small letters in it.
            found = known.get(symbol) or known.get(capitals) or self._by_id.get(capitals)
            found = found or known.get(f"{capitals.removesuffix('/USDT')}/USDT:USDT")
        if found is None:
            raise UnknownInstrument(f"KuCoin lists no {symbol}")
        return found

    def is_listed(self, symbol: str) -> bool:
        """Whether KuCoin lists *symbol* and lets it be traded, and ccxt, which subscribes, knows it too.

        ccxt does not hear of what is listed after `load`.
        """
        with self._metadata_lock:
            found = self._symbol_metadata_cache.get(symbol)
        return found is not None and found.tradable and symbol in (self._sessions.common.markets or {})

    def know_again(self, held: Position) -> None:
        """Know the contract of a position in the journal, though KuCoin may list it no more.

        Without that, nothing of it could be read, watched or closed, and no comparison would come to
        its end. What KuCoin does not describe either is put together from the position.
        """
        with self._metadata_lock:
            if held.symbol in self._symbol_metadata_cache:
                return
        stand_in = parse.instrument_from(held)
        try:
            if self._ask_about(stand_in.exchange_id, Priority.HIGH) is not None:
                return
        except ExchangeError as error:
            log.warning("%s not described error=%s", held.symbol, error)
        log.warning("%s is not listed any more, known by its position alone", held.symbol)
        self._learn({stand_in.exchange_id: (stand_in, {})}, complete=False)

    def _instrument_of(self, row: parse.Row, priority: Priority) -> Instrument | None:
        """Return the instrument a row is about; None for a kind RAD does not trade.

        An id never heard of is asked about: a position may not be left out because a list was short.
        """
        exchange_id = parse.text(row, "symbol")
        with self._metadata_lock:
            known = self._by_id.get(exchange_id)
            is_foreign = exchange_id in self._foreign_ids
            is_asked = self._clock.monotonic() < self._undescribed.get(exchange_id, 0.0)
        if known is not None or is_foreign or is_asked:
            return known
        return self._ask_about(exchange_id, priority)

    def _ask_about(self, exchange_id: str, priority: Priority) -> Instrument | None:
        """Ask for one contract and learn it; None if KuCoin knows of none, or it is none RAD trades."""
        try:
            contract = self._call(endpoints.CONTRACT, {"symbol": exchange_id}, priority)
        except (UnknownInstrument, OrderNotFound, RequestRefused) as error:      # a plain no
            contract = None
            log.debug("contract not described contract=%s error=%s", exchange_id, error)
        if isinstance(contract, Mapping) and parse.is_linear_usdt_perpetual(contract):
            self._learn(parse.listed([contract], self._symbol_of), complete=False)
            return self.instrument(exchange_id)
        with self._metadata_lock:
            # What is described and of another kind stays so; what is not described may be again.
            is_news = exchange_id not in self._undescribed
            self._undescribed[exchange_id] = self._clock.monotonic() + REFRESH_S
            if isinstance(contract, Mapping):
                self._foreign_ids |= {exchange_id}
        if is_news:
            why = "not a kind of contract RAD trades" if contract else "KuCoin describes no such contract"
            log.warning("%s, its rows are passed over contract=%s", why, exchange_id)
        return None

    def _listed(self) -> tuple[Mapping[str, Instrument], Mapping[str, parse.Row]]:
        """Return instruments and their latest rows, both by KuCoin's id."""
        with self._metadata_lock:
            return self._by_id, self._contracts

    def _with_instruments(
        self, listed: Sequence[parse.Row], priority: Priority
    ) -> Iterator[tuple[parse.Row, Instrument]]:
        """Pair rows with their instruments; rows about other kinds of contract are passed over."""
        for row in listed:
            instrument = self._instrument_of(row, priority)
            if instrument is not None:
                yield row, instrument

    def _remember_order(self, order_id: str, exchange_id: str) -> None:
        """Know which contract an order is of, so that fewer fills have to be read for it."""
        with self._metadata_lock:
            if len(self._ordered) >= REMEMBERED_ORDERS:
                del self._ordered[next(iter(self._ordered))]
            self._ordered[order_id] = exchange_id

    def _contract_of_order(self, order_id: str) -> str | None:
        with self._metadata_lock:
            return self._ordered.get(order_id)

    def _symbol_of(self, row: parse.Row) -> str:
        """Return ccxt's symbol for a contract; built by its rule for one listed since `load`."""
        wire = self._sessions.common
        known = (wire.markets_by_id or {}).get(parse.text(row, "symbol"))
        if known:
            return str(known[0]["symbol"])
        base = wire.safe_currency_code(parse.text(row, "baseCurrency"))
        return f"{base}/{row['quoteCurrency']}:{row['settleCurrency']}"
