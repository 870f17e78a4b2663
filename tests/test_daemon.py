"""The daemon as a person has it: a process that trades, is stopped, killed, started again."""

from __future__ import annotations

import json
import signal
import time
from contextlib import closing
from pathlib import Path

import pytest

from runtime.journal_reader import JournalReader
from sandbox.embedded import RunningSandbox, run_sandbox
from tests.daemon_process import PATIENCE_S, Daemon, rad

pytestmark = pytest.mark.process

MARKET_S = 100.0     # what the made-up market may take until a trail is hit; a dozen seconds as a rule
LIVELY = {"SANDBOX__PAIRS": "40", "SCANNER__INTERVAL": "1s", "RECONCILE__INTERVAL": "5s"}


def exchange_settings(box: RunningSandbox, **more: str) -> dict[str, str]:
    """Point RAD at an exchange of the test's own."""
    return {
        "EXCHANGE__FUTURES_URL": box.futures_url, "EXCHANGE__SPOT_URL": box.spot_url,
        "KUCOIN_API_KEY": box.key, "KUCOIN_API_SECRET": box.secret, "KUCOIN_API_PASSPHRASE": box.passphrase,
        "SCANNER__INTERVAL": "1s", "RECONCILE__INTERVAL": "5s", **more,
    }


@pytest.mark.timeout(300)
def test_it_trades_on_its_own_exchange_and_ends_by_itself(tmp_path: Path) -> None:
    """With nothing configured: a scan, an entry, a trailed stop and an exit; then verify agrees."""
    with Daemon(tmp_path, "--for", "200", cold=True, **LIVELY) as daemon:
        daemon.await_line(r"scan done pairs=40")
        daemon.await_line(r"entry filled side=(long|short)")
        daemon.await_line(r"stop rests on the exchange")
        daemon.await_line(r"stop moved .*reason=trailing_stop", MARKET_S)
        daemon.await_line(r"closed side=.* reason=trailing_stop", MARKET_S)
        status = daemon.ask("/api/status")
        assert status["state"] == "running"
        assert status["mode"] == "sandbox"
        # One opened this moment has no stop yet.
        assert all(problem.endswith("no stop on the exchange yet") for problem in status["problems"])
        assert daemon.end() == 0
        assert "RAD has ended" in daemon.text()
        assert "Traceback" not in daemon.text()
    trades = json.loads(rad(tmp_path, "trades", "--json", **LIVELY).stdout)
    assert trades[0]["exit_reason"] == "trailing_stop"
    verified = rad(tmp_path, "verify", "--json", cold=True, **LIVELY)
    assert (verified.returncode, json.loads(verified.stdout)["differences"]) == (0, [])


def test_a_killed_daemon_goes_on_where_it_was(tmp_path: Path) -> None:
    """kill -9 in the middle of a position: the next start takes it up with its stop, and is paused as it was."""
    with run_sandbox("synthetic", pairs=12, seed=5, volatility=14.0) as box:
        settings = exchange_settings(box, POSITIONS__MAX_OPEN="1", LIMITS__COOLDOWN="10m")
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"running positions=0")
            daemon.ask("/api/pause", {})
            daemon.ask("/api/open", {"symbol": "XBTUSDTM", "side": "long"})
            (before,) = daemon.ask("/api/positions")
            assert before["protected"]
            daemon.end(signal.SIGKILL)
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"BTC/USDT:USDT taken up again side=long")
            daemon.await_line(r"running positions=1 recovered=1")
            (after,) = daemon.ask("/api/positions")
            same = ("position_id", "quantity", "entry_price", "opened_at", "side")
            assert {name: after[name] for name in same} == {name: before[name] for name in same}
            assert float(after["stop_price"]) >= float(before["stop_price"])
            status = daemon.ask("/api/status")
            assert (status["state"], status["entries_blocked"]) == ("paused", "paused")
            trade = daemon.ask("/api/close", {"symbol": "BTC/USDT:USDT"})
            assert trade["exit_reason"] == "manual"
            assert daemon.ask("/api/verify")["differences"] == []
            assert daemon.end() == 0
        fills = [event for event in box.history("fill") if event["symbol"] == "XBTUSDTM"]
        assert len({event["order_id"] for event in fills}) == 2       # one entry, one exit, nothing doubled


def test_a_stop_that_fired_while_it_was_down_is_booked(tmp_path: Path) -> None:
    """Killed, the price falls through the resting stop, started again: closed by exchange_stop."""
    with run_sandbox("synthetic", pairs=12, seed=5, volatility=1.0) as box:
        settings = exchange_settings(box)
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"running positions=0")
            daemon.ask("/api/pause", {})
            opened = daemon.ask("/api/open", {"symbol": "ETH/USDT:USDT", "side": "long"})
            daemon.end(signal.SIGKILL)
        fallen = float(opened["stop_price"]) * 0.97
        box.set_price("ETHUSDTM", round(fallen, 2))
        with Daemon(tmp_path, **settings) as daemon:
            for _ in range(2):        # the monitor may be as fast as the first reconciliation
                daemon.await_line(r"ETH/USDT:USDT closed .*reason=exchange_stop|running positions=. recovered=1")
            assert daemon.ask("/api/trades")[0]["exit_reason"] == "exchange_stop"
            daemon.ask("/api/pause", {})
            assert daemon.end() == 0


def test_flatten_closes_everything_and_pauses(tmp_path: Path) -> None:
    """Three positions opened by hand are flat after one command, and nothing is entered afterwards."""
    with run_sandbox("synthetic", pairs=12, seed=5, volatility=1.0) as box:
        settings = exchange_settings(box)
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"running positions=0")
            daemon.ask("/api/pause", {})
            for symbol in ("XBTUSDTM", "ETHUSDTM", "SOLUSDTM"):
                daemon.ask("/api/open", {"symbol": symbol, "side": "short", "notional": "200"})
            answer = daemon.ask("/api/flatten", {})
            assert len(answer["closed"]) == 3
            assert answer["failed"] == []
            assert daemon.ask("/api/positions") == []
            assert daemon.ask("/api/status")["state"] == "paused"
            assert daemon.ask("/api/verify")["differences"] == []
        assert [account["stops"] for account in box.state()["accounts"]] == [[]]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"KUCOIN_API_KEY": "nobody"}, "400003"),
        ({"KUCOIN_API_PASSPHRASE": "wrong"}, "400004"),
        ({"KUCOIN_API_SECRET": "wrong"}, "40000[45]"),
    ],
)
def test_a_wrong_key_is_one_line_and_exit_code_4(tmp_path: Path, wrong: dict[str, str], said: str) -> None:
    """What KuCoin says about the key is said once, without a traceback and without the key."""
    with run_sandbox("synthetic", pairs=3, seed=5) as box:
        with Daemon(tmp_path, **{**exchange_settings(box), **wrong}) as daemon:
            daemon.await_line(rf"^rad: .*{said}")
            assert daemon.await_end() == 4
        assert "Traceback" not in daemon.text()
        assert box.secret not in daemon.text()


def test_a_clock_ten_seconds_off_is_signed_by_the_exchanges_time(tmp_path: Path) -> None:
    """RAD measures the difference at start, warns, and trades all the same."""
    with run_sandbox("synthetic", pairs=3, seed=5) as box:
        box.control("clock", {"offset_ms": 10_000})
        with Daemon(tmp_path, **exchange_settings(box)) as daemon:
            daemon.await_line(r"clock differs from the exchange's ahead_by=-(9[89]|10[0-2])\d+ms")
            daemon.await_line(r"running positions=0")
            assert daemon.end() == 0


def test_a_second_instance_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    """Two daemons on one data folder: the second says who holds it and ends with 4."""
    with run_sandbox("synthetic", pairs=3, seed=5) as box:
        settings = exchange_settings(box)
        with Daemon(tmp_path, **settings) as first:
            first.await_line(r"running positions=0")
            with Daemon(tmp_path, **settings) as second:
                second.await_line(rf"^rad: .*{first.process.pid}")
                assert second.await_end() == 4
            assert first.ask("/api/status")["state"] == "running"
            assert first.end(signal.SIGTERM) == 0


def test_a_scan_beside_the_daemon_scans_its_market(tmp_path: Path) -> None:
    """One scan, printed, while the daemon holds the data folder: of the exchange it has started."""
    with Daemon(tmp_path, **LIVELY) as daemon:
        daemon.await_line(r"running positions=0")
        alone = {**LIVELY, "SANDBOX__PAIRS": "1", "SCANNER__THRESHOLD": "0.01"}
        scanned = rad(tmp_path, "scan", "--once", "--json", **alone)
        assert scanned.returncode == 0, scanned.stderr
        assert len(json.loads(scanned.stdout)) > 1         # a market of its own would have one pair
        assert daemon.ask("/api/status")["state"] == "running"
        assert daemon.end() == 0


def test_a_scan_alone_writes_nothing(tmp_path: Path) -> None:
    """Without a daemon it starts a market of its own and leaves no file behind."""
    alone = {"SANDBOX__PAIRS": "12", "SCANNER__THRESHOLD": "0.1"}
    scanned = rad(tmp_path, "scan", "--once", "--json", cold=True, **alone)
    assert scanned.returncode == 0, scanned.stderr
    assert json.loads(scanned.stdout)
    assert not (tmp_path / "data").exists()


def test_an_exchange_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """Started before its exchange answers, RAD says so and waits; Ctrl-C still ends it at once."""
    settings = {
        "EXCHANGE__FUTURES_URL": "http://127.0.0.1:9", "EXCHANGE__SPOT_URL": "http://127.0.0.1:9",
        "KUCOIN_API_KEY": "key", "KUCOIN_API_SECRET": "secret", "KUCOIN_API_PASSPHRASE": "passphrase",
    }
    with Daemon(tmp_path, **settings) as daemon:
        daemon.await_line(r"exchange not ready, again in")
        assert daemon.ask("/api/status")["state"] == "starting"
        assert daemon.end() == 0


def test_a_broken_config_names_every_fault(tmp_path: Path) -> None:
    """All faults at once, with their keys, exit code 4, nothing written."""
    config = tmp_path / "mine.yaml"
    config.write_text("scanner: {workers: many}\nexits: {stop_loss: 2 percent}\nnonsense: 1\n")
    with Daemon(tmp_path, "--config", str(config)) as daemon:
        assert daemon.await_end() == 4
    for key in ("scanner.workers", "exits.stop_loss", "nonsense"):
        assert key in daemon.text()
    assert "Traceback" not in daemon.text()
    assert not (tmp_path / "data").exists()


def test_a_filter_that_lets_no_pair_pass_is_said_once(tmp_path: Path) -> None:
    """One warning however many scans, and a problem in the status."""
    with run_sandbox("synthetic", pairs=3, seed=5) as box:
        settings = exchange_settings(
            box, SCANNER__INCLUDE="[NOPE*]", SCANNER__INTERVAL="1s", LOG__LEVEL="debug"
        )
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"WARN .* no pair passes the scanner's filter")
            for _ in range(2):
                daemon.await_line(r"scan done pairs=0 of=0")
            (problem,) = daemon.ask("/api/status")["problems"]
            assert problem.startswith("universe: no pair passes")
            assert daemon.end() == 0
        assert daemon.text().count("no pair passes") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("open", "NOSUCHUSDTM", "--side", "long"), 2, "NOSUCHUSDTM"),
        (("open", "XBTUSDTM", "--side", "long", "--notional", "1"), 1, "smallest order"),
        (("close", "ETHUSDTM"), 2, "no position"),
    ],
)
def test_orders_that_cannot_be_are_one_clear_line(
    tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """Unknown symbol, below the minimum, nothing to close: one line, the right exit code, nothing sent."""
    with run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box:
        settings = exchange_settings(box)
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"running positions=0")
            daemon.ask("/api/pause", {})
            answer = rad(tmp_path, *arguments, **settings)
            assert answer.returncode == code, answer.stderr
            assert said in answer.stderr
            assert len(answer.stderr.strip().splitlines()) == 1
        refused = {event["symbol"] for event in box.history("order_accepted")}
        assert refused <= {event["symbol"] for event in box.history("fill")}


def test_entries_that_are_all_refused_say_why(tmp_path: Path) -> None:
    """An account without money: one line says so, however many scans find something."""
    with run_sandbox("synthetic", pairs=12, seed=5, volatility=14.0) as box:
        box.control("account", {"balance": "0"})
        with Daemon(tmp_path, **exchange_settings(box, SCANNER__INTERVAL="1s", LOG__LEVEL="debug")) as daemon:
            daemon.await_line(r"nothing opened first_reason=no balance: 0.00 of 0.00 USDT are available")
            for _ in range(2):
                daemon.await_line(r"scan consumed .* opened=0")
            assert daemon.end() == 0
        assert daemon.text().count("nothing opened") == 1


def test_no_balance_is_a_refusal_not_an_error(tmp_path: Path) -> None:
    """An empty account: open by hand says so, nothing is reserved, the daemon goes on."""
    with run_sandbox("synthetic", pairs=6, seed=5, volatility=1.0) as box:
        box.control("account", {"balance": "0.5"})
        settings = exchange_settings(box)
        with Daemon(tmp_path, **settings) as daemon:
            daemon.await_line(r"running positions=0")
            answer = rad(tmp_path, "open", "XBTUSDTM", "--side", "long", **settings)
            assert answer.returncode == 1
            assert "smallest order" in answer.stderr
            assert daemon.ask("/api/status")["state"] == "running"


def await_gone(pid: int) -> None:
    """Wait until process *pid* has ended: nobody's child here, so that only looking tells."""
    give_up = time.monotonic() + 10
    while time.monotonic() < give_up:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            return
        if state == "Z":                 # ended; whose child it became has not looked
            return
        time.sleep(0.01)
    raise AssertionError(f"process {pid} still runs")


def await_written(file: Path, symbol: str) -> None:
    """Return once a position in *symbol* is on disk: its stop does not wait for that."""
    deadline = time.monotonic() + PATIENCE_S
    with closing(JournalReader.open(f"sqlite:///{file}")) as reader:
        while symbol not in {held.symbol for held in reader.open_positions()}:
            assert time.monotonic() < deadline, f"{symbol} is not in the journal"


@pytest.mark.timeout(300)
def test_recorded_candles_are_traded_and_verified(tmp_path: Path, shared_dir: Path) -> None:
    """The crash of May 2021, replayed: killed with a position open, taken up again, three trades, all agrees."""
    recorded = tmp_path / "candles"
    recorded.mkdir()
    for coin in ("BTC", "ETH", "ADA", "DOT", "LINK", "LTC", "SOL", "XRP"):     # a few, for the time it takes
        name = f"{coin}-USDT_5m.csv.gz"
        (recorded / name).symlink_to(shared_dir / "data" / "ohlcv" / "binance_spot_5m" / name)
    settings = {
        **LIVELY, "SANDBOX__REPLAY": str(recorded),
        "EXITS__MAX_AGE": "5s", "EXITS__TRAILING__ACTIVATE": "0.1%", "EXITS__TRAILING__DISTANCE": "0.1%",
        "LIMITS__COOLDOWN": "none", "LIMITS__LOSSES_IN_A_ROW": "none", "SCANNER__THRESHOLD": "0.1",
        "POSITIONS__MAX_OPEN": "3",
    }
    with Daemon(tmp_path, **settings) as daemon:
        exchange = int(daemon.await_line(r"embedded exchange ready .*pid=(\d+)")[1])
        daemon.await_line(r"entry filled side=")
        symbol = daemon.await_line(r" (\S+) stop rests on the exchange")[1]
        await_written(tmp_path / "data" / "journal-sandbox.sqlite", symbol)
        daemon.end(signal.SIGKILL)
    await_gone(exchange)                 # it keeps its books as it ends
    with Daemon(tmp_path, **settings) as daemon:
        daemon.await_line(rf"{symbol} taken up again side=")
        for _ in range(3):
            daemon.await_line(r" closed side=", MARKET_S)
        daemon.ask("/api/pause", {})
        assert daemon.end() == 0
    trades = json.loads(rad(tmp_path, "trades", "--json", **settings).stdout)
    assert len(trades) >= 3
    assert symbol in {trade["symbol"] for trade in trades}
    verified = rad(tmp_path, "verify", "--json", **settings)
    assert verified.returncode == 0, verified.stdout
