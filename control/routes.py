"""Every call of the API in one table: the server is built from it, and so is the document that describes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from control import fields
from control.calls import Urgency
from control.fields import Field
from control.steering import Steering
from trading.facts import ExitReason

ASK_TIMEOUT_S = 5.0
ACT_TIMEOUT_S = 60.0

EVENTS = "/api/events"
MOST_TRADES = 10_000
MOST_EVENTS = 1_000
MOST_POINTS = 2_000

Said = Mapping[str, Any]
SIDES = ("long", "short")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One call: what it takes, what it does, and how urgent it is.

    A GET's *fields* come in the query, a POST's in a JSON body. POSTs are commands: they are written
    to the log, and a browser needs more than its cookie for them.
    """

    method: str
    path: str
    summary: str
    answer: str                            # the shape of the answer, in control.shapes
    call: Callable[[Steering, Said], Any] | None = None    # None: the server answers itself
    fields: tuple[Field, ...] = ()
    urgency: Urgency = Urgency.ASK
    is_list: bool = False                  # the answer is a list of such shapes
    is_open: bool = False                  # answered without the token

    @property
    def is_command(self) -> bool:
        """Whether it changes something."""
        return self.method == "POST"

    @property
    def name(self) -> str:
        """What it is called in the log: close, blacklist/add."""
        return self.path.removeprefix("/api/")


def _ask(path: str, summary: str, answer: str, call: Callable[[Steering, Said], Any], *more: Field,
         urgency: Urgency = Urgency.ASK, is_list: bool = False) -> Route:
    return Route(method="GET", path=path, summary=summary, call=call, answer=answer, fields=more, urgency=urgency,
                 is_list=is_list)


def _tell(path: str, summary: str, answer: str, call: Callable[[Steering, Said], Any], *more: Field,
          urgency: Urgency = Urgency.EXIT) -> Route:
    return Route(method="POST", path=path, summary=summary, call=call, answer=answer, fields=more, urgency=urgency)


# What the server answers without asking the daemon.
_OWN: tuple[Route, ...] = (
    Route(method="GET", path="/healthz", summary="Whether the daemon lives and makes progress", answer="Health",
          is_open=True),
    Route(method="GET", path="/metrics", summary="Figures for Prometheus", answer="Metrics"),
    Route(method="GET", path="/api/openapi.json", summary="This document", answer="Document"),
    Route(method="POST", path="/api/login", summary="Begin a browser's session: sets its cookie", answer="Session",
          fields=(fields.text("token", "the token of control.json", longest=200, required=True),), is_open=True),
    Route(method="POST", path="/api/code", summary="A code that logs a browser in once, in the token's place",
          answer="Code"),
    Route(method="POST", path="/api/logout", summary="End a browser's session", answer="LoggedOut"),
    Route(method="GET", path="/api/session", answer="Session",
          summary="Whether this is a browser's session, and what its commands need"),
)

ROUTES: tuple[Route, ...] = (
    *_OWN,
    _ask("/api/status", "How it is doing", "Status", lambda desk, _: desk.status()),
    _ask("/api/positions", "What is open, and what protects it", "Position", lambda desk, _: desk.positions(),
         is_list=True),
    _ask("/api/opportunities", "What the latest scan found, best first", "Opportunity",
         lambda desk, _: desk.opportunities(), is_list=True),
    _ask("/api/orders", "What rests on the exchange", "Order", lambda desk, _: desk.orders(),
         urgency=Urgency.SLOW, is_list=True),
    _ask("/api/trades", "What was closed, newest first", "Trade",
         lambda desk, said: desk.trades(
             said["limit"], symbol=said["symbol"] or "", side=said["side"] or "", reason=said["reason"] or "",
             since_ms=said["since"], until_ms=said["until"],
         ),
         fields.count("limit", "how many at most", most=MOST_TRADES, default=100),
         fields.symbol("of this market only", required=False),
         fields.choice("side", "of this side only", SIDES),
         fields.choice("reason", "closed for this reason only", [reason.value for reason in ExitReason]),
         fields.moment("since", "closed then or later"),
         fields.moment("until", "closed before"),
         is_list=True),
    _ask("/api/threads", "What every thread and lock is doing", "Threads",
         lambda desk, said: desk.threads(said["stacks"] == "1"),
         fields.choice("stacks", "1: with each thread's stack", ("0", "1"))),
    _ask("/api/verify", "Compare the journal with the exchange, now", "Verify", lambda desk, _: desk.verify(),
         urgency=Urgency.SLOW),
    _ask("/api/rate", "How much of each of KuCoin's rate pools is spent", "Rate", lambda desk, _: desk.rate()),
    _ask("/api/latency", "How long exits take, by stage", "Latency", lambda desk, _: desk.latency()),
    _ask("/api/equity", "What the account was worth over time", "Equity",
         lambda desk, said: desk.equity(said["since"], said["points"]),
         fields.moment("since", "from then on; all there is without it"),
         fields.count("points", "into how many stretches of time it is divided", most=MOST_POINTS, default=500),
         urgency=Urgency.SLOW),
    _ask("/api/chart", "Candles of one market that are in memory, and what was done in it", "Chart",
         lambda desk, said: desk.chart(said["symbol"]), fields.symbol("of which market")),
    _ask(EVENTS, "What happened, oldest first; as a stream where text/event-stream is accepted", "Event",
         lambda desk, said: desk.events(said["after"], said["limit"]),
         fields.count("after", "those after the event of this number", most=10**15, default=0, least=0),
         fields.count("limit", "how many of the latest", most=MOST_EVENTS, default=100), is_list=True),
    _ask("/api/blacklist", "Which markets are never entered from scanning", "Blacklist",
         lambda desk, _: desk.blacklist()),
    _tell("/api/open", "Open a position by hand", "Position",
          lambda desk, said: desk.open(said["symbol"], said["side"], said["notional"]),
          fields.symbol("in which market"), fields.choice("side", "which way", SIDES, required=True),
          fields.amount("notional", "its size in quote currency; the usual one without it"),
          urgency=Urgency.SLOW),
    _tell("/api/close", "Close one position", "Trade", lambda desk, said: desk.close(said["symbol"]),
          fields.symbol("in which market")),
    _tell("/api/flatten", "Pause, and close everything", "Flattened", lambda desk, _: desk.flatten()),
    _tell("/api/pause", "Enter nothing from scanning any more; exits go on", "Paused",
          lambda desk, _: desk.pause()),
    _tell("/api/resume", "Enter from scanning again", "Paused", lambda desk, _: desk.resume(),
          urgency=Urgency.ASK),
    _tell("/api/reload", "Take in the settings as they are written now", "Reloaded", lambda desk, _: desk.reload(),
          urgency=Urgency.ASK),
    _tell("/api/blacklist/add", "Never enter a market from scanning; what is open in it stays", "Blacklist",
          lambda desk, said: desk.blacklist_add(said["symbol"]), fields.symbol("which market"),
          urgency=Urgency.ASK),
    _tell("/api/blacklist/remove", "Let a market be entered again", "Blacklist",
          lambda desk, said: desk.blacklist_remove(said["symbol"]), fields.symbol("which market"),
          urgency=Urgency.ASK),
)
