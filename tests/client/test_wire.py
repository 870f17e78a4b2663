"""The wire: what is signed, what is sent, and what an answer in pieces is taken for."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
from decimal import Decimal

import pytest

from kucoin import endpoints
from kucoin.endpoints import Endpoint
from tests.client.clients import KEY, SECRET, a_client, a_wire, listing
from tests.client.scripted_server import always, envelope, http, refusal, scripted_server
from tests.manual_clock import ManualClock
from trading import errors

SIGNED_MS = 1_732_000_000_000
ORDER = {"clientOid": "x-1", "symbol": "XBTUSDTM", "side": "buy", "size": 1, "leverage": 5, "type": "market"}

HTML = http("<html><body>We are upgrading</body></html>", content_type="text/html")
TRUNCATED = http('{"code":"200000","data":{"orderId":"12')
SHORT_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b'{"code":"200000","data":[]}'
UNREADABLE = {
    "html with 200": HTML,
    "html with 502": http("<html>bad gateway</html>", status=502, content_type="text/html"),
    "empty": http(""),
    "half a JSON": TRUNCATED,
    "no envelope": http("[]"),
    "no code": http('{"data": []}'),
    "no data": http('{"code":"200000"}'),
    "not a number": http('{"code":"200000","data":[NaN]}'),
    "binary": http(b"\xff\xfe\x00"),
    "a redirect": http("", status=302, Location="http://127.0.0.1:1/elsewhere"),
}


@pytest.mark.parametrize(("method", "path", "api", "params", "sign"), [
    ("GET", "hf/orders/client-order/{clientOid}", "private", {"clientOid": "bot-0001", "symbol": "BTC-USDT"},
     "aSt+JgdTA7siVjQv7okt5SFonRUbZpy7rLIm1m3Vsn8="),
    ("POST", "hf/orders", "private",
     {"clientOid": "bot-0001", "side": "buy", "symbol": "BTC-USDT", "type": "limit", "size": "0.001",
      "price": "60000"}, "sIZXEr+Bcv0OwWlvySNEI48X0VcRvMWXKxOdrzORlic="),
    ("DELETE", "hf/orders/{orderId}", "private", {"orderId": "670fd33bf9406e0007ab3945", "symbol": "BTC-USDT"},
     "OC5cw6pBGsBNEk0q47cvvaaPYNza4MlnSrVX27rak5Y="),
])
def test_signatures_are_kucoins(method: str, path: str, api: str, params: dict[str, str], sign: str) -> None:
    """Worked out by hand for a made-up key: query and body are signed as they are sent."""
    signed = a_wire(clock=ManualClock(SIGNED_MS)).sign(path, [api], method, params)
    assert signed["headers"]["KC-API-SIGN"] == sign
    assert signed["headers"]["KC-API-PASSPHRASE"] == "l3ZF1glCJfrmrrx6MXwXkCprip9BoZrXgNXC/uhMfZ0="
    assert signed["headers"]["KC-API-TIMESTAMP"] == str(SIGNED_MS)


@pytest.mark.parametrize("version", ["2", "3"])
def test_an_order_as_it_arrives(version: str) -> None:
    """The bytes of the body are the bytes signed; the key version is the one configured; no broker is named."""
    with scripted_server(always(envelope({"orderId": "1"}))) as script:
        wire = a_wire(script.url, clock=ManualClock(SIGNED_MS), key_version=version)
        assert wire.ask(endpoints.PLACE, ORDER) == {"orderId": "1"}
    (asked,) = script.asked
    assert (asked.method, asked.path) == ("POST", "/api/v1/orders")
    assert json.loads(asked.body) == ORDER
    told = f"{SIGNED_MS}POST/api/v1/orders{asked.body.decode()}"
    expected = base64.b64encode(hmac.new(SECRET.encode(), told.encode(), hashlib.sha256).digest()).decode()
    assert asked.headers["kc-api-sign"] == expected
    assert asked.headers["kc-api-key"] == KEY
    assert asked.headers["kc-api-key-version"] == version
    assert asked.headers["content-type"] == "application/json"
    assert not [name for name in asked.headers if "partner" in name]


@pytest.mark.parametrize("kind", UNREADABLE)
def test_what_cannot_be_read_is_not_an_empty_list(kind: str) -> None:
    """Of a query nothing was learnt; an order or a cancel may have happened."""
    with scripted_server(always(UNREADABLE[kind])) as script:
        wire = a_wire(script.url)
        with pytest.raises(errors.BadResponse):
            wire.ask(endpoints.POSITIONS, {})
        with pytest.raises(errors.OutcomeUnknown):
            wire.ask(endpoints.PLACE, ORDER)
        with pytest.raises(errors.OutcomeUnknown):
            wire.ask(endpoints.CANCEL, {"orderId": "1"})
        assert len(script.asked) == 3      # each sent once: no retry, no redirect followed


def hang_up(_asked: object, peer: socket.socket) -> None:
    peer.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize("answer", [hang_up, always(SHORT_BODY)], ids=["hangs up", "stops short"])
def test_a_lost_answer(answer: object) -> None:
    """A connection that ends before the answer does: nothing learnt, or the outcome is unknown; sent once."""
    def once(asked: object, peer: socket.socket) -> None:
        answer(asked, peer)  # type: ignore[operator]
        peer.shutdown(socket.SHUT_RDWR)

    with scripted_server(once) as script:
        wire = a_wire(script.url)
        with pytest.raises(errors.ExchangeUnavailable):
            wire.ask(endpoints.POSITIONS, {})
        with pytest.raises(errors.OutcomeUnknown):
            wire.ask(endpoints.PLACE, ORDER)
        assert len(script.asked) == 2


@pytest.mark.parametrize("endpoint", [endpoints.POSITIONS, endpoints.PLACE])
def test_a_refused_connection_sent_nothing(endpoint: Endpoint) -> None:
    """Nobody listens: certainly not sent, so an order may be given up rather than looked for."""
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}"
    with pytest.raises(errors.ExchangeUnavailable, match="nothing was sent"):
        a_wire(url).ask(endpoint, ORDER)


def test_without_a_key_it_says_so() -> None:
    """Asking for what needs a key without one is no lack of an answer."""
    wire = a_wire(key="", secret="", passphrase="")
    with pytest.raises(errors.AuthenticationFailed):
        wire.ask(endpoints.PLACE, ORDER)


def test_numbers_are_exact_where_money_is_meant() -> None:
    """0.1 is a tenth in an account's answer; candles are floats, they go to indicators."""
    with scripted_server(always(envelope([0.1]))) as script:
        wire = a_wire(script.url)
        assert wire.ask(endpoints.POSITIONS, {}) == [Decimal("0.1")]
        assert type(wire.ask(endpoints.CANDLES, {"symbol": "X"})[0]) is float


def test_the_code_decides_not_the_status() -> None:
    """A plain no under HTTP 500 is a plain no; an unknown code under 200 is not."""
    with scripted_server(always(refusal("300003", status=500))) as script:
        wire = a_wire(script.url)
        with pytest.raises(errors.InsufficientBalance):
            wire.ask(endpoints.PLACE, ORDER)
        script.answer = always(refusal("111111"))
        with pytest.raises(errors.OutcomeUnknown):
            wire.ask(endpoints.PLACE, ORDER)


def test_no_secret_in_what_is_raised() -> None:
    """Neither the key nor the passphrase nor a signature is in the text of any error."""
    with scripted_server(always(HTML)) as script:
        wire = a_wire(script.url)
        for endpoint in (endpoints.POSITIONS, endpoints.PLACE):
            with pytest.raises(errors.ExchangeError) as caught:
                wire.ask(endpoint, ORDER)
            assert not any(secret in str(caught.value) for secret in (KEY, SECRET, "correct-horse", "KC-API"))


class Rule:
    """A send rule that notes what it is asked, lets time pass meanwhile, and says no when told."""

    def __init__(self, clock: ManualClock) -> None:
        self.asked: list[int] = []
        self.measured = 0
        self.refuses = False
        self._clock = clock

    def require(self, stamp_ms: int) -> None:
        self.asked.append(stamp_ms)
        self._clock.advance(3)
        if self.refuses:
            raise errors.ExchangeUnavailable("not sent: the lease is too old")

    def clock_measured(self) -> None:
        self.measured += 1


@pytest.mark.parametrize("endpoint", [endpoints.PLACE, endpoints.CANCEL])
def test_the_time_is_taken_before_the_rule_is_asked(endpoint: Endpoint) -> None:
    """What is signed is the very time the rule was asked about, however long the rule takes."""
    clock = ManualClock(SIGNED_MS)
    rule = Rule(clock)
    with scripted_server(always(envelope({"orderId": "1"}))) as script:
        wire = a_wire(script.url, clock=clock, send_rule=rule)
        wire.options["timeDifference"] = 700
        wire.ask(endpoint, {**ORDER, "orderId": "1"})
        assert rule.asked == [SIGNED_MS]
        assert script.asked[0].headers["kc-api-timestamp"] == str(SIGNED_MS - 700)


def test_what_the_rule_forbids_is_certainly_not_sent() -> None:
    """Orders and cancels alike are plainly unsent; questions are asked whatever the rule says."""
    clock = ManualClock(SIGNED_MS)
    rule = Rule(clock)
    rule.refuses = True
    with scripted_server(always(envelope([]))) as script:
        wire = a_wire(script.url, clock=clock, send_rule=rule)
        for endpoint in (endpoints.PLACE, endpoints.CANCEL):
            with pytest.raises(errors.ExchangeUnavailable, match="not sent"):
                wire.ask(endpoint, {**ORDER, "orderId": "1"})
        assert script.asked == []
        wire.ask(endpoints.POSITIONS, {})
        assert len(rule.asked) == 2


def test_the_rule_hears_of_every_measured_clock() -> None:
    """Steps of our clock count from the last comparison with the exchange's."""
    clock = ManualClock(SIGNED_MS)
    rule = Rule(clock)
    with scripted_server(always(b"")) as script:
        listing(script, {"/api/v1/timestamp": envelope(SIGNED_MS)})
        with a_client(script.url, clock=clock, send_rule=rule) as client:
            client.measure_clock_offset()
    assert rule.measured == 1
