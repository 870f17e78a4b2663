"""KuCoin's own client, unchanged but for its addresses, trades on the sandbox."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from decimal import Decimal
from queue import Empty, Queue
from typing import Any

import pytest
from kucoin_universal_sdk.api import DefaultClient
from kucoin_universal_sdk.generate.account.account import GetFuturesAccountReq
from kucoin_universal_sdk.generate.futures.market import (
    GetKlinesReq,
    GetPartOrderBookReq,
    GetSymbolReq,
    GetTickerReq,
)
from kucoin_universal_sdk.generate.futures.order import (
    AddOrderReq,
    CancelOrderByClientOidReq,
    CancelOrderByIdReq,
    GetOrderByClientOidReq,
    GetOrderByOrderIdReq,
    GetOrderListReq,
    GetStopOrderListReq,
    GetTradeHistoryReq,
)
from kucoin_universal_sdk.generate.futures.positions import GetPositionDetailsReq, GetPositionListReq
from kucoin_universal_sdk.model import (
    ClientOptionBuilder,
    TransportOptionBuilder,
    WebSocketClientOptionBuilder,
)
from kucoin_universal_sdk.model.common import RestError

from sandbox.embedded import RunningSandbox

pytestmark = pytest.mark.filterwarnings("ignore:Accessing the 'model_fields'")   # the client's own affair
XBT = "XBTUSDTM"
PATIENCE_S = 10.0


def a_client(sandbox: RunningSandbox, **change: str) -> DefaultClient:
    """Return KuCoin's client for the sandbox; *change* bends its credentials."""
    own = {"key": sandbox.key, "secret": sandbox.secret, "passphrase": sandbox.passphrase} | change
    options = (
        ClientOptionBuilder().set_key(own["key"]).set_secret(own["secret"]).set_passphrase(own["passphrase"])
        .set_spot_endpoint(sandbox.spot_url).set_futures_endpoint(sandbox.futures_url)
        .set_broker_endpoint(sandbox.spot_url).set_transport_option(TransportOptionBuilder().build())
        .set_websocket_client_option(WebSocketClientOptionBuilder().with_reconnect(False).build()).build()
    )
    return DefaultClient(options)


@pytest.fixture(scope="module")
def client(sandbox: RunningSandbox) -> DefaultClient:
    return a_client(sandbox)


@pytest.fixture
def orders(client: DefaultClient) -> Any:
    return client.rest_service().get_futures_service().get_order_api()


@pytest.fixture
def positions(client: DefaultClient) -> Any:
    return client.rest_service().get_futures_service().get_positions_api()


@pytest.fixture
def market(client: DefaultClient) -> Any:
    return client.rest_service().get_futures_service().get_market_api()


def an_order(**wish: Any) -> AddOrderReq:
    own: dict[str, Any] = {
        "client_oid": f"sdk-{time.time_ns()}", "symbol": XBT, "side": AddOrderReq.SideEnum.BUY,
        "type": AddOrderReq.TypeEnum.MARKET, "size": 2, "leverage": 5,
        "margin_mode": AddOrderReq.MarginModeEnum.ISOLATED,
    }
    return AddOrderReq(**own | wish)


def position_qty(positions: Any) -> int:
    qty: int = positions.get_position_details(GetPositionDetailsReq(symbol=XBT)).current_qty
    return qty


def test_market_data(sandbox: RunningSandbox, market: Any) -> None:
    """Contracts, tickers, candles, book, time and status arrive in the client's own types."""
    sandbox.set_price(XBT, 60_000)
    contract = market.get_symbol(GetSymbolReq(symbol=XBT))
    assert (contract.multiplier, contract.tick_size, contract.status.value) == (0.001, 0.1, "Open")
    assert len(market.get_all_symbols().data) == 5
    ticker = market.get_ticker(GetTickerReq(symbol=XBT))
    assert (ticker.best_bid_price, ticker.best_ask_price) == ("60000", "60000.1")
    assert len(market.get_all_tickers().data) == 5
    now_ms = market.get_server_time().data
    step = GetKlinesReq.GranularityEnum.T_1
    candles = market.get_klines(GetKlinesReq(symbol=XBT, granularity=step, from_=now_ms - 3600_000, to=now_ms))
    assert len(candles.data) == 60
    assert market.get_part_order_book(GetPartOrderBookReq(symbol=XBT, size="20")).bids[0][0] == 60_000
    assert market.get_service_status().status.value == "open"


def test_account(client: DefaultClient) -> None:
    """The futures account of USDT holds the play money."""
    api = client.rest_service().get_account_service().get_account_api()
    account = api.get_futures_account(GetFuturesAccountReq(currency="USDT"))
    assert account.currency == "USDT"
    assert 9_000 < account.account_equity <= 10_000
    assert account.common_response.rate_limit.limit == 2000


def test_the_life_of_an_order(sandbox: RunningSandbox, orders: Any, positions: Any) -> None:
    """Bought at the ask, looked up both ways, filled with a fee, seen as a position, sold again."""
    sandbox.set_price(XBT, 60_000)
    request = an_order()
    placed = orders.add_order(request)
    assert placed.client_oid == request.client_oid
    order = orders.get_order_by_order_id(GetOrderByOrderIdReq(order_id=placed.order_id))
    assert (order.status.value, order.filled_size, order.avg_deal_price) == ("done", 2, "60000.1")
    again = orders.get_order_by_client_oid(GetOrderByClientOidReq(client_oid=request.client_oid))
    assert again.id == placed.order_id
    (fill,) = orders.get_trade_history(GetTradeHistoryReq(order_id=placed.order_id)).items
    assert Decimal(fill.fee) == Decimal("0.0720001200")      # 2 lots × 0.001 × 60 000.1 × 0.06 %
    position = positions.get_position_details(GetPositionDetailsReq(symbol=XBT))
    assert (position.current_qty, position.avg_entry_price, position.is_open) == (2, 60_000.1, True)
    assert [p.symbol for p in positions.get_position_list(GetPositionListReq(currency="USDT")).data] == [XBT]
    orders.add_order(an_order(side=AddOrderReq.SideEnum.SELL, close_order=True, size=None))
    assert position_qty(positions) == 0


def test_resting_orders_are_listed_and_cancelled(sandbox: RunningSandbox, orders: Any) -> None:
    """Two orders away from the market are active, then cancelled by id and by clientOid."""
    sandbox.set_price(XBT, 60_000)
    far = {"type": AddOrderReq.TypeEnum.LIMIT, "price": "58000", "size": 1}
    requests = [an_order(**far), an_order(**far)]
    ids = [orders.add_order(request).order_id for request in requests]
    active = GetOrderListReq(status=GetOrderListReq.StatusEnum.ACTIVE, symbol=XBT)
    assert {order.id for order in orders.get_order_list(active).items} == set(ids)
    by_id = orders.cancel_order_by_id(CancelOrderByIdReq(order_id=ids[0]))
    assert by_id.cancelled_order_ids == [ids[0]]
    oid = requests[1].client_oid
    assert orders.cancel_order_by_client_oid(
        CancelOrderByClientOidReq(symbol=XBT, client_oid=oid)
    ).client_oid == oid
    assert orders.get_order_list(active).items == []


def test_a_stop_triggers_on_the_mark(sandbox: RunningSandbox, orders: Any, positions: Any) -> None:
    """A closing stop waits in its own list, and sells when the mark falls to it."""
    sandbox.set_price(XBT, 60_000)
    orders.add_order(an_order())
    stop = an_order(
        side=AddOrderReq.SideEnum.SELL, size=None, stop=AddOrderReq.StopEnum.DOWN, stop_price="59000",
        stop_price_type=AddOrderReq.StopPriceTypeEnum.MARK_PRICE, close_order=True,
    )
    orders.add_order(stop)
    waiting = orders.get_stop_order_list(GetStopOrderListReq(symbol=XBT)).items
    assert [(order.client_oid, order.stop_price) for order in waiting] == [(stop.client_oid, "59000")]
    sandbox.set_price(XBT, "58999.9")
    assert orders.get_stop_order_list(GetStopOrderListReq(symbol=XBT)).items == []
    assert position_qty(positions) == 0


@pytest.mark.parametrize(
    ("wish", "code"),
    [
        ({"symbol": "NOPEUSDTM"}, "900001"), ({"leverage": 500}, "300016"), ({"size": 10_000}, "300003"),
        ({"type": AddOrderReq.TypeEnum.LIMIT, "price": "58000.05"}, "300000"),
        ({"type": AddOrderReq.TypeEnum.LIMIT, "price": "70000"}, "300011"),
        ({"side": AddOrderReq.SideEnum.SELL, "close_order": True, "size": None}, "300009"),
    ],
)
def test_refusals_carry_kucoins_codes(
    sandbox: RunningSandbox, orders: Any, wish: dict[str, Any], code: str
) -> None:
    """What cannot be done is refused with the code KuCoin uses for it."""
    sandbox.set_price(XBT, 60_000)
    with pytest.raises(RestError) as refused:
        orders.add_order(an_order(**wish))
    assert refused.value.get_common_response().code == code


@pytest.mark.parametrize(
    ("change", "code"),
    [({"key": "0" * 24}, "400003"), ({"passphrase": "wrong"}, "400004"), ({"secret": "wrong"}, "400004")],
)
def test_wrong_credentials_are_told_apart(sandbox: RunningSandbox, change: dict[str, str], code: str) -> None:
    """An unknown key has its own code; a wrong secret shows in the passphrase first, which it hashes."""
    api = a_client(sandbox, **change).rest_service().get_account_service().get_account_api()
    with pytest.raises(RestError, match=f'401.*"code":"{code}"'):
        api.get_futures_account(GetFuturesAccountReq(currency="USDT"))


class Pushed:
    """What a socket has pushed, read with a deadline."""

    def __init__(self) -> None:
        self._events: Queue[tuple[str, Any]] = Queue()

    def note(self, topic: str, subject: str, event: Any) -> None:
        self._events.put((topic, event))

    def await_one(self, topic: str, wanted: Any) -> Any:
        """Return the next event of *topic* for which *wanted* holds."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                name, event = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                raise AssertionError(f"nothing fitting was pushed on {topic}") from None
            if name == topic and wanted(event):
                return event


def leave(socket: Any) -> None:
    """End a socket without waiting: now and then the client's own reader sleeps 10 s over its close."""
    threading.Thread(target=socket.stop, daemon=True, name="sdk-stop").start()


@pytest.fixture
def public(client: DefaultClient) -> Iterator[Any]:
    socket = client.ws_service().new_futures_public_ws()
    socket.start()
    yield socket
    leave(socket)


@pytest.fixture
def private(client: DefaultClient) -> Iterator[Any]:
    socket = client.ws_service().new_futures_private_ws()
    socket.start()
    yield socket
    leave(socket)


def test_public_pushes(sandbox: RunningSandbox, public: Any) -> None:
    """A moved price is pushed as ticker, book and mark."""
    pushed = Pushed()
    public.ticker_v2(XBT, pushed.note)
    public.orderbook_level5(XBT, pushed.note)
    public.instrument(XBT, pushed.note)
    sandbox.set_price(XBT, 61_000)
    pushed.await_one(f"/contractMarket/tickerV2:{XBT}", lambda e: e.best_bid_price == "61000")
    pushed.await_one(f"/contractMarket/level2Depth5:{XBT}", lambda e: e.bids[0][0] == "61000")
    pushed.await_one(f"/contract/instrument:{XBT}", lambda e: e.mark_price == 61_000)


def test_private_pushes(sandbox: RunningSandbox, private: Any, orders: Any) -> None:
    """An order is pushed from match to filled, with the position, the wallet, and the stop it gets."""
    sandbox.set_price(XBT, 60_000)
    pushed = Pushed()
    private.all_order(pushed.note)
    private.all_position(pushed.note)
    private.balance(pushed.note)
    private.stop_orders(pushed.note)
    placed = orders.add_order(an_order()).order_id
    pushed_orders = "/contractMarket/tradeOrders"
    match = pushed.await_one(pushed_orders, lambda e: e.order_id == placed and e.type.value == "match")
    assert (match.match_price, match.match_size) == ("60000.1", "2")
    pushed.await_one(pushed_orders, lambda e: e.order_id == placed and e.type.value == "filled")
    orders.add_order(an_order(
        side=AddOrderReq.SideEnum.SELL, size=None, stop=AddOrderReq.StopEnum.DOWN, stop_price="59000",
        stop_price_type=AddOrderReq.StopPriceTypeEnum.TRADE_PRICE, close_order=True,
    ))
    stops = "/contractMarket/advancedOrders"
    pushed.await_one(stops, lambda e: e.type.value == "open" and e.stop_price == "59000")
    sandbox.set_price(XBT, 59_000)
    pushed.await_one(stops, lambda e: e.type.value == "triggered")
    pushed.await_one("/contract/positionAll", lambda e: e.current_qty == 0)
