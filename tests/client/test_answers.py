"""What KuCoin's answers become: facts, exact and whole, or an error; never half of either."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import Any

import pytest

from tests.client.clients import BTC, CONTRACTS, a_client, a_contract_row, an_order, listing
from tests.client.scripted_server import always, envelope, refusal, scripted_server
from tests.manual_clock import ManualClock
from trading import errors
from trading.errors import UnknownInstrument
from trading.facts import OrderSide, Priority, Side

D = Decimal
NOW_MS = 1_700_000_000_000


def a_position_row(**overrides: Any) -> dict[str, Any]:
    return {
        "symbol": "XBTUSDTM", "currentQty": -3, "avgEntryPrice": 67430.9, "markPrice": 68323.06, "leverage": 2.97,
        "marginMode": "ISOLATED", "unrealisedPnl": 0.89216, "liquidationPrice": 45704.44, "isOpen": True,
        "openingTimestamp": 1729155616322, "settleCurrency": "USDT", **overrides,
    }


def an_order_row(**overrides: Any) -> dict[str, Any]:
    return {
        "id": "77", "symbol": "XBTUSDTM", "type": "market", "side": "buy", "price": None, "size": 3, "value": "1",
        "dealSize": 2, "dealValue": "100.2", "stop": "", "stopPrice": None, "stopTriggered": False,
        "closeOrder": False, "reduceOnly": False, "clientOid": "rad-test-1", "isActive": True,
        "cancelExist": False,
        "createdAt": 1732523858568, "status": "open", **overrides,
    }


def a_fill_row(trade_id: str = "t1", order_id: str = "77", **overrides: Any) -> dict[str, Any]:
    return {
        "symbol": "XBTUSDTM", "tradeId": trade_id, "orderId": order_id, "side": "buy", "size": 1,
        "price": "67430.9",
        "fee": "0.04045854", "tradeType": "trade", "tradeTime": 1729155616320000000, **overrides,
    }


# ---- instruments ----------------------------------------------------------------------------------


def test_the_rules_of_a_contract_are_exact() -> None:
    """A tick of a tenth is a tenth; Bitcoin goes by ccxt's name and is found by KuCoin's too."""
    with scripted_server(always(b"")) as script:
        listing(script, {}, a_contract_row(), a_contract_row("ETHUSDTM", "ETH", tickSize=1e-05, status="Paused"))
        with a_client(script.url) as client:
            bitcoin, ether = client.instrument("xbtusdtm"), client.instrument("ETH/USDT:USDT")
            for said in ("eth/usdt:usdt", "ETH/USDT", "eth/usdt", "ETH", "eth"):
                assert client.instrument(said) is ether
            for said in ("ETH/", "ETH/USD", "USDT", "/USDT", "", "ETH/USDT:USDT:USDT"):
                with pytest.raises(UnknownInstrument):
                    client.instrument(said)
    assert (bitcoin.symbol, bitcoin.base, bitcoin.tick_size) == (BTC, "BTC", D("0.1"))
    assert (bitcoin.multiplier, bitcoin.max_quantity) == (D("0.001"), D(1_000_000))
    assert (ether.tick_size, ether.tradable) == (D("0.00001"), False)


def test_contracts_of_other_kinds_and_broken_ones_are_left_out() -> None:
    """Inverse and dated contracts are not RAD's; one without a multiplier does not take the others with it."""
    with scripted_server(always(b"")) as script:
        listing(
            script, {}, a_contract_row(),
            a_contract_row("XBTUSDM", isInverse=True, quoteCurrency="USD", settleCurrency="XBT", multiplier=-1),
            a_contract_row("XBTMH25", type="FFICSX"), a_contract_row("BADUSDTM", "BAD", multiplier=0),
        )
        with a_client(script.url) as client:
            assert set(client.instruments()) == {BTC}


def test_an_empty_list_of_contracts_is_no_answer() -> None:
    """Nothing listed at all is a fault of the answer, and what is known stays known."""
    with scripted_server(always(b"")) as script:
        listing(script, {})
        with a_client(script.url) as client:
            script.answer = always(envelope([]))
            with pytest.raises(errors.BadResponse):
                client.refresh_instruments()
            assert client.instrument(BTC).tradable


def test_a_delisted_contract_can_still_be_closed() -> None:
    """It stays known, as not tradable: a position in it has to be read and closed."""
    with scripted_server(always(b"")) as script:
        listing(script, {}, a_contract_row(), a_contract_row("ETHUSDTM", "ETH"))
        with a_client(script.url) as client:
            listing(script, {"/api/v1/positions": envelope([a_position_row(symbol="ETHUSDTM")])})
            client.refresh_instruments()
            assert not client.instrument("ETH/USDT:USDT").tradable
            (position,) = client.fetch_positions()
    assert position.symbol == "ETH/USDT:USDT"


# ---- positions, orders, fills ---------------------------------------------------------------------


def test_positions_are_exact_and_signed() -> None:
    """Three lots short; a row of zero lots is no position."""
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/positions": envelope([a_position_row(), a_position_row(currentQty=0)])})
        with a_client(script.url) as client:
            (position,) = client.fetch_positions()
    assert (position.side, position.quantity, position.entry_price) == (Side.SHORT, D(3), D("67430.9"))


def test_a_position_in_a_contract_never_heard_of_is_asked_about() -> None:
    """Listed since the start: learnt. Of a kind RAD does not trade: passed over. No answer: nothing was learnt."""
    rows = [a_position_row(symbol="NEWUSDTM"), a_position_row(symbol="XBTMH25")]
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v1/positions": envelope(rows),
            "/api/v1/contracts/NEWUSDTM": [refusal("500000"), envelope(a_contract_row("NEWUSDTM", "NEW"))],
            "/api/v1/contracts/XBTMH25": envelope(a_contract_row("XBTMH25", type="FFICSX")),
        })
        with a_client(script.url) as client:
            with pytest.raises(errors.ExchangeUnavailable):
                client.fetch_positions()
            assert [position.symbol for position in client.fetch_positions()] == ["NEW/USDT:USDT"]
            asked = len(script.asked)
            client.fetch_positions()
            assert len(script.asked) == asked + 1        # both are known by now
            assert client.instrument(BTC).tradable


@pytest.mark.parametrize("lacking", ["currentQty", "avgEntryPrice", "markPrice", "symbol"])
def test_a_position_without_a_field_is_unreadable(lacking: str) -> None:
    """Absent is unknown, not zero."""
    row = a_position_row()
    del row[lacking]
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/positions": envelope([row])})
        with a_client(script.url) as client, pytest.raises(errors.BadResponse):
            client.fetch_positions()


def test_the_average_price_follows_from_the_value() -> None:
    """Without avgDealPrice: 100.2 USDT for two lots of a thousandth are 50,100 each."""
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/orders/77": envelope(an_order_row())})
        with a_client(script.url) as client:
            order = client.fetch_order("77")
    assert (order.average_price, order.filled_quantity, order.side) == (D(50_100), D(2), OrderSide.BUY)


def test_a_look_up_believes_only_a_plain_no() -> None:
    """"Not there" is None; nothing, another order, or an order of nobody is an answer that cannot be read."""
    path = "/api/v1/orders/byClientOid"
    answers = [
        refusal("100001", "error.getOrder.orderNotExist"), envelope(None), envelope({}),
        envelope(an_order_row(clientOid="somebody-else")), refusal("500000"), envelope(an_order_row()),
    ]
    with scripted_server(always(b"")) as script:
        listing(script, {path: answers})
        with a_client(script.url) as client:
            assert client.find_order("rad-test-1") is None
            for _ in range(3):
                with pytest.raises(errors.BadResponse):
                    client.find_order("rad-test-1")
            with pytest.raises(errors.ExchangeUnavailable):
                client.find_order("rad-test-1")
            found = client.find_order("rad-test-1")
    assert found is not None
    assert found.order_id == "77"


def test_an_order_without_an_id_is_unknown() -> None:
    """KuCoin's yes without the id it promises: it may have happened."""
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/orders": [envelope({}), envelope(None), envelope([])]})
        with a_client(script.url) as client:
            for _ in range(3):
                with pytest.raises(errors.OutcomeUnknown):
                    client.place_order(an_order(), Priority.CRITICAL)


@pytest.mark.parametrize("quantity", ["0", "0.5", "1.5", "-1"])
def test_part_of_a_lot_is_never_sent(quantity: str) -> None:
    """Rounding would order something nobody approved: it is refused before the wire."""
    with scripted_server(always(b"")) as script:
        listing(script, {})
        with a_client(script.url) as client:
            asked = len(script.asked)
            with pytest.raises(errors.OrderRejected):
                client.place_order(an_order(quantity=D(quantity)), Priority.CRITICAL)
            assert len(script.asked) == asked


@pytest.mark.parametrize(("wish", "body"), [
    ({}, {"side": "buy", "type": "market", "size": 1, "leverage": 5}),
    ({"side": OrderSide.SELL, "leverage": None, "reduce_only": True},
     {"side": "sell", "type": "market", "size": 1, "reduceOnly": True}),
    ({"side": OrderSide.SELL, "quantity": None, "leverage": None, "close_order": True, "stop_price": D("1E+4"),
      "stop_is_below": True},
     {"side": "sell", "type": "market", "closeOrder": True, "stop": "down", "stopPrice": "10000",
      "stopPriceType": "MP"}),
    ({"price": D("50000.10"), "immediate_or_cancel": True, "margin_mode": "cross"},
     {"side": "buy", "type": "limit", "size": 1, "leverage": 5, "price": "50000.10", "timeInForce": "IOC",
      "marginMode": "CROSS"}),
])
def test_orders_as_kucoin_wants_them(wish: dict[str, Any], body: dict[str, Any]) -> None:
    """Whole lots and leverage as numbers, prices as plain text, a protective stop on the mark price."""
    expected = {"clientOid": "rad-test-1", "symbol": "XBTUSDTM", "marginMode": "ISOLATED", **body}
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/orders": envelope({"orderId": "1"})})
        with a_client(script.url) as client:
            client.place_order(an_order(**wish), Priority.CRITICAL)
        assert json.loads(script.asked[-1].body) == expected


def page(number: int, pages: int, *rows: dict[str, Any]) -> bytes:
    paging = {"currentPage": number, "pageSize": 1000, "totalNum": 9, "totalPage": pages}
    return envelope({**paging, "items": list(rows)})


def test_every_page_is_read_or_none() -> None:
    """Three pages of stops are one list; a page that fails fails the whole."""
    stop = {"stop": "down", "stopPrice": "40000"}
    pages = [page(number, 3, an_order_row(id=str(number), **stop)) for number in (1, 2, 3)]
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/stopOrders": [*pages, pages[0], refusal("500000")]})
        with a_client(script.url) as client:
            assert [order.order_id for order in client.fetch_stop_orders()] == ["1", "2", "3"]
            assert "currentPage=3&pageSize=1000" in script.asked[-1].path
            with pytest.raises(errors.ExchangeUnavailable):
                client.fetch_stop_orders()


def test_fills_of_an_order_from_the_fresh_list_then_from_the_long_one() -> None:
    """recentFills first, of the order's symbol alone when it is known; /fills for what it does not have."""
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v1/orders": envelope({"orderId": "77"}),
            "/api/v1/recentFills": envelope([a_fill_row(), a_fill_row("t2", "78")]),
            "/api/v1/fills": page(1, 1, a_fill_row("t9", "99"), a_fill_row("t9", "99")),
        })
        with a_client(script.url) as client:
            client.place_order(an_order(), Priority.CRITICAL)
            (fill,) = client.fetch_order_fills("77")
            assert script.asked[-1].path.endswith("recentFills?symbol=XBTUSDTM")
            (older,) = client.fetch_order_fills("99")      # said twice, there once
    assert (fill.trade_id, fill.fee, fill.ts_ms) == ("t1", D("0.04045854"), 1729155616320)
    assert older.trade_id == "t9"


def test_more_than_a_thousand_fills_a_day() -> None:
    """The fresh list ends at a thousand: the rest comes from /fills, each fill once."""
    recent = [a_fill_row(f"t{number}") for number in range(1000)]
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v1/recentFills": envelope(recent), "/api/v1/fills": page(1, 1, recent[0], a_fill_row("t1000")),
        })
        with a_client(script.url) as client:
            assert len(client.fetch_recent_fills()) == 1001


def test_of_more_than_a_thousand_fills_only_those_since_then() -> None:
    """/fills is asked for those that were not read before, and not at all if the fresh list goes back so far."""
    at_ms = int(time.time() * 1000) - 60_000
    recent = [a_fill_row(f"t{number}", tradeTime=at_ms * 1_000_000) for number in range(1000)]
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v1/recentFills": envelope(recent), "/api/v1/fills": page(1, 1, a_fill_row("t1000")),
        })
        with a_client(script.url) as client:
            assert len(client.fetch_recent_fills(since_ms=at_ms + 1)) == 1000
            assert "/fills?" not in script.asked[-1].path
            assert len(client.fetch_recent_fills(since_ms=at_ms)) == 1001
            assert f"startAt={at_ms}&" in script.asked[-1].path


def test_funding_is_read_to_its_end() -> None:
    """KuCoin gives ten rows unless asked for more, and says when there are more; of another time none counts."""
    def funding(row_id: int, amount: float, *, more: bool) -> bytes:
        rows = ((122, 7.0), (1000, 7.0), (200 + row_id, amount))
        return envelope({
            "dataList": [{"id": row_id, "timePoint": at_ms, "funding": paid} for at_ms, paid in rows],
            "hasMore": more,
        })

    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/funding-history": [
            funding(5, -0.05585669, more=True), funding(4, 0.1, more=False), envelope({"hasMore": False}),
        ]})
        with a_client(script.url) as client:
            paid = client.fetch_funding(BTC, 123, 999)
            assert [(each.at_ms, each.amount) for each in paid] == [(205, D("-0.05585669")), (204, D("0.1"))]
            assert script.asked[-1].path.endswith("symbol=XBTUSDTM&startAt=123&endAt=999&maxCount=100&offset=5")
            with pytest.raises(errors.BadResponse):
                client.fetch_funding(BTC, 123, 999)


def test_margin_mode_is_changed_when_it_differs_and_asked_once() -> None:
    """The mode is read, changed if another, and remembered under either name of the symbol."""
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v2/position/getMarginMode": envelope({"symbol": "XBTUSDTM", "marginMode": "ISOLATED"}),
            "/api/v2/position/changeMarginMode": envelope({"symbol": "XBTUSDTM", "marginMode": "CROSS"}),
            "/api/v2/changeCrossUserLeverage": envelope({"symbol": "XBTUSDTM", "leverage": "4"}),
        })
        with a_client(script.url) as client:
            client.set_margin_mode(BTC, "cross", D(4))
            bodies = [json.loads(request.body) for request in script.asked if request.body]
            assert bodies == [
                {"symbol": "XBTUSDTM", "marginMode": "CROSS"}, {"symbol": "XBTUSDTM", "leverage": "4"},
            ]
            asked = len(script.asked)
            client.set_margin_mode("XBTUSDTM", "cross", D(4))
            assert len(script.asked) == asked


def test_tickers_of_no_instrument_are_no_answer() -> None:
    """A list without one known symbol is a fault; a line without a bid is left out."""
    def line(**overrides: Any) -> dict[str, Any]:
        return {"symbol": "XBTUSDTM", "price": "67153", "bestBidPrice": "67153", "bestAskPrice": "67153.1",
                "ts": 1729163466659000000, **overrides}

    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/allTickers": [
            envelope([line(), line(symbol="XBTUSDM")]), envelope([line(bestBidPrice=None)]), envelope([]),
        ]})
        with a_client(script.url) as client:
            tickers = client.fetch_tickers()
            assert tickers[BTC].mark == D("86378.69")
            assert tickers[BTC].volume_24h == D("1034643198.3265533")
            for _ in range(2):
                with pytest.raises(errors.BadResponse):
                    client.fetch_tickers(Priority.HIGH)


def test_contracts_are_asked_for_now_and_then_and_tickers_each_time(clock: ManualClock) -> None:
    """A scan every few seconds does not read half a megabyte of contracts each time."""
    tickers = envelope([{
        "symbol": "XBTUSDTM", "price": "67153", "bestBidPrice": "67153", "bestAskPrice": "67153.1",
        "ts": 1729163466659000000,
    }])
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/allTickers": tickers})
        with a_client(script.url, clock=clock) as client:
            script.asked.clear()
            for _ in range(3):
                client.fetch_tickers()
            clock.advance(30)
            client.fetch_tickers()
    paths = [asked.path for asked in script.asked]
    assert (paths.count(CONTRACTS), paths.count("/api/v1/allTickers")) == (1, 4)


def test_what_the_key_may_do() -> None:
    """Permissions come as a list with commas; a bot must not be able to withdraw."""
    told = {"apiVersion": 3, "permission": "General,Futures, Transfer", "ipWhitelist": ""}
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/user/api-key": envelope(told)})
        with a_client(script.url) as client:
            key = client.fetch_api_key()
    assert (key.permissions, key.addresses) == ({"General", "Futures", "Transfer"}, ())


def test_rate_headers_and_limits_reach_the_budget() -> None:
    """What KuCoin says of its pools is believed, and a 429 with a reset holds the pool."""
    told = {"gw_ratelimit_limit": "4000", "gw_ratelimit_remaining": "3900", "gw_ratelimit_reset": "20000"}
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/positions": [
            envelope([], **told), refusal("429000", status=429),
            refusal("429000", status=429, gw_ratelimit_reset="7000"),
        ]})
        with a_client(script.url, clock=ManualClock(NOW_MS)) as client:
            client.fetch_positions()

            def futures() -> Any:
                return next(use for use in client._budget.usage() if use.pool == "futures")

            assert (futures().quota, futures().used, futures().resets_in_s) == (4000, 100, 20)
            with pytest.raises(errors.RateLimited):
                client.fetch_positions()
            assert futures().held_s == 0          # merely overloaded
            with pytest.raises(errors.RateLimited):
                client.fetch_positions()
            assert futures().held_s == 7


def test_loading_needs_the_futures_address_alone() -> None:
    """Nothing is asked of the spot address; an unreadable list is a clear error."""
    with scripted_server(always(b"")) as script:
        listing(script, {}, a_contract_row(status="Paused", nextFundingRateTime=None))
        with a_client(script.url, spot_url="http://127.0.0.1:1") as client:
            assert set(client.instruments()) == {BTC}
        assert {asked.path for asked in script.asked} == {CONTRACTS}
        script.answer = always(envelope([{"symbol": 5}]))
        with a_client(script.url, load=False) as client, pytest.raises(errors.BadResponse):
            client.load()
