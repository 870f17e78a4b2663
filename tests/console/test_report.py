"""The report: what it says, from a journal written by the real one; how it looks in a browser is looked at too."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from console.__main__ import main
from console.report import DAY_MS, drawdowns, read, sum_up, sum_up_by
from runtime.events import EventFeed
from runtime.journal import SqlJournal
from runtime.journal_schema import EquityStretch
from tests.console.test_aftermath import a_trade, url_in
from tests.control.test_views import a_position
from tests.manual_clock import ManualClock
from tests.page.browser import Window, a_browser
from trading import latency
from trading.events import Kind
from trading.facts import ClosedTrade, ExitReason, Side
from trading.lifecycle import PositionState

D = Decimal
HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def journal(folder: Path, clock: ManualClock) -> Iterator[SqlJournal]:
    journal = SqlJournal(url_in(folder), clock)
    yield journal
    journal.close()


def a_life(journal: SqlJournal, clock: ManualClock, day: int, trade: ClosedTrade) -> ClosedTrade:
    """Have one trade in the journal, closed on that day of the clock."""
    closed_ms = clock.now_ms()
    trade = replace(trade, position_id=f"d{day}", opened_ms=closed_ms - 60_000, closed_ms=closed_ms)
    closed = a_position(position_id=trade.position_id, state=PositionState.CLOSED, quantity=D(0))
    journal.record_execution("", (), closed, trade)
    return trade


def written(journal: SqlJournal, clock: ManualClock) -> tuple[ClosedTrade, ...]:
    """Three days: won, lost, won; the account looked at, and not for half a day; exits and a trouble told of."""
    trades = []
    for day, (pnl, side) in enumerate(((D("12.5"), Side.LONG), (D("-30"), Side.SHORT), (D("5"), Side.LONG))):
        journal.record_equity(D(10_000) + 100 * day * (1 - 2 * (day == 2)), D(9_000))
        trades.append(a_life(journal, clock, day, a_trade(
            realised_pnl=pnl, side=side, fee=D("0.6"), r_multiple=pnl / 10,
            exit_reason=ExitReason.STOP_LOSS if pnl < 0 else ExitReason.TRAILING_STOP,
        )))
        journal.record_event(latency.KIND, latency.worded({"decided": 0.0005, "sent": 0.001 * (day + 1)}), "BTC")
        clock.advance(DAY_MS / 1000)
    journal.record_event("exchange", HOSTILE)
    journal.flush()
    return tuple(trades)


def test_figures_of_some_trades() -> None:
    """Summed exactly, after fees and funding; grouped, the best first."""
    trades = [
        a_trade(realised_pnl=D("12.5"), fee=D("0.6"), funding=D("-0.1"), r_multiple=D("1.25"), symbol="A"),
        a_trade(realised_pnl=D("-30"), fee=D("0.7"), funding=D("0"), r_multiple=D("-1"), symbol="B",
                funding_known=False),
        a_trade(realised_pnl=D("2.5"), fee=D("0.1"), funding=D("0.3"), r_multiple=D("0.25"), symbol="A"),
    ]
    total = sum_up("all", trades)
    assert (total.trades, total.wins, total.pnl, total.fees, total.funding) == (3, 2, D("-15"), D("1.4"), D("0.2"))
    assert total.profit_factor == D("0.5")                        # 15 / 30
    assert total.awaiting_funding == 1                            # and counted as none
    assert (total.best, total.worst, total.r_sum) == (D("12.5"), D("-30"), D("0.5"))
    assert [(each.name, each.pnl) for each in sum_up_by(trades, lambda trade: trade.symbol)] == [
        ("A", D("15")), ("B", D("-30")),
    ]
    assert sum_up("none", []).profit_factor is None


def test_drawdown_is_measured_from_the_highest_until_then() -> None:
    """The lowest within a stretch counts against the peak before it."""
    def stretch(last: int, lowest: int, highest: int) -> EquityStretch:
        return EquityStretch(at_ms=1, last=D(last), lowest=D(lowest), highest=D(highest))

    curve = [stretch(90, 80, 100), stretch(200, 90, 200), stretch(150, 150, 190)]
    # 80 below 100; 90 below 100, and 200 is the new peak; 150 below 200
    assert drawdowns(curve, D(100)) == [D("0.2"), D("0.1"), D("0.25")]
    assert drawdowns(curve[:1], D(0)) == [D("0.1")]               # no peak before: 90 below 100
    assert drawdowns([], D(0)) == []


def test_it_tells_what_is_in_the_journal(folder: Path, journal: SqlJournal, clock: ManualClock) -> None:
    """Trades of the days asked for, exits' latencies by stage, what happened, and when nobody looked."""
    trades = written(journal, clock)
    whole = read(url_in(folder), "paper", days=None, now_ms=clock.now_ms())
    assert whole.trades == trades
    assert whole.latencies == {"decided": [0.5] * 3, "sent": [3.0, 2.0, 1.0]}
    assert [event.kind for event in whole.events] == ["exchange"]
    assert [end - begin for begin, end in whole.gaps] == [DAY_MS, DAY_MS]
    recent = read(url_in(folder), "paper", days=2, now_ms=clock.now_ms())
    assert recent.trades == trades[1:]
    assert recent.peak_before == D(10_000)


def test_the_command_writes_one_file_for_its_owner(
    folder: Path, journal: SqlJournal, clock: ManualClock, capsys: pytest.CaptureFixture[str]
) -> None:
    """No daemon runs; the figures are also on stdout, and whatever the journal holds stays text."""
    written(journal, clock)
    file = folder / "told.html"
    assert main(["report", "--json", "--out", str(file)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told == {
        "file": str(file), "mode": "paper", "trades": 3, "realised_pnl": "-12.5", "fees": "1.8",
        "awaiting_funding": 0,
        "drawdown": "0.0297",   # from 10,100 down to 9,800
    }
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = re.sub(r"<script>.*?</script>", "", file.read_text(encoding="utf-8"), flags=re.S)
    assert "<img" not in text
    assert "&lt;img src=x" in text
    assert not [path for path in folder.iterdir() if path.suffix == ".new"]


@pytest.mark.parametrize(("out", "code"), [("no/such/folder/told.html", 1), ("", 1)])
def test_where_it_cannot_be_written_it_says_so(
    folder: Path, journal: SqlJournal, clock: ManualClock, capsys: pytest.CaptureFixture[str], out: str, code: int
) -> None:
    """One line, and nothing half written."""
    written(journal, clock)
    assert main(["report", "--out", str(folder / out)]) == code
    assert "cannot be written" in capsys.readouterr().err


def test_without_a_journal_it_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing has run here yet."""
    assert main(["report"]) == 1
    assert "there is no journal" in capsys.readouterr().err


@pytest.mark.timeout(300)
def test_it_shows_itself_in_a_browser(folder: Path, journal: SqlJournal, clock: ManualClock) -> None:
    """From the file alone: charts are drawn, hostile text does nothing, nothing is asked of anybody."""
    written(journal, clock)
    file = folder / "told.html"
    assert main(["report", "--out", str(file)]) == 0
    with a_browser() as browser:
        window = Window(browser)
        window.page.goto(file.as_uri())
        for plot in ("equity", "days", "latency"):
            window.page.locator(f"#{plot} .trace").first.wait_for()
        assert "−" not in window.text("h1")
        assert HOSTILE in window.text("section:has(h2:text('What happened'))")
        assert window.overflow() <= 0
        assert window.asked == [file.as_uri()]
        assert not window.faults
        window.close()


def test_what_was_told_is_remembered(journal: SqlJournal, clock: ManualClock) -> None:
    """Troubles and their ends go into the journal once; entries and exits are there as positions and trades."""
    from daemon.remembering import Remembrance

    feed = EventFeed(clock)
    remembrance = Remembrance(feed, journal)
    said: dict[str, Any] = {"what": "no answer"}
    feed.publish(Kind.EXCHANGE, **said)
    feed.publish(Kind.EXIT, "BTC/USDT:USDT")
    remembrance.keep()
    remembrance.keep()
    feed.publish(Kind.NAKED, "BTC/USDT:USDT")
    feed.publish(Kind.EXCHANGE, over=True, **said)
    remembrance.keep()
    journal.flush()
    assert [(event.kind, event.symbol, event.message) for event in reversed(journal.events())] == [
        ("exchange", "", "the exchange does not answer: no answer"),
        ("naked", "BTC/USDT:USDT", "has no stop on the exchange"),
        ("exchange_over", "", "the exchange answers again"),
    ]


def test_latencies_are_read_as_they_were_written() -> None:
    """In milliseconds; what is no figure is left out."""
    assert latency.read(latency.worded({"decided": 0.0001, "sent": 0.25})) == {"decided": 0.1, "sent": 250.0}
    assert latency.read("sent=fast x") == {}
