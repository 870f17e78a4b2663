"""What `top` draws: the facts and the look as rows of exactly the terminal's size. Pure but for the time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.console import RenderableType
from rich.layout import Layout
from rich.text import Text

from console import screens, top_keys
from console.tables import Column
from console.threads import LOCKS, is_in_strip
from console.threads import THREADS as THREAD_COLUMNS
from console.top_feed import EVERY_S, Facts
from console.top_keys import Look
from console.top_parts import cut, heading, lines_of, pair, part
from console.wording import NOTHING, colour_of, earned, percent, since, text, when, worth
from console.wording import price as price_in_words
from control.thread_views import MEANINGS

JsonObject = dict[str, Any]

STALE_S = 3.0                  # older answers are none
WIDE = 120                     # from here on two columns
MOST_PROBLEMS = 3
BAR = 10                       # characters of a rate pool's bar
KEYS = "p pause  r resume  c close  C flatten  t threads  l locks/log  ? help  q quit"

_PRICED = "is_priced"          # in a position's row: its price is one to go by

_MARKS = {".": "dim", "w": "green", "r": "yellow", "c": "cyan", "L": "bold red", "!": "bold red", "x": "bold red"}
_LEVELS = {"warning": "yellow", "critical": "bold red"}
_LOG_LEVELS = {"WARN": "yellow", "ERROR": "red", "FATAL": "bold red"}
HELP = (
    ("p", "pause: nothing is entered from scanning any more; exits and stops go on"),
    ("r", "resume: enter from scanning again"),
    ("c", "close one position: choose it with the arrows or its number, Enter closes, Esc does not"),
    ("C, f", "flatten: pause and close everything, once you have typed the word"),
    ("t", "threads: what each does, and the scan workers as a strip"),
    ("l", "locks: how long each is waited for and held; once more: the log"),
    ("Esc", "back to the first page"),
    ("q", "quit; RAD trades on"),
    ("", ""),
    ("strip", "  ".join(f"{mark} {meaning}" for mark, meaning in MEANINGS.items())),
    ("stop", "RAD's own, moved with the price; `on exchange` rests at KuCoin and outlives RAD"),
    ("R", "profit in multiples of what was at risk at entry"),
)


def screen(facts: Facts, look: Look, width: int, height: int, now: float) -> RenderableType:
    """Return everything, *height* rows of *width*; *now* is monotonic."""
    stale = facts.age_s(now) > STALE_S
    head, foot = _head(facts, width, stale, now), _foot(facts, look, width)
    room = max(1, height - len(head) - len(foot))
    layout = Layout()
    layout.split_column(
        Layout(lines_of(head), size=len(head)),
        Layout(_body(_aged(facts, now), look, width, room, stale), size=room),
        Layout(lines_of(foot), size=len(foot)),
    )
    return layout


def _body(facts: Facts, look: Look, width: int, height: int, stale: bool) -> RenderableType:
    if look.page == top_keys.HELP:
        return lines_of([pair(key, meaning) for key, meaning in HELP])
    if look.page == top_keys.LOG:
        return _log(facts.log, height)
    if stale:
        return _silence(facts)
    threads: JsonObject = facts.answers.get("threads") or {}
    if look.page == top_keys.THREADS:
        return _threads(threads, width, height)
    if look.page == top_keys.LOCKS:
        return part("Locks", LOCKS, threads.get("locks"), width, height)
    return _main(facts.answers, look, width, height)


# ---- head and foot -------------------------------------------------------------------------------


def _head(facts: Facts, width: int, stale: bool, now: float) -> list[Text]:
    """Return state and account; without fresh answers no figure of theirs, but for how long there were none."""
    status: JsonObject = facts.answers.get("status") or {}
    title = Text("RAD ", style="bold")
    title.append(f"{text(status.get('version'))}  ")
    if stale:
        word = "DOWN" if facts.is_down else "NO ANSWER" if facts.answers else "CONNECTING"
        title.append(word, style="bold red")
        if facts.answers:
            title.append(f"  for {facts.age_s(now):.0f} s", style="bold red")
        trouble = "" if facts.is_down else facts.trouble
        return [_clock(title, width), Text(trouble, style="red"), Text("")]
    mode = text(status.get("mode"))
    title.append(f"{mode} {text(status.get('market'))}  ", style="bold red" if mode == "live" else "")
    state = text(status.get("state"))
    title.append(state, style=screens.STATE_COLOURS.get(state, ""))
    title.append(f"  up {since(status.get('started_at'))}")
    lines = [_clock(title, width), _account(status)]
    blocked = status.get("entries_blocked")
    problems = [text(each) for each in status.get("problems") or ()]
    for problem in problems[:MOST_PROBLEMS]:
        lines.append(Text(f"! {problem}", style="bold red"))
    if len(problems) > MOST_PROBLEMS:
        lines.append(Text(f"! and {len(problems) - MOST_PROBLEMS} more: ./rad status", style="bold red"))
    lines.append(Text(f"entries blocked: {blocked}", style="yellow") if blocked else Text(""))
    return [cut(line, width) for line in lines]


def _account(status: JsonObject) -> Text:
    line = Text("equity ")
    line.append(worth(status), style="bold")
    line.append("  drawdown ")
    fallen = status.get("drawdown")
    line.append(percent(fallen, 2), style="yellow" if fallen and Decimal(str(fallen)) > 0 else "")
    line.append("  realised ")
    made = status.get("realised_pnl")
    line.append(earned(made, status.get("awaiting_funding")), style=colour_of(made))
    line.append(f"  trades {text(status.get('trades'))}  ")
    positions, protected = status.get("positions") or 0, status.get("protected") or 0
    line.append(f"open {positions}, {protected} protected", style="bold red" if protected < positions else "")
    return line


def _clock(title: Text, width: int) -> Text:
    told = datetime.now(UTC).strftime("%H:%M:%S UTC")
    title = cut(title, max(0, width - len(told) - 1))
    title.append(" " * max(1, width - title.cell_len - len(told)))
    title.append(told, style="dim")
    return title


def _foot(facts: Facts, look: Look, width: int) -> list[Text]:
    """Return what is asked or was answered, and the keys."""
    if look.asks == top_keys.CLOSE:
        asked = Text(f"Close {look.chosen}?  Enter: yes   arrows or number: another   Esc: no",
                     style="bold reverse")
    elif look.asks == top_keys.FLATTEN:
        asked = Text(f"Close EVERYTHING and pause? Type flatten and Enter, Esc: no > {look.typed}_",
                     style="bold reverse red")
    elif look.note:
        asked = Text(look.note, style="yellow")
    else:
        said, went_well = facts.note
        asked = Text(said, style="green" if went_well else "bold red")
    return [cut(asked, width), cut(Text(KEYS, style="dim"), width)]


def _silence(facts: Facts) -> RenderableType:
    what = "The daemon does not run: ./rad run starts it." if facts.is_down else "No fresh answer from the daemon."
    lines = ["", what]
    if facts.answers:
        lines += ["What it said last is too old to be shown. Positions keep their stops on the exchange.",
                  "The log: l, l."]
    return lines_of([Text(line) for line in lines])


# ---- the first page ------------------------------------------------------------------------------


def _aged(facts: Facts, now: float) -> Facts:
    """Return *facts* with each price as old as it is by now, and whether it is one to go by."""
    limit_s = (facts.answers.get("status") or {}).get("stale_after_s")
    rows = [_aged_row(row, facts.age_s(now), limit_s) for row in facts.answers.get("positions") or ()]
    return replace(facts, answers={**facts.answers, "positions": rows}) if rows else facts


def _aged_row(row: JsonObject, since_s: float, limit_s: float | None) -> JsonObject:
    age_s = row.get("price_age_s")
    if age_s is None:
        return row | {_PRICED: False}
    age_s += since_s
    is_fresh = limit_s is not None and age_s <= limit_s + EVERY_S      # a second is for the asking
    return row | {"price_age_s": age_s, _PRICED: is_fresh and row.get("price") is not None}


def _is_priced(row: JsonObject) -> bool:
    """Whether the price is fresh enough to value the position at."""
    return bool(row[_PRICED])


def _age(row: JsonObject) -> str:
    age_s = row.get("price_age_s")
    if age_s is None:
        return NOTHING
    return f"{age_s:.1f} s" if _is_priced(row) else f"STALE {age_s:.0f} s"


def _valued(column: Column) -> Column:
    """Return a column that shows nothing where the price is too old to say it."""
    style = column.style
    return replace(
        column, cell=lambda row: column.cell(row) if _is_priced(row) else NOTHING,
        style=None if style is None else lambda row: style(row) if _is_priced(row) else "",
    )


def _positions_columns(look: Look, numbers: Mapping[str, int]) -> tuple[Column, ...]:
    # The first six are the table of `./rad positions`, in its order and words.
    symbol, side, quantity, entry, price, stop, resting, r_multiple, pnl, held = screens.POSITIONS
    marked = Column(
        "symbol",
        lambda row: f"{numbers[row['symbol']]} {symbol.cell(row)}" if look.asks else symbol.cell(row),
        style=lambda row: "reverse" if look.asks and row.get("symbol") == look.chosen else "",
    )
    age = Column("age", _age, right=True, spare=1, style=lambda row: "" if _is_priced(row) else "bold red")
    share = Column("%", lambda row: percent(_share(row), 1), right=True, spare=5,
                   style=lambda row: colour_of(row.get("unrealised_pnl")))
    return (marked, side, quantity, _priced(replace(entry, spare=2), "entry_price"), _valued(price), age, stop,
            resting, _valued(r_multiple), _valued(pnl), _valued(share), replace(held, spare=6))


def _priced(column: Column, key: str) -> Column:
    """Return a column of prices in digits that count: averages of fills have many more."""
    return replace(column, cell=lambda row: price_in_words(row.get(key)))


def _share(row: JsonObject) -> Decimal | None:
    """Return profit over what the position was worth at entry."""
    said = [row.get(name) for name in ("unrealised_pnl", "base_qty", "entry_price")]
    if None in said:
        return None
    pnl, base_qty, entry = (Decimal(str(each)) for each in said)
    return pnl / (base_qty * entry) if base_qty * entry else None


def _main(answers: Mapping[str, Any], look: Look, width: int, height: int) -> RenderableType:
    positions = answers.get("positions")
    rows = positions or ()
    numbers = {row.get("symbol", ""): number for number, row in enumerate(rows, 1)}
    figures = _figures(answers, width)
    wanted = len(rows) + 2
    of_positions = max(4, min(wanted, (height - len(figures)) * 3 // 5))
    rest = max(0, height - of_positions - len(figures))
    layout = Layout()
    layout.split_column(
        Layout(part("Positions", _positions_columns(look, numbers), positions, width, of_positions,
                     keep=numbers.get(look.chosen, 1) - 1 if look.asks else 0), size=of_positions),
        Layout(lines_of(figures), size=len(figures)),
        Layout(_lower(answers, width, rest), size=max(1, rest)),
    )
    return layout


def _lower(answers: Mapping[str, Any], width: int, height: int) -> RenderableType:
    opportunities, trades = answers.get("opportunities"), answers.get("trades")
    told = answers.get("events")
    events = None if told is None else list(reversed(told))
    layout = Layout()
    if width < WIDE:
        third = height // 3
        layout.split_column(
            Layout(part("Opportunities", _SHORT_OPPORTUNITIES, opportunities, width, third), size=max(1, third)),
            Layout(part("Trades", _TRADES, trades, width, third), size=max(1, third)),
            Layout(_events(events, width, height - 2 * third), size=max(1, height - 2 * third)),
        )
        return layout
    half = width // 2
    upper = height * 3 // 5
    columns = Layout(size=max(1, upper))
    columns.split_row(
        Layout(part("Opportunities", screens.OPPORTUNITIES, opportunities, half - 1, upper), size=half),
        Layout(part("Trades", _TRADES, trades, width - half, upper)),
    )
    layout.split_column(columns, Layout(_events(events, width, height - upper), size=max(1, height - upper)))
    return layout


_SHORT_OPPORTUNITIES = tuple(column for column in screens.OPPORTUNITIES if column.title != "because")
_PRICES = {"entry": "entry_price", "exit": "exit_price"}
_TRADES = tuple(
    _priced(column, _PRICES[column.title]) if column.title in _PRICES else column for column in screens.TRADES
)


def _events(events: Sequence[JsonObject] | None, width: int, height: int) -> RenderableType:
    lines = [heading("Events")]
    if events is None:
        return lines_of([*lines, Text("no answer", style="red")])
    for event in events[: max(0, height - 1)]:
        style = _LEVELS.get(text(event.get("level")), "")
        told = " ".join(text(event.get("text")).split())
        symbol = f"{event['symbol']} " if event.get("symbol") and str(event["symbol"]) not in told else ""
        lines.append(cut(Text(f"{when(event.get('at'))}  {symbol}{told}", style=style), width))
    return lines_of(lines if len(lines) > 1 else [*lines, Text("none yet", style="dim")])


def _figures(answers: Mapping[str, Any], width: int) -> list[Text]:
    """Return rate pools, exit latency and the scan workers, a line each."""
    status: JsonObject = answers.get("status") or {}
    return [cut(line, width) for line in (
        _rates(status.get("rate") or {}, width), _latency(status.get("exit_latency_ms") or {}),
        _strip(answers.get("threads") or {}),
    )]


def _rates(pools: Mapping[str, JsonObject], width: int) -> Text:
    line = Text("rate   ", style="bold")
    for pool, use in pools.items():
        used, quota = float(use.get("used") or 0), float(use.get("quota") or 0)
        share = used / quota if quota else 0.0
        style = "bold red" if share > 0.9 else "yellow" if share > 0.7 else "green"
        line.append(f"{pool} ")
        if width >= WIDE:
            line.append("█" * round(share * BAR) + "░" * (BAR - round(share * BAR)) + " ", style=style)
        line.append(f"{share:.0%}", style=style)
        if use.get("waiting"):
            line.append(f" ({use['waiting']} wait)", style="yellow")
        line.append("  ")
    return line


def _latency(figures: JsonObject) -> Text:
    line = Text("exits  ", style="bold")
    stages: Mapping[str, JsonObject] = figures.get("stages") or {}
    said = [f"{name} {stage['p99']:.1f}" for name, stage in stages.items() if stage.get("p99") is not None]
    if figures.get("p50") is None:
        line.append("none yet", style="dim")
        return line
    line.append(f"p50 {figures['p50']:.1f}  p99 {figures['p99']:.1f}  max {figures['max']:.1f} ms to the wire")
    if figures.get("late"):
        line.append(f", {figures['late']} late", style="yellow")
    line.append(f"  (p99 by stage: {', '.join(said)})" if said else "", style="dim")
    return line


def _strip(threads: JsonObject) -> Text:
    line = Text("scan   ", style="bold")
    _add_strip(line, (threads.get("strips") or {}).get("scan") or "")
    bad = [row["name"] for row in threads.get("threads") or () if row.get("state") in ("stuck", "dead")]
    if bad:
        line.append(f"  no progress: {', '.join(bad)}", style="bold red")
    held = [lock for lock in threads.get("locks") or () if lock.get("holder")]
    if held:
        line.append("  locks held: " + ", ".join(f"{lock['name']} by {lock['holder']}" for lock in held[:3]))
    return line


# ---- the other pages -----------------------------------------------------------------------------

def _threads(facts: JsonObject, width: int, height: int) -> RenderableType:
    strips = facts.get("strips") or {}
    head = [_named_strip(name, strip) for name, strip in strips.items()]
    room = max(1, height - len(head))
    rows = facts.get("threads")
    shown = None if rows is None else [row for row in rows if not is_in_strip(row)]
    layout = Layout()
    parts = [Layout(part("Threads", THREAD_COLUMNS, shown, width, room), size=room)]
    if head:
        parts.insert(0, Layout(lines_of([cut(line, width) for line in head]), size=len(head)))
    layout.split_column(*parts)
    return layout


def _named_strip(name: str, strip: str) -> Text:
    line = Text(f"{name:<9}", style="bold")
    _add_strip(line, strip)
    return line


def _add_strip(line: Text, strip: str) -> None:
    for mark in text(strip):
        line.append(mark, style=_MARKS.get(mark, ""))


def _log(lines: Sequence[str], height: int) -> RenderableType:
    if not lines:
        return lines_of([heading("Log"), Text("There is no log file that can be read here.", style="dim")])
    shown = [heading("Log")]
    for line in lines[-max(1, height - 1):]:
        words = line.split(None, 2)
        shown.append(cut(Text(line, style=_LOG_LEVELS.get(words[1], "") if len(words) > 1 else ""), 10_000))
    return lines_of(shown)
