"""Who is let in: the signature as KuCoin documents it, and a code for every way to get it wrong."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from sandbox import auth
from sandbox.accounts import ApiKey
from sandbox.clock import ExchangeClock
from sandbox.embedded import RunningSandbox
from sandbox.refusals import Refusal
from tests.sandbox.signed_client import SignedClient

SECRET = "1f2e3d4c-5b6a-7988-9a0b-0c1d2e3f4a5b"
KEY = ApiKey(key="65f0c0ffee0123456789abcd", secret=SECRET, passphrase="correct-horse-42", user_id="u")
OVERVIEW = "/api/v1/account-overview?currency=USDT"


@pytest.mark.parametrize(("method", "path", "query", "body", "expected"), [
    ("GET", "/api/v1/hf/orders/client-order/bot-0001", "symbol=BTC-USDT", "",
     "aSt+JgdTA7siVjQv7okt5SFonRUbZpy7rLIm1m3Vsn8="),
    ("POST", "/api/v1/hf/orders", "",
     '{"clientOid":"bot-0001","side":"buy","symbol":"BTC-USDT","type":"limit","size":"0.001","price":"60000"}',
     "sIZXEr+Bcv0OwWlvySNEI48X0VcRvMWXKxOdrzORlic="),
    ("DELETE", "/api/v1/hf/orders/670fd33bf9406e0007ab3945", "symbol=BTC-USDT", "",
     "OC5cw6pBGsBNEk0q47cvvaaPYNza4MlnSrVX27rak5Y="),
])
def test_the_published_signatures_are_accepted(
    method: str, path: str, query: str, body: str, expected: str
) -> None:
    """Made-up credentials signed by another implementation: byte for byte the same."""
    clock = ExchangeClock()
    clock.freeze(1_732_000_000_000)
    headers: Mapping[str, str] = {
        "KC-API-KEY": KEY.key, "KC-API-SIGN": expected, "KC-API-TIMESTAMP": "1732000000000",
        "KC-API-PASSPHRASE": "l3ZF1glCJfrmrrx6MXwXkCprip9BoZrXgNXC/uhMfZ0=", "KC-API-KEY-VERSION": "2",
    }
    wish = {"method": method, "path": path, "raw_query": query, "headers": headers}
    assert auth.authenticate({KEY.key: KEY}, clock, body=body, **wish) is KEY
    with pytest.raises(Refusal) as refusal:
        auth.authenticate({KEY.key: KEY}, clock, body=body + " ", **wish)
    assert refusal.value.code == "400005"


def test_each_fault_of_a_signature_has_its_code(client: SignedClient) -> None:
    """400001 to 400005 and 400009, as KuCoin's gateway numbers them."""
    assert client.code("GET", OVERVIEW) == "200000"
    for name in ("KC-API-KEY", "KC-API-SIGN", "KC-API-TIMESTAMP", "KC-API-PASSPHRASE"):
        assert client.code("GET", OVERVIEW, headers={name: None}) == "400001"
    assert client.code("GET", OVERVIEW, headers={"KC-API-KEY": "nobody"}) == "400003"
    assert client.code("GET", OVERVIEW, headers={"KC-API-PASSPHRASE": "plain"}) == "400004"
    assert client.code("GET", OVERVIEW, headers={"KC-API-SIGN": "x"}) == "400005"
    assert client.code("GET", OVERVIEW, headers={"KC-API-KEY-VERSION": "1"}) == "400009"
    assert client.code("GET", OVERVIEW, headers={"KC-API-KEY-VERSION": "2"}) == "200000"


def test_a_clock_more_than_five_seconds_off_is_refused(
    running: RunningSandbox, client: SignedClient
) -> None:
    """400002 in both directions, and by the exchange's clock, not the machine's."""
    assert client.code("GET", OVERVIEW, clock_off_ms=4_000) == "200000"
    assert client.code("GET", OVERVIEW, clock_off_ms=-10_000) == "400002"
    assert client.code("GET", OVERVIEW, clock_off_ms=10_000) == "400002"
    running.control("clock", {"offset_ms": 10_000})
    assert client.code("GET", OVERVIEW) == "400002"
    assert client.code("GET", OVERVIEW, clock_off_ms=10_000) == "200000"


def test_a_key_may_only_do_what_it_has_permission_for(
    running: RunningSandbox, client: SignedClient
) -> None:
    """A key without Futures reads but does not trade: 400007."""
    running.control("keys", {"key": "reader", "permissions": ["General"]})
    client.key = "reader"
    assert client.code("GET", "/api/v1/positions") == "200000"
    assert client.code("POST", "/api/v1/orders", {}) == "400007"


def test_two_users_do_not_see_each_other(running: RunningSandbox, client: SignedClient) -> None:
    """Each user has an account, positions and orders of their own."""
    client.order("buy", 10)
    other = SignedClient(running)
    running.control("keys", {"key": "other", "balance": 77})
    other.key = "other"
    assert other.data("GET", OVERVIEW)["availableBalance"] == 77
    assert other.data("GET", "/api/v1/positions") == []
    assert len(client.data("GET", "/api/v1/positions")) == 1


def test_the_query_is_signed_as_it_reads(client: SignedClient) -> None:
    """A query encoded for transport is signed unencoded."""
    signed_path = "/api/v1/orders/byClientOid?clientOid=a b:c"
    stamp_path = "/api/v1/orders/byClientOid?clientOid=a%20b%3Ac"
    stamp = str(client.data("GET", "/api/v1/timestamp"))
    headers: dict[str, str | None] = {
        "KC-API-TIMESTAMP": stamp, "KC-API-SIGN": auth.sign(client.secret, f"{stamp}GET{signed_path}")
    }
    assert client.code("GET", stamp_path, headers=headers) == "100001"       # let in; no such order
