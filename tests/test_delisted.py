"""A contract that KuCoin lists no more and does not describe: what is held in it is looked after like the rest."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import pytest
from aiohttp import web

from sandbox.embedded import RunningSandbox, run_sandbox
from sandbox.serving import Sandbox
from tests.daemon_process import Daemon, rad
from tests.test_position_manager import opened
from tests.trading_house import SYMBOL, a_manager
from trading.facts import ExitReason, OrderSide

PATIENCE_S = 20.0
LISTS = {"api/v1/contracts/active", "api/v1/allTickers"}
GONE = ("SOLUSDTM", "ETHUSDTM")


@contextmanager
def delisted(box: RunningSandbox, *gone: str) -> Iterator[None]:
    """Let the exchange list and describe *gone* no more and refuse what is asked by name; orders are taken."""
    def begin(sandbox: Sandbox) -> None:
        answer = sandbox.rest.answer

        async def without(request: web.Request, market: str, prefix: str, path: str) -> web.StreamResponse:
            asked = {path.strip("/").removeprefix("api/v1/contracts/"), request.query.get("symbol", "")}
            if asked & set(gone):
                return web.json_response({"code": "100001", "msg": "symbol not exists"})
            response = await answer(request, market, prefix, path)
            if path.strip("/") in LISTS and isinstance(response, web.Response):
                said = json.loads(response.text or "")
                said["data"] = [row for row in said["data"] if row["symbol"] not in gone]
                response.text = json.dumps(said)
            return response

        sandbox.rest.answer = without  # type: ignore[method-assign]

    before = box.call(lambda sandbox: sandbox.rest.answer)
    box.call(begin)
    try:
        yield
    finally:
        box.call(lambda sandbox: setattr(sandbox.rest, "answer", before))


def await_price(daemon: Daemon) -> None:
    """Wait until what is held has a price."""
    deadline = time.monotonic() + PATIENCE_S
    while daemon.ask("/api/positions")[0]["price"] is None:
        assert time.monotonic() < deadline, daemon.text()
        time.sleep(0.05)


def test_what_the_exchange_settles_is_booked() -> None:
    """At its end a contract is closed at a price of KuCoin's: that is no mystery, and its stop is swept."""
    house = a_manager()
    opened(house)
    house.exchange.prices[SYMBOL] = Decimal(49_500)
    house.exchange.trade_elsewhere(SYMBOL, OrderSide.SELL, Decimal(39), kind="settlement")
    assert house.reconciler.run().agrees
    (trade,) = house.journal.trades
    assert (trade.exit_reason, trade.exit_price) == (ExitReason.EXTERNAL, Decimal(49_500))
    assert house.exchange.fetch_stop_orders() == ()
    assert house.reconciler.run().found == ()


@pytest.mark.process
def test_a_restart_after_a_delisting_disturbs_nobody(tmp_path: Path) -> None:
    """Compared, protected, closed by hand and, by the exchange, settled; the stream of the others stands."""
    with run_sandbox("synthetic", pairs=4, seed=5, volatility=0.5) as box:
        settings = {
            "EXCHANGE__FUTURES_URL": box.futures_url, "EXCHANGE__SPOT_URL": box.spot_url,
            "KUCOIN_API_KEY": box.key, "KUCOIN_API_SECRET": box.secret, "KUCOIN_API_PASSPHRASE": box.passphrase,
            "RECONCILE__INTERVAL": "5s", "SCANNER__INTERVAL": "1s", "SCANNER__THRESHOLD": "1",
        }
        with Daemon(tmp_path, **settings) as first:
            first.await_line(r"running positions=0")
            for symbol in ("XBTUSDTM", "SOLUSDTM", "ETHUSDTM", "XRPUSDTM"):
                first.ask("/api/open", {"symbol": symbol, "side": "long", "notional": "300"})
            first.ask("/api/close", {"symbol": "XRPUSDTM"})
            first.end(signal.SIGKILL)
        with delisted(box, *GONE, "XRPUSDTM"):
            compared = rad(tmp_path, "verify", **settings)
            assert compared.returncode == 0, compared.stdout + compared.stderr
            box.control("liquidate", {"symbol": "ETHUSDTM"})
            with Daemon(tmp_path, **settings) as second:
                second.await_line(r"running positions=2 recovered=3")
                held = {p["symbol"]: p["protected"] for p in second.ask("/api/positions")}
                assert held == {"BTC/USDT:USDT": True, "SOL/USDT:USDT": True}
                assert second.ask("/api/verify")["differences"] == []
                second.ask("/api/close", {"symbol": "SOL/USDT:USDT"})
                trades = {t["symbol"]: t["exit_reason"] for t in second.ask("/api/trades")}
                assert trades == {
                    "XRP/USDT:USDT": "manual", "ETH/USDT:USDT": "liquidation", "SOL/USDT:USDT": "manual",
                }
                assert not [line for line in second.ask("/api/status")["problems"] if "unpriced" not in line]
                await_price(second)
                assert second.end() == 0
            assert "stream lost" not in second.text()
            assert "Traceback" not in second.text()
