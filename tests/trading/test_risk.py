"""May it be opened, and how large: every limit, alone and together."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.builders import (
    NOW_MS,
    SYMBOL,
    D,
    a_ticker,
    an_account,
    an_entry,
    an_instrument,
    risk_rules,
)
from trading.facts import Side
from trading.risk import (
    AccountState,
    Approved,
    EntryRequest,
    RefusalReason,
    Refused,
    RiskRules,
    approve,
    halt_reason,
)

BOTH = pytest.mark.parametrize("side", list(Side))


def approved(request: EntryRequest, account: AccountState | None = None, **rules: Any) -> Approved:
    verdict = approve(request, account or an_account(), risk_rules(**rules), NOW_MS)
    assert isinstance(verdict, Approved), verdict
    return verdict


def refused(request: EntryRequest, account: AccountState | None = None, **rules: Any) -> Refused:
    verdict = approve(request, account or an_account(), risk_rules(**rules), NOW_MS)
    assert isinstance(verdict, Refused), verdict
    return verdict


@BOTH
def test_the_size_is_what_the_stop_may_cost(side: Side) -> None:
    """1 % of 10,000 over a stop two away, a hundredth of a coin a lot."""
    verdict = approved(an_entry(side), leverage=D(20))
    assert verdict.quantity == D(5000)                     # 100 / (2 × 0.01)
    assert verdict.notional == D(5000)                     # 5000 × 0.01 × 100
    assert (verdict.symbol, verdict.side, verdict.price) == (SYMBOL, side, D(100))
    assert (verdict.strategy, verdict.reasons, verdict.atr) == ("test", ("because",), D(1))


def test_fees_are_part_of_what_the_stop_costs() -> None:
    """Two fees of 0.1 % on 100 add 0.2 to a distance of two."""
    request = an_entry(instrument=an_instrument(taker_fee_rate=D("0.001")))
    assert approved(request, leverage=D(20)).quantity == D(4545)      # 100 / (2.2 × 0.01) = 4545.45


def test_slipping_does_not_shrink_the_size_for_risk() -> None:
    """The stop keeps its distance from the real price, so slipping costs no more at the stop."""
    verdict = approved(an_entry(), leverage=D(20), max_slippage=D("0.01"))
    assert verdict.quantity == D(5000)
    assert verdict.worst_price == D(101)
    assert verdict.notional == D(5050)                     # 5000 × 0.01 × 101


@pytest.mark.parametrize(("side", "worst"), [(Side.LONG, "100.5"), (Side.SHORT, "99.8")])
def test_the_worst_price_is_on_a_tick_within_the_slippage(side: Side, worst: str) -> None:
    """0.53 % from the ask up, from the bid down, rounded back towards the price."""
    request = an_entry(side, price=a_ticker("100.3", 100))              # crossed, so that bid and ask differ
    assert approved(request, max_slippage=D("0.0053")).worst_price == D(worst)   # 100.53 and 99.76841


def test_quantity_is_whole_lots_rounded_down() -> None:
    """Lots of ten: 4,999 becomes 4,990."""
    request = an_entry(instrument=an_instrument(lot_size=D(10), min_quantity=D(10), taker_fee_rate=D(0)))
    account = an_account(equity=D("9998"))
    assert approved(request, account, leverage=D(20)).quantity == D(4990)     # 99.98 / 0.02 = 4999


@pytest.mark.parametrize(("overrides", "account", "notional", "lots"), [
    ({"max_notional": D(1000)}, {}, None, 1000),                      # a lot is worth 1
    ({"max_exposure": D(3000)}, {"exposure": {"A": D(1800)}}, None, 1200),
    ({}, {"available": D(100)}, None, 500),                           # 100 × leverage 5
    ({}, {}, D(250), 250),
    ({"max_notional": D(1000)}, {}, D(4000), 1000),                   # asking for more does not help
    ({"leverage": D(1)}, {"available": D(700)}, None, 700),
])
def test_the_tightest_limit_counts(
    overrides: dict[str, Any], account: dict[str, Any], notional: Decimal | None, lots: int
) -> None:
    """Each limit alone below the 5,000 lots the risk would allow."""
    assert approved(an_entry(notional=notional), an_account(**account), **overrides).quantity == D(lots)


@pytest.mark.parametrize(("rules", "request_", "lots"), [
    ({"max_notional": D(1000)}, {}, 250),
    ({"max_exposure": D(3000)}, {}, 300),                             # 1,200 of it left
    ({}, {"notional": D(250)}, 62),                                   # 62.5
])
def test_limits_of_value_count_what_a_lot_is_worth(
    rules: dict[str, Any], request_: dict[str, Any], lots: int
) -> None:
    """0.04 coins at 100 are worth 4 a lot."""
    contract = an_instrument(multiplier=D("0.04"), taker_fee_rate=D(0))
    request, account = an_entry(instrument=contract, **request_), an_account(exposure={"A": D(1800)})
    assert approved(request, account, **rules).quantity == D(lots)


def test_margin_leaves_room_for_both_fees() -> None:
    """20 of margin and 0.2 of fees a hundred: 101 pay for 500, not 505."""
    request = an_entry(instrument=an_instrument(taker_fee_rate=D("0.001")))
    assert approved(request, an_account(available=D(101))).quantity == D(500)    # 101 / (0.2 + 0.002)


def test_leverage_is_at_most_what_the_contract_allows() -> None:
    """A contract with leverage 3 makes margin dearer, whatever the rules say."""
    request = an_entry(instrument=an_instrument(max_leverage=D(3), taker_fee_rate=D(0)))
    verdict = approved(request, an_account(available=D(100)))
    assert (verdict.leverage, verdict.quantity) == (D(3), D(300))


def test_no_order_exceeds_what_the_exchange_takes_at_once() -> None:
    """The contract's largest order."""
    assert approved(an_entry(instrument=an_instrument(max_quantity=D(70)))).quantity == D(70)


@pytest.mark.parametrize(("request_", "account", "rules", "said"), [
    ({"notional": D("0.9")}, {}, {}, "the size asked for allows 0.90 USDT, the smallest order is 1.00"),
    ({}, {"available": D("0.1")}, {}, "the available balance allows 0.50 USDT"),    # at leverage 5
    ({}, {"equity": D("1.9")}, {}, "the risk per trade allows 0.95 USDT"),
    ({}, {"exposure": {"A": D(500)}}, {"max_exposure": D(400)}, "the largest exposure allows 0.00 USDT"),
    ({}, {}, {"max_notional": D(40), "min_notional": D(50)}, "allows 40.00 USDT, the smallest order is 50.00"),
])
def test_too_small_names_the_limit_that_is_too_tight(
    request_: dict[str, Any], account: dict[str, Any], rules: dict[str, Any], said: str
) -> None:
    """Below one lot there is no order, and a person reads why."""
    verdict = refused(an_entry(**request_), an_account(**account), **rules)
    assert verdict.reason is RefusalReason.TOO_SMALL
    assert said in verdict.text


def test_the_smallest_order_is_large_enough() -> None:
    """A lot is worth 1: the least number of lots, and the least value of exchange and rules, are allowed."""
    three = an_instrument(min_quantity=D(3), min_notional=D(3), taker_fee_rate=D(0))
    assert approved(an_entry(instrument=three, notional=D(3))).quantity == D(3)
    assert approved(an_entry(notional=D(50)), min_notional=D(50)).quantity == D(50)


def test_what_does_not_slip_is_large_enough_too() -> None:
    """50 lots are worth 52.5 at the price they may slip to, and 50 at the one they will most likely get."""
    slipping = {"max_slippage": D("0.05"), "min_notional": D(52)}
    assert refused(an_entry(notional=D(53)), **slipping).reason is RefusalReason.TOO_SMALL
    assert approved(an_entry(notional=D(55)), **slipping).quantity == D(52)


@pytest.mark.parametrize("least", [{"min_quantity": D(4)}, {"min_notional": D("3.01")}, {"min_notional": D(5)}])
def test_a_smallest_order_of_the_exchange_is_kept(least: dict[str, Decimal]) -> None:
    """Three lots of 1 are below it."""
    request = an_entry(instrument=an_instrument(taker_fee_rate=D(0), **least), notional=D(3))
    assert refused(request).reason is RefusalReason.TOO_SMALL


@pytest.mark.parametrize(("request_", "account", "rules", "reason"), [
    ({}, {"exposure": {"A": D(1), "B": D(1)}}, {"max_open": 2}, RefusalReason.TOO_MANY),
    ({}, {"last_exit_ms": {SYMBOL: NOW_MS - 59_999}}, {"cooldown_ms": 60_000}, RefusalReason.COOLDOWN),
    ({}, {"entry_times_ms": (NOW_MS - 59_999, NOW_MS)}, {"orders_per_minute": 2}, RefusalReason.ORDER_RATE),
    ({"instrument": an_instrument(tradable=False)}, {}, {}, RefusalReason.NOT_TRADABLE),
    ({"price": a_ticker(ts_ms=NOW_MS - 10_001)}, {}, {}, RefusalReason.STALE),
    ({"price": a_ticker(100, 101)}, {}, {"max_spread": D("0.009")}, RefusalReason.SPREAD),
    ({"price": a_ticker(106, last=D(100), mark=D(100))}, {}, {}, RefusalReason.PRICE_BAND),
    ({"stop_price": D(100)}, {}, {}, RefusalReason.STOP),
    ({"stop_price": D(103)}, {}, {}, RefusalReason.STOP),
    ({}, {"available": D(0)}, {}, RefusalReason.NO_BALANCE),
    ({}, {"available": D(-5)}, {}, RefusalReason.NO_BALANCE),
    ({}, {"equity": D(0)}, {}, RefusalReason.NO_BALANCE),
    ({}, {"equity": D(94), "day_start_equity": D(100)}, {"daily_loss": D("0.05")}, RefusalReason.HALTED),
])
def test_each_guard_refuses_with_its_own_reason(
    request_: dict[str, Any], account: dict[str, Any], rules: dict[str, Any], reason: RefusalReason
) -> None:
    """Just past each limit."""
    assert refused(an_entry(**request_), an_account(**account), **rules).reason is reason


@pytest.mark.parametrize(("request_", "account", "rules"), [
    ({}, {"exposure": {"A": D(1)}}, {"max_open": 2}),
    ({}, {"last_exit_ms": {SYMBOL: NOW_MS - 60_000}}, {"cooldown_ms": 60_000}),
    ({}, {"last_exit_ms": {"ETH/USDT:USDT": NOW_MS}}, {"cooldown_ms": 60_000}),
    ({}, {"entry_times_ms": (NOW_MS - 60_000, NOW_MS)}, {"orders_per_minute": 2}),
    ({}, {"entry_times_ms": (NOW_MS,) * 1000}, {"orders_per_minute": None}),
    ({"price": a_ticker(ts_ms=NOW_MS - 10_000)}, {}, {}),
    ({"price": a_ticker(99, 101)}, {}, {"max_spread": D("0.02")}),    # 2 / 100: at the limit
    ({"price": a_ticker(105, last=D(100), mark=D(100))}, {}, {}),     # at the band of 5 %
    ({"price": a_ticker(106, last=D(106), mark=D(100))}, {}, {}),     # the mark may be old: the last trade agrees
    ({"price": a_ticker(106, last=D(100), mark=D(100))}, {}, {"price_band": None}),
    ({}, {"equity": D("95.01"), "day_start_equity": D(100)}, {"daily_loss": D("0.05")}),
])
def test_just_within_each_limit_is_allowed(
    request_: dict[str, Any], account: dict[str, Any], rules: dict[str, Any]
) -> None:
    """The other side of each limit."""
    approved(an_entry(**request_), an_account(**account), **rules)


@pytest.mark.parametrize(("account", "rules", "said"), [
    ({"equity": D(95), "day_start_equity": D(100)}, {"daily_loss": D("0.05")}, "daily loss limit: -5.00"),
    ({"equity": D(85), "peak_equity": D(100)}, {"drawdown": D("0.15")}, "drawdown limit: 15.0% below the peak"),
    ({"losses_in_a_row": 4}, {"losses_in_a_row": 4}, "4 losses in a row"),
])
def test_a_halt_is_said_in_words(account: dict[str, Any], rules: dict[str, Any], said: str) -> None:
    """At the limit, not only past it."""
    assert said in (halt_reason(an_account(**account), risk_rules(**rules)) or "")


@pytest.mark.parametrize(("request_", "account", "rules", "said"), [
    ({}, {"exposure": {"A": D(1), "B": D(1)}}, {"max_open": 2}, "2 positions are open already"),
    ({}, {"last_exit_ms": {SYMBOL: NOW_MS - 18_000}}, {"cooldown_ms": 60_000}, "cooling down for another 42 s"),
    ({"price": a_ticker(ts_ms=NOW_MS - 12_500)}, {}, {}, "the price is 12.5 s old"),
    ({"price": a_ticker(99, 101)}, {}, {"max_spread": D("0.01")}, "the spread is 2.00%"),
    ({"price": a_ticker(106, last=D(100), mark=D(100))}, {}, {}, "6.0% away from mark and last trade"),
    ({}, {"equity": D(0), "available": D(0)}, {}, "no balance: 0.00 of 0.00 USDT are available"),
    ({}, {"equity": D(70), "available": D(0)}, {}, "no balance: 0.00 of 70.00 USDT are available"),
])
def test_a_refusal_is_said_in_numbers_a_person_knows(
    request_: dict[str, Any], account: dict[str, Any], rules: dict[str, Any], said: str
) -> None:
    """Seconds and percent."""
    assert said in refused(an_entry(**request_), an_account(**account), **rules).text


def test_nothing_halts_an_account_that_does_well() -> None:
    """Nor one that has no history yet, be it empty."""
    every = risk_rules(daily_loss=D("0.05"), drawdown=D("0.1"), losses_in_a_row=3)
    assert halt_reason(an_account(), every) is None
    assert halt_reason(an_account(equity=D(0), available=D(0)), every) is None
    fine = an_account(equity=D(96), day_start_equity=D(100), peak_equity=D(100), losses_in_a_row=2)
    assert halt_reason(fine, every) is None
    assert halt_reason(replace(fine, equity=D(1)), risk_rules()) is None      # switched off


def test_an_approval_cannot_be_made_up_or_enlarged() -> None:
    """Only `approve` makes one: not the constructor, not a copy with another quantity."""
    verdict = approved(an_entry())
    said = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
    with pytest.raises(TypeError, match="approve"):
        Approved(**said, approval=object())
    with pytest.raises(TypeError):
        Approved(**said)
    with pytest.raises((ValueError, TypeError), match="approval"):
        replace(verdict, quantity=D(10**6))


MONEY = st.decimals(min_value=0, max_value=100_000, places=2)
RATIO = st.decimals(min_value="0.0005", max_value="0.2", places=4)


@st.composite
def entries(draw: st.DrawFn) -> EntryRequest:
    tick = draw(st.sampled_from([D("0.00001"), D("0.01"), D("0.1")]))
    side = draw(st.sampled_from(list(Side)))
    price = draw(st.integers(100, 1_000_000)) * tick
    spread = draw(st.integers(0, 3)) * tick
    stop = price - price * draw(RATIO) * side.sign - spread * side.sign
    assume(stop > 0)
    instrument = an_instrument(
        tick_size=tick, lot_size=draw(st.sampled_from([D(1), D(10), D("0.001")])),
        multiplier=draw(st.sampled_from([D("0.001"), D(1), D(1000)])),
        taker_fee_rate=draw(st.sampled_from([D(0), D("0.0006"), D("0.01")])),
        max_leverage=D(draw(st.integers(1, 75))), min_notional=draw(st.sampled_from([D(0), D(5)])),
    )
    return an_entry(
        side, instrument=instrument, price=a_ticker(price, price + spread), stop_price=stop,
        notional=draw(st.none() | MONEY),
    )


@given(
    request=entries(), equity=MONEY, available=MONEY, held=st.lists(MONEY, max_size=3),
    risk=RATIO, leverage=st.integers(1, 100), max_notional=st.none() | MONEY, max_exposure=st.none() | MONEY,
    max_slippage=RATIO,
)
def test_no_approval_ever_exceeds_a_limit(
    request: EntryRequest, equity: Decimal, available: Decimal, held: list[Decimal], risk: Decimal, leverage: int,
    max_notional: Decimal | None, max_exposure: Decimal | None, max_slippage: Decimal,
) -> None:
    """At whatever price it is filled: loss at the stop, value, sum, margin, slippage, lots."""
    rules: RiskRules = risk_rules(
        risk_per_trade=risk, leverage=D(leverage), max_notional=max_notional, max_exposure=max_exposure,
        max_slippage=max_slippage, price_band=None,
    )
    exposure = {f"{n}/USDT:USDT": value for n, value in enumerate(held)}
    account = an_account(equity=equity, available=available, exposure=exposure)
    verdict = approve(request, account, rules, NOW_MS)
    if isinstance(verdict, Refused):
        return
    instrument, fee_rate = request.instrument, request.instrument.taker_fee_rate
    assert verdict.quantity % instrument.lot_size == 0
    assert instrument.min_quantity <= verdict.quantity <= instrument.max_quantity
    assert verdict.leverage <= min(leverage, instrument.max_leverage)
    assert abs(verdict.worst_price / verdict.price - 1) <= max_slippage
    for price in (verdict.price, verdict.worst_price):
        worth = instrument.notional(verdict.quantity, price)
        fees = 2 * fee_rate * worth
        lost = instrument.notional(verdict.quantity, abs(verdict.price - verdict.stop_price)) + fees
        assert instrument.min_notional <= worth or price < verdict.price
        assert worth <= verdict.notional
        assert lost <= equity * risk
        assert worth / verdict.leverage + fees <= available + D("1e-9")      # 1/leverage is not always exact
        assert request.notional is None or worth <= request.notional
        assert max_notional is None or worth <= max_notional
        assert max_exposure is None or worth + sum(held) <= max_exposure
