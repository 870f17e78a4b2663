"""What KuCoin's codes mean, by code and, where one code means two things, by its text."""

from __future__ import annotations

from collections.abc import Mapping

from kucoin.endpoints import Effect
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
    TooLarge,
    TooManyStops,
    UnknownInstrument,
)

SUCCESS = "200000"
CLOCK = "400002"
RATE = "429000"
TOO_FREQUENT = "200002"
TOO_FREQUENT_MS = 10_000
LONGEST = 500                  # characters of a reason; KuCoin's own have a fifth of it
CLOUDFLARE_MS = 30_000         # how long its own 429 blocks an address

AUTHENTICATION = frozenset({"400001", "400003", "400004", "400005", "400006", "400007", "400008", "400009",
                            "400010", "400303", "400500", "411100"})
BALANCE = frozenset({"200004", "230003", "300003", "330008", "102421"})
DUPLICATE = frozenset({"300018", "102426", "126044"})
NOTHING_TO_CLOSE = frozenset({"300009"})
TOO_LARGE = frozenset({"300005", "300011", "300012"})
TOO_MANY_STOPS = frozenset({"300004"})
NO_SYMBOL = frozenset({"900001", "400600"})
DONE_ALREADY = frozenset({"100004"})
# "order not exist" among other things: the text decides.
MAYBE_NOT_THERE = frozenset({"100001", "400100", "102436", "300000"})
# A plain no to an order. Any code not named in this file leaves an order's outcome unknown.
REFUSED = frozenset({
    "100001", "100004", "102427", "102429", "102434", "102435", "102436", "200001", "200003", "300000", "300001",
    "300002", "300004", "300005", "300007", "300008", "300011", "300012", "300013", "300014", "300015", "300016",
    "300017", "330005", "330011", "330012", "400100", "400200", "400370", "400760", "404000", "415000", "600100",
    "600101", "600203",
})

_NOT_THERE = ("order not exist", "ordernotexist", "order_not_exist", "order does not exist")
_DONE_ALREADY = ("cannot be cancel", "not cancelable")
_TOO_LARGE_TEXT = ("size cannot exceed", "size exceed", "exceeds the max", "exceed max", "maxorderqty")
_DUPLICATE_TEXT = ("clientoidduplicated", "clientoid duplicate", "duplicate clientoid")


def error_of(
    *, code: str, text: str, status: int, headers: Mapping[str, str], effect: Effect
) -> ExchangeError:
    """Return the error that KuCoin's *code* and *text* amount to, for a request with that *effect*."""
    said = _shown(text) or "no reason given"
    if code in (RATE, TOO_FREQUENT) or (status == 429 and code not in REFUSED):
        return RateLimited(
            said, code=code, retry_after_ms=_retry_after_ms(code, headers), one_endpoint=code == TOO_FREQUENT
        )
    if code == CLOCK:
        return ClockSkew(f"our clock and the exchange's are more than 5 s apart: {said}", code=code)
    if code in AUTHENTICATION:
        return AuthenticationFailed(said, code=code)
    if code in NO_SYMBOL:
        return UnknownInstrument(said, code=code)
    if effect is Effect.PLACES:
        return _of_an_order(code, said)
    if _is_not_there(code, said.lower()):
        return OrderNotFound(said, code=code)
    known = code in REFUSED | BALANCE | DUPLICATE | NOTHING_TO_CLOSE
    if effect is Effect.CANCELS:
        return (OrderRejected if known else OutcomeUnknown)(said, code=code)
    return (RequestRefused if known else ExchangeUnavailable)(said, code=code)


def unreadable(body: str, status: int) -> ExchangeError:
    """Return the error for an answer that is not KuCoin's envelope: HTML, nothing, half a JSON."""
    start = _shown(body[:60]) or "nothing"
    if status == 429:
        return RateLimited(f"HTTP 429 without an envelope: {start}", retry_after_ms=CLOUDFLARE_MS, everything=True)
    return BadResponse(f"unreadable answer, HTTP {status}: {start}")


def _shown(text: str) -> str:
    """Return what came from outside as it may stand on a screen: one line, not endless, no order to a terminal."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text[:LONGEST]).split())


def _of_an_order(code: str, said: str) -> ExchangeError:
    if code in NOTHING_TO_CLOSE:
        return NothingToClose(said, code=code)
    if code in DUPLICATE or any(sign in said.lower() for sign in _DUPLICATE_TEXT):
        return DuplicateClientOid(said, code=code)
    if code in BALANCE:
        return InsufficientBalance(said, code=code)
    if code in TOO_MANY_STOPS:
        return TooManyStops(said, code=code)
    if code in TOO_LARGE or (code in REFUSED and any(sign in said.lower() for sign in _TOO_LARGE_TEXT)):
        return TooLarge(said, code=code)
    if code in REFUSED:
        return OrderRejected(said, code=code)
    return OutcomeUnknown(said, code=code)


def _is_not_there(code: str, said: str) -> bool:
    if code in DONE_ALREADY:
        return True
    return code in MAYBE_NOT_THERE and any(sign in said for sign in _NOT_THERE + _DONE_ALREADY)


def _retry_after_ms(code: str, headers: Mapping[str, str]) -> int:
    """Milliseconds to wait; 0 for a server that is merely overloaded (no rate headers)."""
    if code == TOO_FREQUENT:
        return TOO_FREQUENT_MS
    try:
        return max(0, int(headers.get("gw-ratelimit-reset", "0")))
    except ValueError:
        return 0
