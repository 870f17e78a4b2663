"""Journal against exchange on the real wire: each kind of difference, what is no difference, and silence."""

from __future__ import annotations

import json
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from control.steering import ERROR, exit_code_of
from daemon import verify as verifying
from daemon.exchange_process import ExchangeAddress
from daemon.house import House
from daemon.opening import Opener
from daemon.steering import Desk
from daemon.verify_alone import verify_alone
from execution import funding as looking_up
from runtime.clock import SystemClock
from runtime.instance import Instance
from runtime.journal import SqlJournal
from runtime.options import RunOptions
from runtime.settings import load_settings
from sandbox.embedded import RunningSandbox, run_sandbox
from tests.daemon_process import Daemon, rad
from tests.sandbox.signed_client import SignedClient
from trading.errors import ConfigError, JournalError, RadError
from trading.facts import ExitReason, Fill, OrderRequest, OrderSide, Priority, Side
from trading.reconciliation import Kind
from trading.strategies import load as load_strategy

D = Decimal
BTC, ETH = "BTC/USDT:USDT", "ETH/USDT:USDT"
ORPHANED = "rad-0abcdefgh001"          # a position id of RAD's that no journal knows


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """A daemon's parts without its threads, holding a short of 4 lots of BTC and a closed trade in ETH."""

    house: House
    desk: Desk
    box: RunningSandbox
    hand: SignedClient                 # somebody else with the same key
    journal: Path

    def verify(self) -> dict[str, Any]:
        return self.desk.verify()

    def change_journal(self, statement: str, *values: object) -> None:
        """Make the journal say something else."""
        self.house.journal.flush()
        with closing(sqlite3.connect(self.journal)) as connection, connection:
            assert connection.execute(statement, values).rowcount == 1


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.setattr(verifying, "SECOND_LOOK_S", 0.0)
    with run_sandbox("synthetic", pairs=3, seed=5, match_delay_ms=0.0, visibility_delay_ms=0.0) as box:
        environment = {
            "RAD_DATA_DIR": str(tmp_path), "RAD_EXCHANGE__FUTURES_URL": box.futures_url,
            "RAD_EXCHANGE__SPOT_URL": box.spot_url, "KUCOIN_API_KEY": box.key, "KUCOIN_API_SECRET": box.secret,
            "KUCOIN_API_PASSPHRASE": box.passphrase,
        }
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        address = ExchangeAddress(
            futures_url=box.futures_url, spot_url=box.spot_url, key=box.key, secret=box.secret,
            passphrase=box.passphrase,
        )
        box.set_price("XBTUSDTM", 50_000)
        box.set_price("ETHUSDTM", 2_000)
        trend = load_strategy("trend", {}, candles=200)
        settings, clock = load_settings(None, {}), SystemClock()
        books = SqlJournal(settings.journal_url, clock, label="sandbox futures")
        with House(
            settings, address, clock, trend, journal=books, lease=None, logs=None, adopt=False
        ) as house:
            house.connect()
            house.status.started()
            house.account.update(house.client.fetch_balance())
            opener = Opener(house, guard=False)
            opener.open_by_hand(BTC, Side.SHORT, D(200))
            opener.open_by_hand(ETH, Side.SHORT, D(200))
            box.set_price("ETHUSDTM", 1_900)
            house.manager.close_position(ETH, ExitReason.MANUAL)
            journal = tmp_path / "journal-sandbox.sqlite"
            yield Bench(house=house, desk=Desk(house, opener), box=box, hand=SignedClient(box), journal=journal)


def kinds(answer: dict[str, Any]) -> set[str]:
    return {each["kind"] for each in answer["differences"]}


def written(journal: Path) -> list[str]:
    """Return all the journal holds, as statements; where SQLite keeps it, file or log, is SQLite's affair."""
    with closing(sqlite3.connect(journal)) as connection:
        return list(connection.iterdump())


def row(answer: dict[str, Any], section: str, symbol: str | None) -> dict[str, Any]:
    (found,) = [each for each in answer[section] if each["symbol"] == symbol]
    return found


# ---- agreement ------------------------------------------------------------------------------------

def test_both_sides_are_told_and_agree(bench: Bench) -> None:
    """A position with its stop and a closed trade: sizes, fees and profit are the same on both sides."""
    answer = bench.verify()
    assert (answer["agree"], answer["differences"], answer["under_way"]) == (True, [], [])
    held = {"side": "short", "quantity": "4", "entry_price": "50000"}      # 200 / (50000 × 0.001)
    assert row(answer, "positions", BTC) == {"symbol": BTC, "journal": held, "exchange": held, "verdict": "agree"}
    stop = row(answer, "stops", BTC)
    assert stop["journal"]["client_oid"] == stop["exchange"]["client_oid"]
    assert stop["journal"]["stop_price"] == stop["exchange"]["stop_price"]
    assert answer["orders"] == []
    # ETH: 10 lots of 0.01 sold at 2000, bought at 1900 and a tick of 0.01, taker fee 0.06 %.
    fills = row(answer, "fills", ETH)
    assert fills["journal"] == fills["exchange"] == {
        "count": 2, "quantity": "20", "value": "390.001", "fee": "0.2340006",
    }
    assert row(answer, "fees", ETH)["exchange"] == "0.2340006"             # 390.001 × 0.0006
    assert row(answer, "realised_pnl", ETH)["exchange"] == "9.999"         # (2000 − 1900.01) × 0.1
    assert row(answer, "realised_pnl", BTC)["exchange"] == "0"             # nothing closed yet
    total = row(answer, "fees", None)
    assert total["journal"] == total["exchange"] == "0.3540006"            # and 200 × 0.0006
    assert json.loads(json.dumps(answer)) == answer


def test_a_close_by_somebody_else_is_audited_too(bench: Bench) -> None:
    """Booked by reconciliation from fills of an order that is not RAD's: its fee and profit are compared."""
    bench.box.set_price("XBTUSDTM", 49_000)
    bench.hand.order("buy", 4, reduceOnly=True)
    bench.house.reconciler.run()
    answer = bench.verify()
    assert answer["agree"], answer["differences"]
    assert row(answer, "realised_pnl", BTC)["exchange"] == "3.9996"        # (50000 − 49000.1) × 0.004
    assert answer["foreign_fills"] == 0


def test_funding_is_compared_within_a_trades_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not known: not compared, and said. Looked up, it is RAD's own: of a person's after it nothing counts."""
    monkeypatch.setattr(looking_up, "LISTED_AFTER_MS", 0)
    bench.box.control("funding", {"symbol": "XBTUSDTM"})
    bench.house.manager.close_position(BTC, ExitReason.MANUAL)
    bench.hand.order("buy", 9)
    bench.box.control("funding", {"symbol": "XBTUSDTM"})
    bench.hand.order("sell", 9, reduceOnly=True)
    answer = bench.verify()
    assert (answer["agree"], answer["funding"], answer["awaiting_funding"]) == (True, [], 2)
    bench.house.funding.look_up()
    answer = bench.verify()
    assert (answer["differences"], answer["awaiting_funding"]) == ([], 0)
    ours, _ = bench.box.history("funding")
    told = row(answer, "funding", BTC)
    assert D(told["journal"]) == D(told["exchange"]) == D(ours["payment"]) != 0
    assert row(answer, "realised_pnl", BTC)["verdict"] == "agree"


def test_funding_that_cannot_be_read_is_no_agreement(bench: Bench) -> None:
    """As of anything else: no answer, and nothing is said of agreement."""
    owe_funding(bench)
    bench.box.fault("html", path="/api/v1/funding-history")
    with pytest.raises(RadError, match="nothing is known about agreement"):
        bench.verify()


def test_orders_of_others_are_shown_and_not_judged(bench: Bench) -> None:
    """A limit order and a stop that a person placed are theirs: no difference."""
    bench.hand.order("buy", 1, price="30000")
    bench.hand.order("sell", 1, symbol="ETHUSDTM", stop="down", stopPrice="1500", stopPriceType="MP")
    answer = bench.verify()
    assert answer["agree"]
    assert [each["verdict"] for each in answer["orders"]] == ["not ours"]
    assert [each["verdict"] for each in answer["stops"]] == ["agree", "not ours"]


# ---- each kind of difference ------------------------------------------------------------------------

def cancel_the_stop(bench: Bench) -> None:
    (stop,) = bench.hand.data("GET", "/api/v1/stopOrders")["items"]
    bench.hand.data("DELETE", f"/api/v1/orders/{stop['id']}")


def forget_a_fill(bench: Bench) -> None:
    bench.change_journal("DELETE FROM fill WHERE symbol = ? AND side = 'buy'", ETH)


def invent_a_fill(bench: Bench) -> None:
    now_ms = bench.house.clock.now_ms()
    bench.house.journal.record_fills("", [Fill(
        trade_id="made-up", order_id="nobody's", symbol=ETH, side=OrderSide.BUY, quantity=D(1), price=D(2000),
        fee=D(0), ts_ms=now_ms,
    )], wait=True)


def estimate_a_fee(bench: Bench) -> None:
    bench.change_journal("UPDATE trade SET fee = '0.3340006', realised_pnl = '9.6649994' WHERE symbol = ?", ETH)


def owe_funding(bench: Bench) -> None:
    bench.change_journal(
        "UPDATE trade SET funding = '-0.5', realised_pnl = '9.2649994', funding_known = 1 WHERE symbol = ?", ETH
    )


DIFFERENCES: dict[Kind, tuple[Callable[[Bench], object], str, str]] = {
    Kind.GONE: (lambda b: b.hand.order("buy", 4, reduceOnly=True), "positions", BTC),
    Kind.SMALLER: (lambda b: b.hand.order("buy", 1, reduceOnly=True), "positions", BTC),
    Kind.LARGER: (lambda b: b.hand.order("sell", 1), "positions", BTC),
    Kind.TURNED: (lambda b: b.hand.order("buy", 6), "positions", BTC),
    Kind.FOREIGN: (lambda b: b.hand.order("buy", 3, symbol="ETHUSDTM"), "positions", ETH),
    Kind.UNPROTECTED: (cancel_the_stop, "stops", BTC),
    Kind.ORPHAN_STOP: (
        lambda b: b.hand.order(
            "sell", 1, symbol="ETHUSDTM", clientOid=f"{ORPHANED}-s1", stop="down", stopPrice="1500",
            stopPriceType="MP",
        ), "stops", ETH,
    ),
    Kind.STRAY_ORDER: (
        lambda b: b.hand.order("buy", 1, symbol="ETHUSDTM", price="1000", clientOid=f"{ORPHANED}-x1"),
        "orders", ETH,
    ),
    Kind.MISSING_FILL: (forget_a_fill, "fills", ETH),
    Kind.PHANTOM_FILL: (invent_a_fill, "fills", ETH),
    Kind.FEE: (estimate_a_fee, "fees", ETH),
    Kind.REALISED_PNL: (
        lambda b: b.change_journal("UPDATE trade SET realised_pnl = '9.7' WHERE symbol = ?", ETH),
        "realised_pnl", ETH,
    ),
    Kind.FUNDING: (owe_funding, "funding", ETH),
}


@pytest.mark.parametrize("kind", DIFFERENCES)
def test_each_difference_is_found_marked_and_explained(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    """One thing is made to differ: that one is named, its row is marked, and the words say what follows."""
    monkeypatch.setattr(verifying, "FILL_GRACE_MS", -1)            # every fill is old enough
    make, section, symbol = DIFFERENCES[kind]
    make(bench)
    answer = bench.verify()
    assert not answer["agree"]
    (difference,) = answer["differences"]
    assert (difference["kind"], difference["symbol"]) == (kind.value, symbol)
    assert difference["meaning"]
    assert difference["remedy"]
    assert row(answer, section, symbol)["verdict"] == "differs"
    wrong = {
        (name, each["symbol"]) for name, rows in answer.items() if isinstance(rows, list)
        for each in rows if each.get("verdict") == "differs"
    }
    assert wrong - {(section, None)} == {(section, symbol)}        # a total may be wrong with it
    assert bench.verify()["differences"] == answer["differences"]  # asking changes nothing


def test_every_kind_is_tried() -> None:
    """A new kind of difference needs a case here; what RAD leaves behind when it ends has its own below."""
    assert set(DIFFERENCES) | {Kind.UNSETTLED} == set(Kind)


def test_two_things_wrong_are_two_differences(bench: Bench) -> None:
    """A foreign position does not hide a missing stop."""
    cancel_the_stop(bench)
    bench.hand.order("buy", 3, symbol="ETHUSDTM")
    assert kinds(bench.verify()) == {"foreign", "unprotected"}


# ---- what is under way is no difference ---------------------------------------------------------------

def test_an_exit_under_way_is_said_to_be(bench: Bench) -> None:
    """Closed on the exchange, not yet in the journal, and a thread is at it: under way, and in agreement."""
    assert bench.house.manager.claim_closing(BTC, ExitReason.MANUAL) is not None
    bench.hand.order("buy", 4, reduceOnly=True)
    answer = bench.verify()
    assert answer["agree"]
    assert answer["under_way"] == [{"symbol": BTC, "what": "an exit"}]
    assert row(answer, "positions", BTC)["verdict"] == "under way"


@pytest.mark.parametrize("begins", [True, False])
def test_an_exit_that_begins_or_ends_during_the_look_is_under_way(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, begins: bool
) -> None:
    """Between the first question to the exchange and the journal's answer it was under way: that is enough."""
    manager, fetch = bench.house.manager, bench.house.client.fetch_recent_fills
    if not begins:
        claimed = manager.claim_closing(BTC, ExitReason.MANUAL)
        assert claimed is not None

    def fetching(*said: Any) -> tuple[Fill, ...]:
        if begins:
            assert manager.claim_closing(BTC, ExitReason.MANUAL) is not None
        else:
            assert manager.put_back(BTC, claimed.position_id) is not None
        return fetch(*said)

    monkeypatch.setattr(bench.house.client, "fetch_recent_fills", fetching)
    assert bench.verify()["under_way"] == [{"symbol": BTC, "what": "an exit"}]


def test_an_entry_under_way_is_said_to_be(bench: Bench) -> None:
    """Written down, sent and filled, and the daemon is about to book it: not a stranger's position."""
    entry = OrderRequest(
        client_oid=f"{ORPHANED}-e0", symbol=ETH, side=OrderSide.BUY, quantity=D(2), leverage=D(5),
    )
    bench.house.journal.record_intent(ORPHANED.removeprefix("rad-"), entry, "e", wait=True)
    bench.house.client.place_order(entry, Priority.HIGH)
    answer = bench.verify()
    assert answer["agree"]
    assert answer["under_way"] == [{"symbol": ETH, "what": "an entry"}]
    assert row(answer, "orders", ETH)["verdict"] == "under way"


def test_a_first_stop_has_its_deadline_and_no_longer(bench: Bench) -> None:
    """Opened just now, the stop may be on its way; opened a minute ago, the position is unprotected."""
    stopless = "UPDATE position SET protective_stop = NULL, opened_ms = ? WHERE symbol = ? AND state = 'open'"
    bench.change_journal(stopless, bench.house.clock.now_ms(), BTC)
    assert bench.verify()["under_way"] == [{"symbol": BTC, "what": "its first stop"}]
    bench.change_journal(stopless, bench.house.clock.now_ms() - 60_000, BTC)
    assert kinds(bench.verify()) == {"unprotected", "orphan_stop"}


def test_a_fill_just_made_may_be_on_its_way(bench: Bench) -> None:
    """A fill of a second ago that is not booked yet is being booked; one of a minute ago would be missing."""
    forget_a_fill(bench)
    answer = bench.verify()
    assert answer["agree"]
    assert row(answer, "fills", ETH)["verdict"] == "under way"
    assert answer["under_way"] == [{"symbol": ETH, "what": "a fill being booked"}]


def test_what_only_one_look_saw_does_not_count(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Book, journal and exchange cannot be read at one instant: a difference has to be seen twice."""
    looks: list[int] = []
    look = verifying._look

    def looking(parties: verifying.Parties) -> verifying.Look:
        looks.append(1)
        if len(looks) == 2:
            bench.hand.order("sell", 3, symbol="ETHUSDTM", reduceOnly=True)
            bench.hand.order("buy", 1, reduceOnly=True)
        return look(parties)

    monkeypatch.setattr(verifying, "_look", looking)
    bench.hand.order("buy", 3, symbol="ETHUSDTM")
    answer = bench.verify()
    assert (answer["agree"], len(looks)) == (True, 2)
    assert row(answer, "positions", BTC)["verdict"] == "under way"


# ---- silence is no agreement ------------------------------------------------------------------------

@pytest.mark.parametrize("path", ["positions", "orders", "stopOrders", "recentFills"])
def test_one_answer_missing_and_nothing_is_said(bench: Bench, path: str) -> None:
    """Whatever of the exchange cannot be read, the answer is an error, exit code 1, and one line."""
    bench.box.fault("html", path=f"/api/v1/{path}")
    with pytest.raises(RadError, match="cannot be read, so nothing is known about agreement") as error:
        bench.verify()
    assert exit_code_of(error.value) == ERROR
    assert "\n" not in str(error.value)


# ---- while no daemon runs ---------------------------------------------------------------------------

def test_alone_it_reads_and_writes_nothing(bench: Bench) -> None:
    """Without a daemon the same comparison, and nothing the journal holds is changed by it."""
    bench.change_journal("DELETE FROM meta WHERE name = 'label'")   # whoever opens it to write puts it back
    bench.house.close()
    before = written(bench.journal)
    answer = verify_alone(RunOptions())
    assert (answer["agree"], answer["compared_by"]) == (True, "console")
    assert row(answer, "stops", BTC)["verdict"] == "agree"
    assert written(bench.journal) == before              # the label is not back either


def test_an_entry_left_under_way_is_named(bench: Bench) -> None:
    """RAD died between sending an entry and booking it: that position is not a stranger's."""
    request = OrderRequest(
        client_oid=f"{ORPHANED}-e0", symbol=ETH, side=OrderSide.BUY, quantity=D(2), leverage=D(5),
    )
    bench.house.journal.record_intent(ORPHANED.removeprefix("rad-"), request, "e", wait=True)
    bench.house.client.place_order(request, Priority.HIGH)
    bench.house.close()
    answer = verify_alone(RunOptions())
    (difference,) = answer["differences"]
    assert (difference["kind"], difference["exchange"]) == ("unsettled", "buy, 2 of 2 filled")
    assert row(answer, "orders", ETH)["verdict"] == "differs"
    assert row(answer, "positions", ETH)["verdict"] == "differs"


def test_an_entry_that_never_left_is_no_difference(bench: Bench) -> None:
    """Written down, and RAD died before it sent: the exchange has nothing of it."""
    request = OrderRequest(client_oid=f"{ORPHANED}-e0", symbol=ETH, side=OrderSide.BUY, quantity=D(2))
    bench.house.journal.record_intent(ORPHANED.removeprefix("rad-"), request, "e", wait=True)
    bench.house.close()
    answer = verify_alone(RunOptions())
    assert answer["agree"]
    assert row(answer, "orders", ETH)["verdict"] == "under way"
    assert row(answer, "orders", ETH)["exchange"] is None


def test_alone_it_stays_out_of_a_running_daemons_way(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another RAD has the data folder, and does not answer: refused before an exchange is started or asked."""
    monkeypatch.setattr("daemon.verify_alone.exchange_of", lambda *_, **__: pytest.fail("an exchange was started"))
    with (
        Instance.claim(bench.journal.parent, bench.house.clock),
        pytest.raises(ConfigError, match="another RAD .* already works"),
    ):
        verify_alone(RunOptions())


@pytest.mark.parametrize("offset_ms", [-400, 0, 400])
def test_a_rebuilt_positions_fills_are_its_own_whatever_our_clock_says(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, offset_ms: int
) -> None:
    """Its orders are in no journal: what is booked belongs to who was there then, by the exchange's clock."""
    bench.change_journal("UPDATE intent SET order_id = '' WHERE symbol = ? AND client_oid LIKE '%-e0'", BTC)
    monkeypatch.setattr(bench.house.client, "clock_offset_ms", lambda: offset_ms)
    answer = bench.verify()
    assert answer["differences"] == []
    assert row(answer, "fees", BTC)["verdict"] == "agree"


def test_a_daemon_started_meanwhile_ends_the_comparison(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon may start while a real exchange is asked; what it does must not be read as differences."""
    started: list[Instance] = []
    measure = bench.house.client.__class__.measure_clock_offset

    def starting(client: Any) -> int:
        started.append(Instance.claim(bench.journal.parent, bench.house.clock))
        return measure(client)

    monkeypatch.setattr(bench.house.client.__class__, "measure_clock_offset", starting)
    with pytest.raises(ConfigError, match="another RAD"):
        verify_alone(RunOptions())
    started[0].release()


def test_alone_without_a_journal_it_says_so(bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No journal is no agreement, and none is made."""
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path / "empty"))
    with pytest.raises(JournalError, match="there is no journal"):
        verify_alone(RunOptions())
    assert not (tmp_path / "empty").exists()


def test_alone_it_refuses_the_journal_of_another_mode(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Play money's journal is not held against another exchange."""
    bench.house.close()
    monkeypatch.setenv("RAD_JOURNAL__URL", f"sqlite:///{bench.journal}")
    monkeypatch.setenv("RAD_MODE", "paper")
    with pytest.raises(JournalError, match="belongs to sandbox futures"):
        verify_alone(RunOptions())


# ---- the command, as a person has it ------------------------------------------------------------------

@pytest.mark.process
def test_the_command_with_the_daemon_up_and_down(tmp_path: Path) -> None:
    """Agreement is exit code 0, a difference or silence 1, whether the daemon answers or is dead."""
    with run_sandbox("synthetic", pairs=3, seed=5, match_delay_ms=0.0, visibility_delay_ms=0.0) as box:
        settings = {
            "EXCHANGE__FUTURES_URL": box.futures_url, "EXCHANGE__SPOT_URL": box.spot_url,
            "KUCOIN_API_KEY": box.key, "KUCOIN_API_SECRET": box.secret, "KUCOIN_API_PASSPHRASE": box.passphrase,
            "RECONCILE__INTERVAL": "10m",
        }
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"running positions=0")
            daemon.ask("/api/pause", {})
            daemon.ask("/api/open", {"symbol": BTC, "side": "short", "notional": "200"})
            agreed = rad(tmp_path, "verify", "--json", **settings)
            assert (agreed.returncode, json.loads(agreed.stdout)["compared_by"]) == (0, "daemon")
            SignedClient(box).order("buy", 3, symbol="ETHUSDTM")
            differing = rad(tmp_path, "verify", **settings)
            assert differing.returncode == 1
            assert "ETH/USDT:USDT  foreign" in differing.stdout
            box.fault("html", path="/api/v1/positions")
            silent = rad(tmp_path, "verify", **settings)
            assert (silent.returncode, silent.stdout) == (1, "")
            assert silent.stderr.splitlines()[-1].startswith("rad: the exchange cannot be read")
            box.control("faults", method="DELETE")
            daemon.end(signal.SIGKILL)
        down = rad(tmp_path, "verify", "--json", **settings)
        assert (down.returncode, kinds(json.loads(down.stdout))) == (1, {"foreign"})
        SignedClient(box).order("sell", 3, symbol="ETHUSDTM", reduceOnly=True)
        assert rad(tmp_path, "verify", **settings).stdout.endswith("Journal and exchange agree.\n")
    gone = rad(tmp_path, "verify", "--json", **settings)
    assert (gone.returncode, json.loads(gone.stdout)["exit_code"]) == (1, 1)
    assert gone.stderr.splitlines()[-1].startswith("rad: the exchange cannot be read")
