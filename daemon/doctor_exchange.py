"""The part of `doctor` that asks the exchange: can it be reached, and will it let this key trade as configured?"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal

from daemon.findings import BAD_CONFIG, TIMED_OUT, Finding, fault, good, warning
from daemon.key_check import advice_on, refusal_of
from kucoin_client import KuCoinClient
from runtime.budget import RateBudget
from runtime.options import KEY_OVERRIDE
from runtime.settings import Settings
from runtime.socket_probe import welcome_s
from runtime.units import show_ratio
from trading.errors import AuthenticationFailed, ClockSkew, ExchangeError
from trading.exits import initial_stop
from trading.facts import Balance, Side
from trading.permissions import judge
from trading.risk import AccountState, EntryRequest, RefusalReason, Refused, approve
from trading.universe import select

SKEW_MS = 1_000
# Weight per 30 s by VIP level. Source: KuCoin's page on rate limits.
FUTURES_QUOTAS = (2000, 2000, 4000, 5000, 6000, 7000, 8000, 10_000, 12_000, 14_000, 16_000, 18_000, 20_000)
SPOT_QUOTAS = (4000, 6000, 8000, 10_000, 13_000, 16_000, 20_000, 23_000, 26_000, 30_000, 33_000, 36_000, 40_000)
UNREACHABLE = "look whether this machine reaches the internet, and https://status.kucoin.com"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """The exchange as configured, and how to ask it."""

    settings: Settings
    client: KuCoinClient
    budget: RateBudget
    any_key: bool              # a key that can move money is accepted
    is_play_money: bool        # RAD's own exchange, started for this


def look(patient: Patient) -> list[Finding]:
    """Return what the exchange says; what needs an answer that did not come is left out."""
    found = [_clock(patient), _spot(patient)]
    if found[0].exit_code:
        return found                       # nobody there: every other question would wait in vain
    found += [_asked("service status", patient, _status), *_key(patient)]
    if any(finding.check == "key" and finding.exit_code for finding in found):
        return [*found, _socket(patient, private=False)]
    found += [_socket(patient, private=False), _socket(patient, private=True)]
    found += [_asked_if_told("account", patient, _account), _asked("margin mode", patient, _margin_mode)]
    found += [_asked_if_told("rate limits", patient, _rates)]
    return [*found, *_money(patient)]


def _asked(check: str, patient: Patient, ask: Callable[[Patient], Finding]) -> Finding:
    """Return what *ask* finds, or that the exchange would not say."""
    try:
        return ask(patient)
    except ExchangeError as error:
        return _unsaid(check, error)


def _asked_if_told(check: str, patient: Patient, ask: Callable[[Patient], Finding]) -> Finding:
    """The same of what KuCoin does not tell every account: that nothing is known is no fault then."""
    try:
        return ask(patient)
    except ExchangeError as error:
        return warning(check, f"KuCoin does not say: {error}", "nothing else depends on it; ask again later")


def _unsaid(check: str, error: ExchangeError) -> Finding:
    if isinstance(error, AuthenticationFailed) and not isinstance(error, ClockSkew):
        return fault(check, f"refused: {error}", advice_on(error), BAD_CONFIG)
    return fault(check, str(error), UNREACHABLE, TIMED_OUT)


# ---- reaching it --------------------------------------------------------------------------------


def _clock(patient: Patient) -> Finding:
    """Return whether the futures address answers, and how our clock stands against its."""
    started = time.monotonic()
    try:
        ahead_ms = patient.client.measure_clock_offset()
    except ExchangeError as error:
        return _unsaid("futures address", error)
    taken_ms = (time.monotonic() - started) * 1000
    direction = "ahead of" if ahead_ms > 0 else "behind"
    said = (f"{patient.client.futures_url} answers within {taken_ms:.0f} ms; "
            f"our clock is {abs(ahead_ms)} ms {direction} it")
    if abs(ahead_ms) < SKEW_MS:
        return good("futures address", said)
    return warning("futures address", said,
                   "RAD signs by the exchange's time, but log and candles go by ours: timedatectl set-ntp true")


def _spot(patient: Patient) -> Finding:
    started = time.monotonic()
    try:
        patient.client.fetch_spot_time()
    except ExchangeError as error:
        return _unsaid("spot address", error)
    return good("spot address", f"answers within {(time.monotonic() - started) * 1000:.0f} ms")


def _status(patient: Patient) -> Finding:
    status = patient.client.fetch_service_status()
    if status == "open":
        return good("service status", "KuCoin's futures are open")
    return warning("service status", f"KuCoin's futures are at {status}",
                   "wait: RAD does, and goes on by itself when they open again")


def _socket(patient: Patient, *, private: bool) -> Finding:
    check = "private socket" if private else "public socket"
    try:
        url = patient.client.fetch_socket_url(private=private)
        taken_s = welcome_s(url, patient.settings.exchange.deadline_s)
    except ExchangeError as error:
        return _unsaid(check, error)
    return good(check, f"opens within {taken_s * 1000:.0f} ms")


# ---- the key ------------------------------------------------------------------------------------


def _key(patient: Patient) -> list[Finding]:
    try:
        key = patient.client.fetch_api_key()
    except ExchangeError as error:
        return [_unsaid("key", error)]
    whose = f"sub-account {key.sub_account}" if key.sub_account else "the master account"
    found = [good("key", f"valid, version {key.version}, of {whose}")]
    return [*found, _trading(key.permissions), *_moving(key.permissions, patient), _place(key.addresses, patient)]


def _trading(permissions: frozenset[str]) -> Finding:
    missing = judge(permissions).missing
    if missing:
        return fault("may trade", f"the key lacks {', '.join(missing)}",
                     "at KuCoin, under API management, give it General and Futures", BAD_CONFIG)
    return good("may trade", "the key has General and Futures")


def _moving(permissions: frozenset[str], patient: Patient) -> list[Finding]:
    """Return whether the key can carry money away, and what else it may that it need not."""
    rights, check = judge(permissions), "cannot withdraw"
    refusal = refusal_of(permissions)
    if refusal and not patient.any_key:
        return [fault(check, refusal, "at KuCoin, take these permissions from the key: a bot never needs them",
                      BAD_CONFIG)]
    if refusal:
        return [warning(check, f"the key can move money ({', '.join(rights.moving)}), allowed by {KEY_OVERRIDE}",
                        "take these permissions from the key: a bot never needs them")]
    found = [good(check, "the key can neither withdraw nor transfer")]
    if rights.unknown:
        found.append(warning(check, f"RAD does not know what {', '.join(rights.unknown)} allows",
                             "take it from the key unless you know that it moves no money"))
    if rights.needless:
        found.append(warning(check, f"the key has {', '.join(rights.needless)}, which RAD does not use",
                             "take it from the key"))
    return found


def _place(addresses: tuple[str, ...], patient: Patient) -> Finding:
    """Return whether the key works from here alone. The question itself came through, so here it does."""
    try:
        ours = patient.client.fetch_our_address()
    except ExchangeError:
        ours = "an address KuCoin does not tell"
    if addresses:
        return good("address", f"we come from {ours}; the key is bound to {', '.join(addresses)}")
    if patient.is_play_money:
        return good("address", f"we come from {ours}; a play key needs no binding")
    return warning("address", f"we come from {ours}; the key works from anywhere",
                   f"at KuCoin, bind it to {ours}: then a stolen key is of no use elsewhere")


# ---- the account --------------------------------------------------------------------------------


def _account(patient: Patient) -> Finding:
    mode = patient.client.fetch_account_mode()
    if mode == "classic":
        return good("account", "classic, as RAD trades it")
    return fault("account", f"the account is {mode}", "RAD trades the classic futures account: switch back to it "
                 "at KuCoin, or trade a sub-account that is classic", BAD_CONFIG)


def _margin_mode(patient: Patient) -> Finding:
    """Return how the most watched contract stands, and every open position."""
    wanted = patient.settings.positions.margin_mode
    patient.client.load()
    held = patient.client.fetch_positions()
    others = sorted(position.symbol for position in held if position.margin_mode != wanted)
    if others:
        return warning("margin mode", f"{wanted} is configured, but {', '.join(others)} is held otherwise",
                       "a symbol's mode changes only while nothing is held in it: RAD keeps out until then")
    exchange_id = "XBTUSDTM" if "BTC/USDT:USDT" in patient.client.instruments() else next(
        iter(patient.client.instruments().values())).exchange_id
    now = patient.client.fetch_margin_mode(exchange_id)
    if now == wanted:
        return good("margin mode", f"{wanted}, as configured (asked of {exchange_id})")
    return good("margin mode", f"{exchange_id} is {now} now; RAD makes each symbol {wanted} before it enters")


def _rates(patient: Patient) -> Finding:
    """Return what the exchange grants, by level and by its own headers, against what is configured."""
    level = patient.client.fetch_vip_level()
    configured = patient.settings.quotas
    told = {use.pool: use.quota for use in patient.budget.usage()}
    row = min(max(level, 0), len(FUTURES_QUOTAS) - 1)
    granted = {"futures": FUTURES_QUOTAS[row], "spot": SPOT_QUOTAS[row], "management": FUTURES_QUOTAS[row]}
    granted |= {pool: told[pool] for pool in granted if told.get(pool) not in (None, configured[pool])}
    said = f"VIP {level}: {granted['futures']} futures weight per 30 s"
    above = [pool for pool in granted if configured[pool] > granted[pool]]
    if above:
        named = ", ".join(f"exchange.quota_{pool} {configured[pool]}" for pool in above)
        return warning("rate limits", f"{said}, less than is configured", f"lower {named} to what is granted")
    if configured["futures"] < granted["futures"]:
        return warning("rate limits", f"{said}; {configured['futures']} is configured",
                       f"exchange.quota_futures may be {granted['futures']}: scans would be quicker")
    return good("rate limits", f"{said}, as configured")


def _money(patient: Patient) -> list[Finding]:
    try:
        balance = patient.client.fetch_balance()
    except ExchangeError as error:
        return [_unsaid("balance", error)]
    said = f"{balance.equity:.2f} {balance.currency} in the futures account, {balance.available:.2f} available"
    if balance.available <= 0:
        return [warning("balance", said, "at KuCoin, transfer USDT from the funding to the futures account")]
    return [good("balance", said), _asked("order size", patient, lambda each: _order_size(each, balance))]


def _order_size(patient: Patient, balance: Balance) -> Finding:
    """Return for how many pairs the configured size reaches the smallest order, by the rules of live entries."""
    client, settings = patient.client, patient.settings
    tickers = client.fetch_tickers()
    now_ms = max((ticker.ts_ms for ticker in tickers.values()), default=0)
    account = AccountState(equity=balance.equity, available=balance.available)
    pairs = select(client.instruments(), tickers, settings.universe_rules(), now_ms)
    refused: list[tuple[str, Refused]] = []
    for symbol in pairs:
        ticker, instrument = tickers[symbol], client.instrument(symbol)
        atr = ticker.last / 100                                    # as for an entry by hand
        wish = EntryRequest(
            instrument=instrument, side=Side.LONG, price=ticker, atr=atr,
            stop_price=initial_stop(Side.LONG, ticker.ask, atr, settings.exit_rules(), instrument),
        )
        answer = approve(wish, account, settings.risk_rules(), ticker.ts_ms)
        if isinstance(answer, Refused) and answer.reason is RefusalReason.TOO_SMALL:
            refused.append((symbol, answer))
    return _sized(pairs, refused, settings.positions.risk_per_trade)


def _sized(pairs: tuple[str, ...], refused: list[tuple[str, Refused]], risk: Decimal) -> Finding:
    check = "order size"
    if not pairs:
        return warning(check, "no pair passes the scanner's filter", "loosen it, or wait for the market")
    reached = len(pairs) - len(refused)
    said = f"the configured size is enough for {reached} of {len(pairs)} pairs"
    if not refused:
        return good(check, said)
    symbol, answer = refused[0]
    said += f"; not for {symbol}: {answer.text}"
    advice = f"more money, or more of it per trade (positions.risk_per_trade is {show_ratio(risk)}), reaches more"
    return warning(check, said, advice) if reached else fault(check, said, advice, BAD_CONFIG)
