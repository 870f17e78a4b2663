"""The money rules: profit, fees, flips, margin, liquidation and funding, worked by hand."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sandbox.market.source import Contract
from sandbox.refusals import Refusal
from tests.sandbox.desk import XBT, Desk
from tests.sandbox.fake_market import FakeMarket

D = Decimal


def test_buying_costs_the_taker_fee_and_nothing_else() -> None:
    """A market buy takes the ask; the wallet loses the fee, the position carries the value."""
    desk = Desk()
    desk.trade("buy", 100)
    position = desk.position()
    assert (position.qty, position.cost) == (100, D("5000.01"))       # 100 lots × 0.001 × 50000.1
    assert desk.account.wallet == D("9996.999994")                    # 10000 − 5000.01 × 0.0006
    assert desk.fills()[0].open_fee == D("3.000006")


def test_a_long_earns_what_the_price_gains() -> None:
    """Closing at a higher bid realises the difference of the two values, less both fees."""
    desk = Desk()
    desk.trade("buy", 100)
    desk.move("51000")
    desk.trade("sell", 100)
    fill = desk.fills()[-1]
    assert fill.realised_gross == D("99.99")                          # 5100 − 5000.01
    assert fill.close_fee == D("3.06")                                # 5100 × 0.0006
    assert desk.account.wallet == D("10093.929994")                   # 10000 − 3.000006 + 99.99 − 3.06
    assert desk.position().qty == 0
    assert desk.exchange.ledger.available(desk.account) == desk.account.wallet


def test_a_short_loses_what_the_price_gains() -> None:
    """A short sold at the bid and bought back higher loses the difference."""
    desk = Desk()
    desk.trade("sell", 100)
    desk.move("51000")
    desk.trade("buy", 100)
    assert desk.fills()[-1].realised_gross == D("-100.01")            # 5000 − 5100.01


def test_closing_a_part_realises_its_share() -> None:
    """Selling 30 of 100 lots realises 30 % and leaves the entry price as it was."""
    desk = Desk()
    desk.trade("buy", 100)
    desk.move("51000")
    desk.trade("sell", 30)
    position = desk.position()
    assert desk.fills()[-1].realised_gross == D("29.997")             # 30 × 0.001 × (51000 − 50000.1)
    assert (position.qty, position.entry_price(desk.exchange.market.contract(XBT))) == (70, D("50000.1"))
    assert position.margin == D("350.0007")                           # 70 % of 5000.01 / 10


def test_an_opposite_order_larger_than_the_position_flips_it() -> None:
    """Selling 150 against 100 long closes 100 and opens 50 short, with a fee for each part."""
    desk = Desk()
    desk.trade("buy", 100)
    desk.trade("sell", 150)
    fill, position = desk.fills()[-1], desk.position()
    assert position.qty == -50
    assert (fill.close_fee, fill.open_fee) == (D("3"), D("1.5"))      # 5000 and 2500 × 0.0006
    assert position.cost == D("-2500")
    closed = desk.account.closed_positions[-1]
    assert (closed["side"], closed["pnl"]) == ("LONG", D("-6.010006"))   # −0.01 − 3.000006 − 3


def test_a_resting_order_pays_the_maker_fee_at_its_own_price() -> None:
    """A limit buy below the market fills at its price when the ask comes down to it."""
    desk = Desk()
    order = desk.trade("buy", 100, price="49000")
    assert order.resting
    desk.move("48999.9")                                              # ask 49000.0
    fill = desk.fills()[-1]
    assert (fill.liquidity, fill.price, fill.fee) == ("maker", D("49000"), D("0.98"))   # 4900 × 0.0002


def test_margin_of_a_position_and_of_an_order_is_held() -> None:
    """What is locked: initial margin and closing fee of a position; margin and both fees of an order."""
    desk = Desk()
    desk.trade("buy", 100)
    ledger = desk.exchange.ledger
    assert ledger.position_margin(desk.account) == D("503.3010066")   # 500.001 + 5000.01 × 0.0006 × 1.1
    desk.trade("buy", 100, price="49000")
    assert desk.account.order_margin() == D("495.88")                 # 490 + 4900 × 0.0012
    assert ledger.available(desk.account) == D("8997.8189874")        # 9996.999994 − 503.3010066 − 495.88


def test_an_order_beyond_the_balance_is_refused_and_one_within_is_not() -> None:
    """The order's cost is margin plus both fees; a cent short of it is 300003."""
    cost = D("506.001012")                                            # 5000.01 × (1/10 + 0.0012)
    rich = Desk(str(cost))
    assert rich.trade("buy", 100).filled_size == 100
    poor = Desk(str(cost - D("0.01")))
    with pytest.raises(Refusal) as refusal:
        poor.trade("buy", 100)
    assert refusal.value.code == "300003"
    assert not poor.account.orders


def test_a_liquidated_position_loses_its_margin_and_no_more() -> None:
    """A 10x long is taken over where its margin has shrunk to maintenance; the whole margin is gone."""
    desk = Desk()
    desk.trade("buy", 100)
    contract = desk.exchange.market.contract(XBT)
    # 500.001 of margin less 35.00007 of maintenance, over 0.1 BTC, below 50000.1
    assert desk.position().liquidation_price(contract) == D("45350.0907")
    desk.move("45350.1")
    assert desk.position().qty == 100
    desk.move("45350")
    assert desk.position().qty == 0
    assert desk.account.wallet == D("9493.6989874")                   # 9996.999994 − 503.3010066
    fill = desk.fills()[-1]
    assert (fill.trade_type, fill.price) == ("liquid", D("45000.09"))  # bankrupt: 50000.1 − 5000.01


def test_a_spike_between_two_looks_liquidates_too() -> None:
    """The range passed through counts, not only where the price ended."""
    desk = Desk()
    desk.trade("sell", 100)
    desk.move("56000", "50000")
    assert desk.position().qty == 0
    assert desk.account.closed_positions[-1]["type"] == "LIQUID_SHORT"


def test_longs_pay_funding_and_shorts_receive_it() -> None:
    """At a funding moment the value at mark times the rate changes hands."""
    desk = Desk(market=FakeMarket())
    desk.trade("buy", 100)
    before = desk.account.wallet
    desk.clock.advance(8 * 3600 * 1000)
    desk.exchange.step()
    assert desk.account.wallet - before == D("-0.5")                  # 5000 × 0.0001
    assert desk.position().funding == D("-0.5")
    desk.exchange.step()
    assert desk.account.wallet - before == D("-0.5")                  # once per moment
    desk.trade("sell", 200)
    before = desk.account.wallet
    desk.clock.advance(8 * 3600 * 1000)
    desk.exchange.step()
    assert desk.account.wallet - before == D("0.5")


def test_cross_positions_share_the_wallet_until_it_is_used_up() -> None:
    """A cross position survives beyond its own initial margin and falls with the whole account."""
    desk = Desk("1000")
    desk.account.margin_modes[XBT] = "CROSS"
    desk.account.cross_leverage[XBT] = D(10)
    desk.trade("buy", 100, marginMode="CROSS")
    desk.move("45000")                                                # −500: isolated would be gone
    assert desk.position().qty == 100
    # backing = 996.999994 − 960.01 = 36.989994, needed: 35.00007 + 3.3000066 of reserve
    desk.move("40400")
    assert desk.position().qty == 0
    assert desk.account.wallet >= 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(("buy", "sell")), st.integers(1, 400),
                          st.integers(480_000, 520_000)), min_size=1, max_size=12))
def test_money_is_neither_made_nor_lost(trades: list[tuple[str, int, int]]) -> None:
    """Whatever is traded, the wallet is the start plus gross profits minus fees, to the last digit."""
    desk = Desk("100000")
    for side, size, tenths in trades:
        desk.move(str(D(tenths) / 10))
        desk.trade(side, size)
    fills = desk.fills()
    expected = D(100_000) + sum(f.realised_gross - f.fee for f in fills)
    assert desk.account.wallet == expected
    signed = sum(f.size if f.side == "buy" else -f.size for f in fills)
    assert desk.position().qty == signed
    values = sum(f.value if f.side == "sell" else -f.value for f in fills)
    # what is not realised yet is in the entry cost of the open lots
    assert sum(f.realised_gross for f in fills) == values + desk.position().cost


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 500), st.integers(480_000, 520_000))
def test_a_longs_profit_is_minus_the_shorts(size: int, tenths: int) -> None:
    """At equal entry value, two opposite positions sum to nothing at any mark."""
    long, short = Desk("100000"), Desk("100000")
    long.trade("buy", size)
    short.trade("sell", size)
    mark = D(tenths) / 10
    contract = long.exchange.market.contract(XBT)
    spread = contract.tick_size * contract.multiplier * size
    total = long.position().unrealised(contract, mark) + short.position().unrealised(contract, mark)
    assert total == -spread


def test_a_coin_of_tiny_price_keeps_its_digits() -> None:
    """Nine decimals of price, a hundred thousand coins per lot: the average is not rounded away."""
    pepe = Contract(symbol="PEPEUSDTM", base="PEPE", multiplier=D(100_000), tick_size=D("0.000000001"))
    market = FakeMarket(pepe)
    desk = Desk(market=market)
    desk.move("0.000011241", symbol="PEPEUSDTM")
    desk.trade("buy", 3, symbol="PEPEUSDTM")
    position = desk.position("PEPEUSDTM")
    assert position.cost == D("3.3726")                               # 3 × 100000 × 0.000011242
    assert position.entry_price(pepe) == D("0.000011242")
