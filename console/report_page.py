"""The report as a document: tables in HTML, charts by plotly, all of it within the one file."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from decimal import Decimal
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from console.markup import Cells, Html, figures, table, tag
from console.wording import NOTHING, earned, percent, rounded, signed, since
from console.wording import price as eight_digits
from control.page import FOLDER, charts_file
from control.views import moment
from runtime.version import VERSION

if TYPE_CHECKING:
    from console.report import Result, Story
    from runtime.journal_schema import Event
    from trading.facts import ClosedTrade, Position

MOST_TRADES = 5_000
MOST_EVENTS = 1_000
_SCRIPT = Path(__file__).with_name("report.js")
_STYLE = Path(__file__).with_name("report.css")


def page(story: Story) -> str:
    """Return the whole document."""
    from console.report import drawdowns, sum_up

    falls = drawdowns(story.stretches, story.peak_before)
    total = sum_up("all", story.trades)
    return _document(
        f"RAD, {story.mode}: {_day(story.since_ms)} to {_day(story.until_ms)}",
        [
            _head(story, total, falls),
            _card("Equity and drawdown", _plot("equity", len(story.stretches) > 1), wide=True),
            *([_card("Result of each day", _plot("days", True), wide=True)] if _spans_days(story) else []),
            *_results(story),
            _card("Open when last seen", table(_POSITIONS, story.positions, "Nothing was open."), wide=True),
            _latency(story),
            _happened(story),
            _trades(story),
        ],
        _facts(story, falls),
    )


# ---- parts ----------------------------------------------------------------------------------------


def _head(story: Story, total: Result, falls: list[Decimal]) -> Html:
    first = story.stretches[0].last if story.stretches else None
    last = story.stretches[-1].last if story.stretches else None
    change = None if first is None or last is None else last - first
    won = f"{total.wins} of {total.trades}" if total.trades else NOTHING
    badge = tag("span", story.mode, class_="badge", data_tone="live" if story.mode == "live" else None)
    when = (
        f"{_time(story.since_ms)} to {_time(story.until_ms)} UTC, "
        f"{since(moment(story.since_ms), moment(story.until_ms))}. "
        "Amounts in quote currency, PnL after fees and funding."
    )
    return tag("header", tag("h1", "RAD ", badge), tag("p", when, class_="quiet"), figures([
        ("Equity", rounded(last), ""),
        ("Change", signed(change), _tone(change)),
        ("Deepest drawdown", percent(max(falls), 2) if falls else NOTHING, ""),
        ("Trades", str(total.trades), ""),
        ("Won", won, ""),
        ("PnL", earned(total.pnl, total.awaiting_funding), _tone(total.pnl)),
        ("Fees", rounded(total.fees), ""),
        ("Funding", signed(total.funding), ""),
        ("Profit factor", rounded(total.profit_factor), ""),
        ("Mean R", _mean_r(total), ""),
    ]))


def _results(story: Story) -> list[Html]:
    from console.report import sum_up_by

    if not story.trades:
        return [_card("Results", tag("p", "Nothing was closed.", class_="quiet"), wide=True)]
    of = {
        "By symbol": sum_up_by(story.trades, lambda trade: trade.symbol),
        "By reason": sum_up_by(story.trades, lambda trade: trade.exit_reason.value.replace("_", " ")),
        "By side": sum_up_by(story.trades, lambda trade: trade.side.value),
        "By strategy": sum_up_by(story.trades, lambda trade: trade.strategy or "by hand"),
    }
    return [_card(title, table(_RESULTS, rows, "")) for title, rows in of.items()]


def _latency(story: Story) -> Html:
    rows = [(stage.replace("_", " "), sorted(times)) for stage, times in story.latencies.items()]
    about = "From a price's receipt to each stage of the exit it caused, in milliseconds."
    return _card(
        "Exit latency", tag("p", about, class_="quiet"), table(_LATENCY, rows, "No price caused an exit."),
        *([_plot("latency", True)] if rows else []), wide=True,
    )


def _happened(story: Story) -> Html:
    gaps = [
        f"{_time(begin)} to {_time(end)}: {since(moment(begin), moment(end))} without a look at the account"
        for begin, end in story.gaps
    ]
    parts = []
    if gaps:
        parts.append(tag("p", "RAD did not run, or did not see the exchange:", class_="quiet"))
        parts.append(tag("ul", *(tag("li", gap) for gap in gaps)))
    if len(story.events) > MOST_EVENTS:
        parts.append(tag("p", f"The latest {MOST_EVENTS} of {len(story.events)}.", class_="quiet"))
    parts.append(table(_EVENTS, story.events[:MOST_EVENTS], "Nothing worth telling."))
    return _card("What happened", *parts, wide=True)


def _trades(story: Story) -> Html:
    latest = story.trades[::-1][:MOST_TRADES]
    more = f", the latest {MOST_TRADES} of {len(story.trades)}" if len(story.trades) > MOST_TRADES else ""
    return _card(f"Trades{more}", table(_TRADES, latest, "Nothing was closed."), wide=True)


def _card(title: str, *content: Html, wide: bool = False) -> Html:
    return tag("section", tag("h2", title), *content, class_="card wide" if wide else "card")


def _plot(name: str, has_something: bool) -> Html:
    """Return where report.js draws."""
    return tag("div", id=name, class_="plot") if has_something else tag("p", "No history.", class_="quiet")


def _spans_days(story: Story) -> bool:
    return len({_day(trade.closed_ms) for trade in story.trades}) > 1


# ---- columns --------------------------------------------------------------------------------------


def _pnl(trade: ClosedTrade) -> str:
    return _tone(trade.realised_pnl)


_TRADES: tuple[Cells, ...] = (
    Cells("Closed, UTC", lambda trade: _time(trade.closed_ms), number=False),
    Cells("Symbol", lambda trade: trade.symbol, number=False),
    Cells("Side", lambda trade: trade.side.value, number=False, tone=lambda trade: trade.side.value),
    Cells("Lots", lambda trade: rounded(trade.quantity, 0)),
    Cells("Entry", lambda trade: eight_digits(trade.entry_price)),
    Cells("Exit", lambda trade: eight_digits(trade.exit_price)),
    Cells("Reason", lambda trade: trade.exit_reason.value.replace("_", " "), number=False),
    Cells("Fee", lambda trade: rounded(trade.fee)),
    Cells("Funding", lambda trade: signed(trade.funding) if trade.funding_known else NOTHING),
    Cells("PnL", lambda trade: earned(trade.realised_pnl, not trade.funding_known), tone=_pnl),
    Cells("R", lambda trade: signed(trade.r_multiple), tone=_pnl),
    Cells("Held", lambda trade: since(moment(trade.opened_ms), moment(trade.closed_ms))),
)

_RESULTS: tuple[Cells, ...] = (
    Cells("", lambda result: result.name, number=False),
    Cells("Trades", lambda result: str(result.trades)),
    Cells("Won", lambda result: percent(result.wins / result.trades, 0)),
    Cells("PnL", lambda result: earned(result.pnl, result.awaiting_funding),
          tone=lambda result: _tone(result.pnl)),
    Cells("Fees", lambda result: rounded(result.fees)),
    Cells("Mean R", lambda result: _mean_r(result)),
    Cells("Best", lambda result: signed(result.best)),
    Cells("Worst", lambda result: signed(result.worst)),
)

_LATENCY: tuple[Cells, ...] = (
    Cells("Stage", lambda row: row[0], number=False),
    Cells("Count", lambda row: str(len(row[1]))),
    *(Cells(f"p{percent}", lambda row, percent=percent: rounded(_percentile(row[1], percent)))  # type: ignore[misc]
      for percent in (50, 95, 99)),
    Cells("Max", lambda row: rounded(row[1][-1])),
)


def _stop(position: Position) -> str:
    stop = position.protective_stop
    return "none" if stop is None else eight_digits(stop.stop_price)


_POSITIONS: tuple[Cells, ...] = (
    Cells("Opened, UTC", lambda position: _time(position.opened_ms), number=False),
    Cells("Symbol", lambda position: position.symbol, number=False),
    Cells("Side", lambda position: position.side.value, number=False, tone=lambda position: position.side.value),
    Cells("Lots", lambda position: rounded(position.quantity, 0)),
    Cells("Entry", lambda position: eight_digits(position.entry_price)),
    Cells("Stop", lambda position: eight_digits(position.stop_price)),
    Cells("On exchange", _stop, tone=lambda position: "" if position.protective_stop else "bad"),
)


def _message(event: Event) -> str:
    return event.message


_EVENTS: tuple[Cells, ...] = (
    Cells("UTC", lambda event: _time(event.at_ms), number=False),
    Cells("What", lambda event: event.kind.replace("_", " "), number=False),
    Cells("Symbol", lambda event: event.symbol or NOTHING, number=False),
    Cells("", _message, number=False),
)


# ---- the document ---------------------------------------------------------------------------------


def _facts(story: Story, falls: list[Decimal]) -> dict[str, Any]:
    """Return what the charts are drawn from."""
    days: dict[str, Decimal] = {}
    for trade in story.trades:
        day = _day(trade.closed_ms)
        days[day] = days.get(day, Decimal(0)) + trade.realised_pnl
    return {
        "equity": {
            "at": [moment(stretch.at_ms) for stretch in story.stretches],
            "equity": [float(stretch.last) for stretch in story.stretches],
            "drawdown": [-float(fall) * 100 for fall in falls],
        },
        "days": {"day": list(days), "pnl": [float(pnl) for pnl in days.values()]},
        "latency": {"sent": story.latencies.get("sent", [])},
    }


def _document(title: str, parts: Iterable[Html], facts: dict[str, Any]) -> str:
    charts = charts_file()
    library = "" if charts is None else charts.read_text(encoding="utf-8").replace("</script", "<\\/script")
    script = _SCRIPT.read_text(encoding="utf-8")
    style = (FOLDER / "page.css").read_text(encoding="utf-8") + _STYLE.read_text(encoding="utf-8")
    # What is in the journal cannot run: scripts are allowed by what they say, and these are all.
    scripts = " ".join(_hash(each) for each in (library, script))
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {scripts}; base-uri 'none'; "
        "form-action 'none'"
    )
    head = tag(
        "head", tag("meta", charset="utf-8"), tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"), tag("title", title),
        tag("style", Html(style), id="plotly.js-style-global", class_="no-inline-styles"),
    )
    told = json.dumps(facts, allow_nan=False).replace("<", "\\u003c")
    foot = tag("footer", f"Written by RAD {VERSION} from its journal.", class_="quiet")
    body = tag(
        "body", tag("main", *parts, class_="report"), foot,
        tag("script", Html(told), type="application/json", id="facts"),
        *(tag("script", Html(each)) for each in (library, script)),
    )
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


# ---- words ------------------------------------------------------------------------------------------


def _time(ms: int) -> str:
    return (moment(ms) or NOTHING)[:16].replace("T", " ")


def _day(ms: int) -> str:
    return (moment(ms) or NOTHING)[:10]


def _tone(value: Decimal | None) -> str:
    return "" if not value else "good" if value > 0 else "bad"


def _mean_r(result: Result) -> str:
    return signed(result.r_sum / result.trades) if result.trades else NOTHING


def _percentile(ordered: list[float], percent: int) -> float:
    """Return the nearest-rank percentile: the least value with *percent* of all at or below it."""
    return ordered[ceil(percent * len(ordered) / 100) - 1]
