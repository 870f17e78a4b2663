"""A contract that KuCoin lists no more, or has left out of one answer: what is about it is read if it can be."""

from __future__ import annotations

from decimal import Decimal

from kucoin.known import REFRESH_S
from tests.builders import a_position
from tests.client.clients import BTC, a_client, a_contract_row, listing
from tests.client.scripted_server import always, envelope, refusal, scripted_server
from tests.client.test_answers import a_position_row
from tests.manual_clock import ManualClock

D = Decimal


def test_a_contract_that_nobody_describes_disturbs_no_others(clock: ManualClock) -> None:
    """A plain no: its rows are passed over, and it is asked about again, but not with each look."""
    rows = [a_position_row(symbol="OLDUSDTM"), a_position_row()]
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v1/positions": envelope(rows),
            "/api/v1/contracts/OLDUSDTM": [
                refusal("100001", "symbol not exists"),
                envelope(a_contract_row("OLDUSDTM", "OLD", status="Paused")),
            ],
        })
        with a_client(script.url, clock=clock) as client:
            for _ in range(2):
                assert [position.symbol for position in client.fetch_positions()] == [BTC]
            clock.advance(REFRESH_S)
            assert [position.symbol for position in client.fetch_positions()] == ["OLD/USDT:USDT", BTC]
            assert not client.is_listed("OLD/USDT:USDT")
            assert client.is_listed(BTC)


def test_what_is_held_is_known_though_it_is_listed_no_more() -> None:
    """From the position itself: its fills and orders are read, prices rounded, sizes allowed; never entered."""
    held = a_position(
        symbol="OLD/USDT:USDT", multiplier=D("0.01"), stop_price=D("1.205"), initial_stop_price=D("1.2"),
        initial_quantity=D(40),
    )
    with scripted_server(always(b"")) as script:
        listing(script, {
            "/api/v1/positions": envelope([a_position_row(symbol="OLDUSDTM")]),
            "/api/v1/contracts/OLDUSDTM": refusal("100001", "symbol not exists"),
        })
        with a_client(script.url) as client:
            client.know_again(held)
            known = client.instrument("OLD/USDT:USDT")
            assert (known.exchange_id, known.multiplier, known.tick_size) == ("OLDUSDTM", D("0.01"), D("0.001"))
            assert (known.max_quantity, known.tradable) == (D(40), False)
            assert [position.symbol for position in client.fetch_positions()] == ["OLD/USDT:USDT"]
            client.refresh_instruments()                     # of which it is still no part
            assert client.instrument("OLD/USDT:USDT") == known
            listing(script, {}, a_contract_row("OLDUSDTM", "OLD"), a_contract_row())
            client.refresh_instruments()                     # and there it is again
            assert client.instrument("OLD/USDT:USDT").tradable
