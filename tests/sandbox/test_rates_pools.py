"""Request weights: pools, windows, headers, and 429000."""

from __future__ import annotations

import requests

from sandbox.embedded import RunningSandbox, run_sandbox
from sandbox.rates import RateLimits
from tests.sandbox.fake_market import FakeMarket
from tests.sandbox.signed_client import SignedClient


class Watch:
    """A clock in ms, set by hand."""

    def __init__(self) -> None:
        self.ms = 1_000.0

    def __call__(self) -> float:
        return self.ms


def test_a_window_opens_at_the_first_request_and_resets_whole() -> None:
    """Fixed, not rolling: all of the quota is back 30 s after the first request, none before."""
    watch = Watch()
    rates = RateLimits({"public": 10}, now_ms=watch)
    assert rates.charge("public", "ip", 6).remaining == 4
    watch.ms += 29_000
    last = rates.charge("public", "ip", 4)
    assert (last.admitted, last.remaining, last.reset_ms) == (True, 0, 1_000)
    assert not rates.charge("public", "ip", 1).admitted
    watch.ms += 1_000
    fresh = rates.charge("public", "ip", 1)
    assert (fresh.admitted, fresh.remaining, fresh.reset_ms) == (True, 9, 30_000)


def test_a_refused_request_is_not_charged() -> None:
    """Too dear for what is left, it leaves the rest to cheaper ones."""
    rates = RateLimits({"public": 10}, now_ms=Watch())
    rates.charge("public", "ip", 8)
    assert not rates.charge("public", "ip", 3).admitted
    assert rates.charge("public", "ip", 2).admitted


def test_pools_and_users_do_not_share() -> None:
    """Each pool counts by itself, and each user within it."""
    rates = RateLimits({"futures": 5, "public": 5}, now_ms=Watch())
    rates.charge("futures", "a", 5)
    assert rates.charge("futures", "b", 5).admitted
    assert rates.charge("public", "a", 5).admitted
    assert not rates.charge("futures", "a", 1).admitted


def test_every_answer_tells_the_state_of_its_pool(running: RunningSandbox, client: SignedClient) -> None:
    """gw-ratelimit-* by the weights of KuCoin's tables: contracts 3 public, positions 2 futures."""
    public = requests.get(running.futures_url + "/api/v1/contracts/active", timeout=5)
    assert public.headers["gw-ratelimit-limit"] == "2000"
    assert public.headers["gw-ratelimit-remaining"] == "1997"
    assert 0 < int(public.headers["gw-ratelimit-reset"]) <= 30_000
    assert client.send("GET", "/api/v1/positions").headers["gw-ratelimit-remaining"] == "1998"
    refused = client.send("DELETE", "/api/v1/orders/1")
    assert refused.json()["code"] == "100004"
    assert refused.headers["gw-ratelimit-remaining"] == "1997"


def test_beyond_the_quota_is_429_with_headers() -> None:
    """HTTP 429, code 429000, and how long to wait; another pool is not concerned."""
    with run_sandbox(FakeMarket(), quotas={"public": 7}) as running:
        url = running.futures_url + "/api/v1/contracts/active"
        assert [requests.get(url, timeout=5).status_code for _ in range(3)] == [200, 200, 429]
        refused = requests.get(url, timeout=5)
        assert refused.json()["code"] == "429000"
        assert refused.headers["gw-ratelimit-remaining"] == "1"       # 7 − 2 × 3
        assert SignedClient(running).code("GET", "/api/v1/positions") == "200000"
        assert running.control("rates")["refused"] == 2
        running.control("rates", {"quotas": {"public": 100}})
        assert requests.get(url, timeout=5).status_code == 200
