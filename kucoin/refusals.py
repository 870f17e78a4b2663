"""What KuCoin's codes mean, by code and, where one code means two things, by its text."""

from __future__ import annotations

from collections.abc import Mapping

from trading.errors import (
    AuthenticationFailed,
    BadResponse,
    ClockSkew,
    DuplicateClientOid,
    ExchangeError,
    ExchangeUnavailable,
    InsufficientBalance,
    NothingToClose,
    OrderNotFound,
    OrderRejected,
    OutcomeUnknown,
    RateLimited,
    RequestRefused,
    UnknownInstrument,
)

SUCCESS = "200000"
CLOCK = "400002"
RATE = "429000"
TOO_FREQUENT = "200002"
TOO_FREQUENT_MS = 10_000

AUTHENTICATION = frozenset({"400001", "400003", "400004", "400005", "400006", "400007", "400008", "400009",
                            "400010", "400303", "400500", "411100"})
BALANCE = frozenset({"200004", "230003", "300003", "330008", "102421"})
DUPLICATE = frozenset({"300018", "102426", "126044"})
NOTHING_TO_CLOSE = frozenset({"300009"})
NO_SYMBOL = frozenset({"900001", "400600"})
# A plain no to an order. Any code not named in this file leaves an order's outcome unknown.
REFUSED = frozenset({
    "100001", "100004", "102427", "102429", "102434", "102435", "200001", "200003", "300000", "300001", "300002",
    "300004", "300005", "300007", "300008", "300011", "300012", "300013", "300014", "300015", "300016", "300017",
    "330005", "330011", "330012", "400100", "400200", "400370", "400760", "404000", "415000", "600100", "600101",
    "600203",
})

_NOT_THERE = ("order not exist", "ordernotexist", "order_not_exist", "does not exist", "not exist or not allow")
_DONE_ALREADY = ("cannot be canceled", "cannot be cancelled", "not cancelable", "cannot be cancel")
_DUPLICATE_TEXT = ("clientoidduplicated", "clientoid duplicate", "duplicate clientoid")


def error_of(
    *, code: str, text: str, status: int, headers: Mapping[str, str], changes: bool
) -> ExchangeError:
    """Return the error that KuCoin's *code* and *text* amount to; *changes*: it was an order or a cancel."""
    said = f"{text or 'no reason given'}"
    lower = text.lower()
    if code in (RATE, TOO_FREQUENT) or (status == 429 and code not in REFUSED):
        return RateLimited(said, code=code, retry_after_ms=_retry_after(code, headers))
    if code == CLOCK:
        return ClockSkew(f"our clock and the exchange's are more than 5 s apart: {said}", code=code)
    if code in AUTHENTICATION:
        return AuthenticationFailed(said, code=code)
    if any(sign in lower for sign in _NOT_THERE) or (code == "100004" or any(s in lower for s in _DONE_ALREADY)):
        return OrderNotFound(said, code=code)
    if code in NO_SYMBOL:
        return UnknownInstrument(said, code=code)
    if not changes:
        known = code in REFUSED | BALANCE | DUPLICATE | NOTHING_TO_CLOSE
        return RequestRefused(said, code=code) if known else ExchangeUnavailable(said, code=code)
    return _of_an_order(code, said, lower)


def unreadable(body: str, status: int) -> ExchangeError:
    """Return the error for an answer that is not KuCoin's envelope: HTML, nothing, half a JSON."""
    start = " ".join(body[:60].split()) or "nothing"
    if status == 429:
        return RateLimited(f"HTTP 429 without an envelope: {start}", retry_after_ms=30_000)
    return BadResponse(f"unreadable answer, HTTP {status}: {start}")


def _of_an_order(code: str, said: str, lower: str) -> ExchangeError:
    if code in NOTHING_TO_CLOSE:
        return NothingToClose(said, code=code)
    if code in DUPLICATE or any(sign in lower for sign in _DUPLICATE_TEXT):
        return DuplicateClientOid(said, code=code)
    if code in BALANCE:
        return InsufficientBalance(said, code=code)
    if code in REFUSED:
        return OrderRejected(said, code=code)
    return OutcomeUnknown(said, code=code)


def _retry_after(code: str, headers: Mapping[str, str]) -> int:
    """Milliseconds to wait; 0 for a server that is merely overloaded (no rate headers)."""
    if code == TOO_FREQUENT:
        return TOO_FREQUENT_MS
    try:
        return int(headers.get("gw-ratelimit-reset", "0"))
    except ValueError:
        return 0
