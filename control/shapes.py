"""What the answers look like, as JSON schemas: money and quantities are decimal strings, times ISO 8601 UTC.

Answers may have more than is promised here, never less.
"""

from __future__ import annotations

from typing import Any

JsonObject = dict[str, Any]

TEXT: JsonObject = {"type": "string"}
AMOUNT: JsonObject = {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$", "example": "1250.5"}
MOMENT: JsonObject = {"type": "string", "format": "date-time", "example": "2026-01-02T03:04:05.678Z"}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
FIGURE: JsonObject = {"type": "number"}
FLAG: JsonObject = {"type": "boolean"}
SIDE: JsonObject = {"type": "string", "enum": ["long", "short"]}


def or_null(schema: JsonObject) -> JsonObject:
    """The same, or nothing known."""
    return {"anyOf": [schema, {"type": "null"}]}


def list_of(schema: JsonObject) -> JsonObject:
    """Any number of them."""
    return {"type": "array", "items": schema}


def named(schema: JsonObject) -> JsonObject:
    """Any number of them, by name."""
    return {"type": "object", "additionalProperties": schema}


def shape(about: str, **properties: JsonObject) -> JsonObject:
    """An object that always has these."""
    return {"type": "object", "description": about, "properties": properties, "required": list(properties)}


def reference(name: str) -> JsonObject:
    """One of SHAPES, by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


_POOL = shape("One of KuCoin's rate pools, in weight.", used=COUNT, quota=COUNT, waiting=COUNT, held_s=FIGURE,
              resets_in_s=FIGURE)
_TIMES = shape("Milliseconds of so many.", count=COUNT, p50=or_null(FIGURE), p95=or_null(FIGURE),
               p99=or_null(FIGURE), max=or_null(FIGURE))
_LATENCY = shape(
    "From the receipt of a price to the exit it causes, in milliseconds, whole and by stage.",
    count=COUNT, p50=or_null(FIGURE), p95=or_null(FIGURE), p99=or_null(FIGURE), max=or_null(FIGURE),
    late=COUNT, stages=named(_TIMES),
)

_THREAD = shape(
    "One thread; what only a supervised one tells is null for the others. Seconds.",
    name=TEXT, state={"type": "string", "enum": ["running", "stuck", "dead"]},
    doing=or_null({"type": "string", "enum": ["idle", "working", "wire", "rate", "lock"]}), what=TEXT,
    for_s=or_null(FIGURE), idle_s=or_null(FIGURE), heartbeat_s=or_null(FIGURE), stuck_after_s=or_null(FIGURE),
    steps=or_null(COUNT), failures=or_null(COUNT), failing_s=or_null(FIGURE), restarts=or_null(COUNT),
    last_error=TEXT, supervised=FLAG, vital=FLAG, at=or_null(TEXT),
    waits_for=or_null(shape("The lock it waits for.", lock=TEXT, held_by=TEXT)), holds=list_of(TEXT),
)
_MICROSECONDS = shape("Microseconds.", p50=or_null(FIGURE), p99=or_null(FIGURE), max=or_null(FIGURE))
_LOCK = shape(
    "One lock: how often it was taken and had to be waited for, and who holds it and waits for it now.",
    name=TEXT, acquisitions=COUNT, contended=COUNT, wait_us=_MICROSECONDS, hold_us=_MICROSECONDS,
    holder=or_null(TEXT), waiting=list_of(TEXT),
)

SHAPES: dict[str, JsonObject] = {
    "Error": shape("Why not, and the exit code of the command line that it amounts to.", error=TEXT,
                   exit_code={"type": "integer", "minimum": 1, "maximum": 5}),
    "Health": shape("Whether it makes progress; if not, who is held up.", ok=FLAG, pid=COUNT, held_up=TEXT),
    "Session": shape("A browser's session, or that there is none.", logged_in=FLAG, csrf=or_null(TEXT),
                     ends_in_s=or_null({"type": "integer"})),
    "Code": shape("What logs a browser in once, if it is soon.", code=TEXT, ends_in_s={"type": "integer"}),
    "LoggedOut": shape("The session is over.", logged_in={"const": False}),
    "Status": shape(
        "How the daemon is doing; money in quote currency.",
        state={"type": "string", "enum": ["starting", "running", "paused", "degraded", "stopping"]},
        mode=TEXT, market=TEXT, version=TEXT, equity=or_null(AMOUNT), equity_age_s=or_null(FIGURE),
        positions=COUNT, protected=COUNT,
        rate=named(_POOL), exit_latency_ms=_LATENCY, protection_gap_ms=or_null({"type": "object"}),
        problems=list_of(TEXT),
    ),
    "Position": shape(
        "One exposure: prices in quote currency, quantity in lots, base_qty in base currency.",
        symbol=TEXT, side=SIDE, state=TEXT, quantity=AMOUNT, base_qty=AMOUNT, entry_price=AMOUNT,
        price=or_null(AMOUNT), stop_price=AMOUNT, exchange_stop_price=or_null(AMOUNT), protected=FLAG,
        unrealised_pnl=or_null(AMOUNT), realised_pnl=AMOUNT, fee=AMOUNT, r_multiple=or_null(AMOUNT),
        opened_at=or_null(MOMENT), leverage=AMOUNT, strategy=TEXT, reasons=list_of(TEXT),
    ),
    "Opportunity": shape(
        "A signal worth money, when it was found.",
        symbol=TEXT, side=SIDE, score=AMOUNT, price=AMOUNT, atr=AMOUNT, spread=AMOUNT, volume_24h=AMOUNT,
        candle_at=or_null(MOMENT), strategy=TEXT, reasons=list_of(TEXT),
    ),
    "Order": shape(
        "One order as the exchange reports it.",
        symbol=TEXT, side={"type": "string", "enum": ["buy", "sell"]}, purpose=TEXT, quantity=or_null(AMOUNT),
        stop_price=or_null(AMOUNT), client_oid=TEXT, order_id=TEXT, created_at=or_null(MOMENT),
    ),
    "Trade": shape(
        "One position that has come to its end; realised_pnl is after fees and funding; that is null till known.",
        symbol=TEXT, side=SIDE, quantity=AMOUNT, entry_price=AMOUNT, exit_price=AMOUNT, opened_at=or_null(MOMENT),
        closed_at=or_null(MOMENT), exit_reason=TEXT, fee=AMOUNT, funding=or_null(AMOUNT), realised_pnl=AMOUNT,
        r_multiple=AMOUNT,
    ),
    "Threads": shape("What every thread and lock is doing; of each pool's workers a character each.",
                     threads=list_of(_THREAD), locks=list_of(_LOCK), strips=named(TEXT)),
    "Verify": shape("Whether journal and exchange agree.", agree=FLAG, differences=list_of({"type": "object"})),
    "Rate": named(_POOL),
    "Latency": _LATENCY,
    "Equity": shape(
        "The account's worth over time: the last of each stretch, its lowest, and the fraction below the peak.",
        points=list_of(shape("One stretch.", at=or_null(MOMENT), equity=AMOUNT, lowest=AMOUNT, drawdown=AMOUNT)),
    ),
    "Chart": shape(
        "Closed candles in columns of one length (`at` is when each opened), position and trades.",
        symbol=TEXT, timeframe=TEXT, at=list_of(MOMENT), open=list_of(FIGURE), high=list_of(FIGURE),
        low=list_of(FIGURE), close=list_of(FIGURE), volume=list_of(FIGURE),
        position=or_null(reference("Position")), trades=list_of(reference("Trade")),
    ),
    "Event": shape("Something that happened; numbers grow.", number=COUNT, at=or_null(MOMENT), kind=TEXT,
                   level=TEXT, symbol=or_null(TEXT), over=FLAG, text=TEXT),
    "Blacklist": shape("Markets never entered from scanning.", symbols=list_of(TEXT)),
    "Flattened": shape("What came of closing everything.", closed=list_of(reference("Trade")),
                       failed=list_of(TEXT), paused=FLAG),
    "Reloaded": shape("What has changed, and what only a restart changes.", changed=list_of({"type": "object"}),
                      needs_restart=list_of(TEXT)),
    "Paused": shape("Whether entries from scanning are off.", paused=FLAG),
}
