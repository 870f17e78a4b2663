"""Every injected fault of REST, proven from the client's side and in the exchange's record."""

from __future__ import annotations

import time

import pytest
import requests

from sandbox.embedded import RunningSandbox
from tests.sandbox.signed_client import SignedClient

XBT, ETH = "XBTUSDTM", "ETHUSDTM"
ORDERS = "/api/v1/orders"
BODY = {"clientOid": "f-1", "symbol": "XBTUSDTM", "side": "buy", "type": "market", "size": 1, "leverage": 3}


def accepted(running: RunningSandbox) -> int:
    return len(running.history("order_accepted"))


def test_refuse_with_any_code(running: RunningSandbox, client: SignedClient) -> None:
    """A plain no of choice, once; the order never existed."""
    running.fault("refuse", method="POST", path=ORDERS, count=1, code="300003", message="poor")
    assert client.send("POST", ORDERS, BODY).json() == {"code": "300003", "msg": "poor"}
    assert accepted(running) == 0
    (struck,) = running.history("fault_struck")
    assert (struck["fault"], struck["client_oid"], struck["carried_out"]) == ("refuse", BODY["clientOid"], False)
    assert client.code("POST", ORDERS, BODY) == "200000"


@pytest.mark.parametrize(("kind", "happened"), [("drop_after", 1), ("drop_before", 0), ("drop", 1)])
def test_a_dropped_answer(running: RunningSandbox, client: SignedClient, kind: str, happened: int) -> None:
    """The connection closes without a byte; the order is there or not, as asked."""
    running.fault(kind, method="POST", path=ORDERS, count=1)
    with pytest.raises(requests.ConnectionError):
        client.send("POST", ORDERS, BODY)
    assert accepted(running) == happened


def test_html_with_5xx_and_with_200(running: RunningSandbox, client: SignedClient) -> None:
    """A maintenance page where JSON was promised."""
    running.fault("html", path="/api/v1/positions", count=1)
    running.fault("html", path="/api/v1/positions", count=1, skip=0, status=200)
    bad = client.send("GET", "/api/v1/positions")
    assert (bad.status_code, bad.text[:6]) == (502, "<html>")
    fine = client.send("GET", "/api/v1/positions")
    assert (fine.status_code, fine.text[:6]) == (200, "<html>")
    assert client.code("GET", "/api/v1/positions") == "200000"


def test_empty_and_truncated_bodies(running: RunningSandbox, client: SignedClient) -> None:
    """Nothing at all, and JSON that stops in the middle (after the order was taken)."""
    running.fault("empty", path=ORDERS, count=1)
    assert client.send("POST", ORDERS, BODY).text == ""
    assert accepted(running) == 0
    running.fault("truncate", path=ORDERS, count=1)
    broken = client.send("POST", ORDERS, BODY)
    with pytest.raises(ValueError, match="."):
        broken.json()
    assert accepted(running) == 1


def test_429_with_and_without_headers(running: RunningSandbox, client: SignedClient) -> None:
    """A spent quota says how long to wait; an overloaded server says nothing."""
    running.fault("overload", path="/api/v1/positions", count=1)
    bare = client.send("GET", "/api/v1/positions")
    assert (bare.status_code, bare.json()["code"]) == (429, "429000")
    assert "gw-ratelimit-reset" not in bare.headers
    running.fault("rate_limit", path="/api/v1/positions", count=1, retry_after_ms=1234)
    told = client.send("GET", "/api/v1/positions")
    assert (told.status_code, told.headers["gw-ratelimit-reset"]) == (429, "1234")


def test_a_black_hole_never_answers(running: RunningSandbox, client: SignedClient) -> None:
    """The client runs into its own deadline; with `commit` the order exists all the same."""
    running.fault("black_hole", method="POST", path=ORDERS, count=1)
    with pytest.raises(requests.ReadTimeout):
        client.send("POST", ORDERS, BODY, timeout=0.2)
    assert accepted(running) == 0
    running.fault("black_hole", method="POST", path=ORDERS, count=1, commit=True)
    with pytest.raises(requests.ReadTimeout):
        client.send("POST", ORDERS, BODY, timeout=0.2)
    assert accepted(running) == 1


def test_a_drip_defeats_a_per_read_timeout(running: RunningSandbox, client: SignedClient) -> None:
    """Byte by byte the answer arrives whole, long after the timeout of a single read."""
    running.fault("drip", path="/api/v1/timestamp", count=1, delay_ms=10)
    began = time.monotonic()
    assert client.send("GET", "/api/v1/timestamp", timeout=0.2).json()["code"] == "200000"
    assert time.monotonic() - began > 0.3                              # 37 bytes, 10 ms apart


def test_a_delay_holds_back_one_request(running: RunningSandbox, client: SignedClient) -> None:
    """The delayed request answers late; the one after it at once."""
    running.fault("delay", path="/api/v1/timestamp", count=1, delay_ms=150)
    assert client.send("GET", "/api/v1/timestamp").elapsed.total_seconds() >= 0.15
    assert client.send("GET", "/api/v1/timestamp").elapsed.total_seconds() < 0.15


def test_skip_count_and_probability(running: RunningSandbox, client: SignedClient) -> None:
    """The second and third of four are struck; a seeded chance strikes the same ones again."""
    def codes() -> list[str]:
        return [client.code("GET", "/api/v1/positions") for _ in range(4)]

    running.fault("refuse", path="/api/v1/positions", skip=1, count=2, code="500000")
    assert codes() == ["200000", "500000", "500000", "200000"]
    seen = []
    for _ in range(2):
        running.control("faults", method="DELETE")
        running.fault("refuse", path="/api/v1/*", probability=0.5, seed=7, code="500000")
        seen.append(codes() + codes())
    assert seen[0] == seen[1]
    assert {"200000", "500000"} == set(seen[0])


def test_a_cancel_that_loses_against_a_fill(running: RunningSandbox, client: SignedClient) -> None:
    """The cancel is accepted, and the order turns out filled."""
    order_id = client.order("buy", 5, price="49000")
    running.fault("cancel_loses", symbol="XBTUSDTM", count=1)
    assert client.code("DELETE", f"/api/v1/orders/{order_id}") == "200000"
    order = client.data("GET", f"/api/v1/orders/{order_id}")
    assert (order["filledSize"], order["cancelExist"]) == (5, False)


def test_a_stop_that_is_not_taken(running: RunningSandbox, client: SignedClient) -> None:
    """The entry filled, the stop is refused: a naked position to deal with."""
    client.order("buy", 5)
    running.fault("refuse_stop", count=1)
    stop = BODY | {"stop": "down", "stopPrice": "49000", "stopPriceType": "MP", "side": "sell"}
    assert client.code("POST", ORDERS, stop) == "300004"
    (struck,) = running.history("fault_struck")
    assert (struck["fault"], struck["symbol"]) == ("refuse_stop", "XBTUSDTM")
    assert client.code("POST", ORDERS, stop) == "200000"


def test_rules_are_listed_and_removed(running: RunningSandbox) -> None:
    """Each rule has an id, says how often it struck, and can be taken back."""
    rule = running.fault("delay", path="*", delay_ms=1)
    assert running.control("faults")["faults"][0]["id"] == rule["id"]
    assert running.control(f"faults/{rule['id']}", method="DELETE") == {"removed": True}
    assert running.control("faults")["faults"] == []


def test_nonsense_is_refused_in_words(running: RunningSandbox) -> None:
    """The control API answers 400 or 404 with a sentence, and nothing changes."""
    for path, wish in (("faults", {"kind": "plague"}), ("price", {"symbol": "NOPE", "price": 1}),
                       ("settings", {"nope": 1}), ("price", {"symbol": "XBTUSDTM", "price": "x"})):
        answer = requests.post(f"{running.control_url}/{path}", json=wish, timeout=5)
        assert (answer.status_code, bool(answer.json()["error"])) == (400, True)
    assert requests.get(f"{running.control_url}/nowhere", timeout=5).status_code == 404


def test_several_prices_move_in_one_step(running: RunningSandbox) -> None:
    """They are there together, and of a wish with a bad one among them nothing is done."""
    def marks() -> list[str]:
        urls = (f"{running.futures_url}/api/v1/mark-price/{symbol}/current" for symbol in (XBT, ETH))
        return [str(requests.get(url, timeout=5).json()["data"]["value"]) for url in urls]

    moved = running.control("prices", {"prices": {XBT: "49000", ETH: 1900}})
    assert sorted(moved["changed"]) == [ETH, XBT]
    assert marks() == ["49000", "1900"]
    for bad in ({XBT: "48000", "NOPE": 1}, {XBT: "48000", ETH: 0}, [XBT], None):
        answer = requests.post(f"{running.control_url}/prices", json={"prices": bad}, timeout=5)
        assert answer.status_code == 400
    assert marks() == ["49000", "1900"]
