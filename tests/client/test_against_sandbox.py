"""The client against the sandbox: the life of an order, faults on the wire, and twenty workers at once."""

from __future__ import annotations

from decimal import Decimal

import pytest

from kucoin_client import KuCoinClient
from sandbox.embedded import RunningSandbox
from tests.client.clients import BTC, a_client, an_order
from tests.crowd import all_at_once
from trading import errors
from trading.facts import OrderRequest, OrderSide, Priority, Side

D = Decimal
CRITICAL = Priority.CRITICAL


def a_stop(client_oid: str = "rad-test-s1") -> OrderRequest:
    """Close all of a long when the mark price falls to 49,000."""
    return OrderRequest(
        client_oid=client_oid, symbol=BTC, side=OrderSide.SELL, close_order=True,
        stop_price=D(49_000), stop_is_below=True,
    )


def test_the_life_of_a_position(client: KuCoinClient) -> None:
    """Bought, protected, read back by either id, closed: order, fills, position and balance agree."""
    client.set_margin_mode(BTC, "isolated", D(5))
    order_id = client.place_order(an_order(quantity=D(10)), CRITICAL)
    order = client.find_order("rad-test-1")
    assert order == client.fetch_order(order_id)
    assert order is not None
    assert (order.filled_quantity, order.average_price, order.is_active) == (D(10), D("50000.1"), False)
    (fill,) = client.fetch_order_fills(order_id)
    assert fill.fee == D("0.3000006")                        # 10 × 0.001 × 50,000.1 × 0.0006
    (position,) = client.fetch_positions()
    assert (position.side, position.quantity, position.leverage) == (Side.LONG, D(10), D(5))

    stop_id = client.place_order(a_stop(), CRITICAL)
    (stop,) = client.fetch_stop_orders(BTC)
    assert (stop.order_id, stop.stop_price, stop.close_order, stop.is_stop) == (stop_id, D(49_000), True, True)
    assert client.find_order("rad-test-s1") == stop
    assert client.fetch_open_orders() == ()
    client.cancel_order(stop_id, CRITICAL)
    assert client.fetch_stop_orders() == ()
    with pytest.raises(errors.OrderNotFound):
        client.cancel_order(stop_id, CRITICAL)

    close = an_order("rad-test-x1", side=OrderSide.SELL, quantity=D(10), leverage=None, reduce_only=True)
    client.place_order(close, CRITICAL)
    assert client.fetch_positions() == ()
    assert len(client.fetch_recent_fills()) == 2
    assert len(client.fetch_recent_fills("XBTUSDTM")) == 2       # by whatever name
    # 10,000 − fees of 0.3000006 + 0.3 and the spread of 10 × 0.001 × 0.1
    assert client.fetch_balance().equity == D("9999.3989994")
    with pytest.raises(errors.NothingToClose):
        client.place_order(an_order("rad-test-x2", side=OrderSide.SELL, reduce_only=True), CRITICAL)


def test_funding_of_many_days_is_added_up_page_by_page(box: RunningSandbox, client: KuCoinClient) -> None:
    """Two hundred and one funding moments are three pages, and each counts once."""
    client.place_order(an_order(quantity=D(10)), CRITICAL)
    for _ in range(201):
        box.call(lambda sandbox: sandbox.exchange.settle_funding_now())
    paid = client.fetch_funding(BTC, 0, 2**53)
    assert (len(paid), sum(each.amount for each in paid)) == (201, D("-10.05"))     # 10 × 0.001 × 50,000 × 0.0001
    assert client.fetch_funding(BTC, 0, paid[-1].at_ms - 1) == ()


def test_plain_refusals_are_told_apart(client: KuCoinClient) -> None:
    """Too little money, an id in use, an order nobody placed, a key that is none: each its own kind."""
    with pytest.raises(errors.InsufficientBalance):
        client.place_order(an_order(quantity=D(10_000)), CRITICAL)
    client.place_order(an_order(quantity=D(1)), CRITICAL)
    client.place_order(a_stop("rad-test-s9"), CRITICAL)
    with pytest.raises(errors.DuplicateClientOid):
        client.place_order(a_stop("rad-test-s9"), CRITICAL)
    assert client.find_order("rad-never-placed") is None
    with pytest.raises(errors.OrderNotFound):
        client.fetch_order("1234567890")
    with pytest.raises(errors.UnknownInstrument):
        client.place_order(an_order(symbol="NO/USDT:USDT"), CRITICAL)


@pytest.mark.parametrize("wrong", ["key", "secret", "passphrase"])
def test_a_wrong_key_is_no_missing_answer(box: RunningSandbox, wrong: str) -> None:
    """Each part of the key that is wrong stops the bot; none is retried for ever."""
    access = {"key": box.key, "secret": box.secret, "passphrase": box.passphrase, wrong: "wrong"}
    with (
        a_client(box.futures_url, spot_url=box.spot_url, **access) as client,
        pytest.raises(errors.AuthenticationFailed),
    ):
        client.fetch_positions()


def test_a_clock_ten_seconds_off_is_measured_and_mended(box: RunningSandbox, client: KuCoinClient) -> None:
    """Signed by our own clock nothing is taken; after measuring everything is."""
    box.control("clock", {"offset_ms": 10_000})
    with pytest.raises(errors.ClockSkew):
        client.fetch_positions()
    assert client.measure_clock_offset() == pytest.approx(-10_000, abs=1_000)
    assert client.fetch_positions() == ()


def test_an_exit_refused_for_the_clock_waits_for_nobody_to_mend_it(
    box: RunningSandbox, client: KuCoinClient
) -> None:
    """The clock was set, and whoever looks after it is busy: the next try of the exit itself is taken."""
    box.control("clock", {"offset_ms": 10_000})
    with pytest.raises(errors.ClockSkew):
        client.place_order(an_order(), CRITICAL)
    assert not client.is_clock_off()
    assert client.place_order(an_order(), CRITICAL)


@pytest.mark.parametrize(("fault", "is_placed"), [
    ({"kind": "drop_after"}, True), ({"kind": "drop_before"}, False), ({"kind": "truncate"}, True),
    ({"kind": "html", "status": 200}, False), ({"kind": "html"}, False), ({"kind": "empty"}, False),
    ({"kind": "refuse", "code": "500000", "status": 500}, False),
])
def test_an_unanswered_order_is_unknown_and_can_be_looked_up(
    box: RunningSandbox, client: KuCoinClient, fault: dict[str, object], is_placed: bool
) -> None:
    """Taken or not, the answer is lost: unknown; it was sent once, and the look-up tells."""
    wish = {"method": "POST", "path": "/api/v1/orders", "count": 1, **fault}
    box.fault(str(wish.pop("kind")), **wish)
    with pytest.raises(errors.OutcomeUnknown):
        client.place_order(an_order(), CRITICAL)
    assert (client.find_order("rad-test-1") is not None) is is_placed
    assert len(box.history("order_accepted")) == int(is_placed)


def test_a_rate_limit_holds_the_pool_and_an_overload_does_not(
    box: RunningSandbox, client: KuCoinClient
) -> None:
    """429000 with a reset stops the pool until then; without, the next call goes out at once."""
    box.fault("overload", path="/api/v1/positions", count=1)
    with pytest.raises(errors.RateLimited):
        client.fetch_positions()
    assert client.fetch_positions() == ()
    box.fault("rate_limit", path="/api/v1/positions", count=1, retry_after_ms=200)
    with pytest.raises(errors.RateLimited):
        client.fetch_positions()
    held = next(use for use in client._budget.usage() if use.pool == "futures")
    assert 0 < held.held_s <= 0.2
    assert client.fetch_positions() == ()         # waited for, then answered


def test_what_refuses_one_endpoint_holds_up_no_exit(box: RunningSandbox, client: KuCoinClient) -> None:
    """200002 to a look at the positions: others of that pool wait ten seconds, an exit does not; its own does."""
    def has_to_wait(priority: Priority) -> bool:
        try:
            client._budget.take("futures", 1, priority, 0.05)
        except errors.RateLimited:
            return True
        return False

    box.fault("refuse", path="/api/v1/positions", count=1, code="200002")
    with pytest.raises(errors.RateLimited):
        client.fetch_positions()
    assert has_to_wait(Priority.NORMAL)
    assert not has_to_wait(CRITICAL)
    assert client.place_order(an_order(), CRITICAL)
    box.fault("refuse", method="POST", path="/api/v1/orders", count=1, code="200002")
    with pytest.raises(errors.RateLimited):
        client.place_order(an_order("rad-test-2"), CRITICAL)
    assert has_to_wait(CRITICAL)


def test_twenty_workers_get_their_own_answers(box: RunningSandbox, client: KuCoinClient) -> None:
    """Answers are never crossed between threads: each order is found under its own id."""
    def worker(name: str) -> None:
        for turn in range(3):
            oid = f"rad-{name}-{turn}"
            order_id = client.place_order(an_order(oid), CRITICAL if turn % 2 else Priority.HIGH)
            found = client.find_order(oid)
            assert found is not None
            assert (found.order_id, found.client_oid) == (order_id, oid)

    all_at_once(*[lambda name=f"w{number}": worker(name) for number in range(20)])  # type: ignore[misc]
    assert len({event["order_id"] for event in box.history("order_accepted")}) == 60


def test_what_the_sandbox_key_may_do(client: KuCoinClient) -> None:
    """The key's permissions are read from the spot address."""
    assert "Futures" in client.fetch_api_key().permissions
