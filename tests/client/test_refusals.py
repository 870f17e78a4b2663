"""What each code means to the bot: the table that decides between retry, give up and look."""

from __future__ import annotations

import pytest

from kucoin.endpoints import Effect
from kucoin.refusals import error_of, unreadable
from trading import errors

PLACES, CANCELS, NONE = Effect.PLACES, Effect.CANCELS, Effect.NONE

MEANINGS = [
    # code, text, effect, kind
    ("300009", "No open positions to close.", PLACES, errors.NothingToClose),
    ("300018", "clientOid parameter repeated", PLACES, errors.DuplicateClientOid),
    ("102426", "clientOid repeated", PLACES, errors.DuplicateClientOid),
    ("400100", "validation.createOrder.clientOidDuplicated", PLACES, errors.DuplicateClientOid),
    ("300003", "Balance not enough", PLACES, errors.InsufficientBalance),
    ("200004", "Balance insufficient", PLACES, errors.InsufficientBalance),
    ("230003", "Balance insufficient", PLACES, errors.InsufficientBalance),
    ("102421", "insufficient", PLACES, errors.InsufficientBalance),
    ("100001", "There are invalid parameters", PLACES, errors.OrderRejected),
    ("400100", "Order size below the minimum requirement.", PLACES, errors.OrderRejected),
    ("300005", "risk limit exceeded", PLACES, errors.TooLarge),
    ("300000", "Order size cannot exceed 1000000", PLACES, errors.TooLarge),
    ("300012", "The order price cannot be lower than 47500", PLACES, errors.TooLarge),
    ("300004", "Stop order quantity limit exceeded (limit: 1, current: 1)", PLACES, errors.TooManyStops),
    ("300004", "Stop order quantity limit exceeded", CANCELS, errors.OrderRejected),
    ("300016", "The leverage cannot be greater than 20", PLACES, errors.OrderRejected),
    ("330005", "margin mode does not match", PLACES, errors.OrderRejected),
    ("300000", "The position does not exist, order not exist", PLACES, errors.OrderRejected),
    ("500000", "internal", PLACES, errors.OutcomeUnknown),
    ("503000", "busy", PLACES, errors.OutcomeUnknown),
    ("987654", "a code of next year", PLACES, errors.OutcomeUnknown),
    ("900001", "symbol not exists", PLACES, errors.UnknownInstrument),
    ("400002", "Invalid KC-API-TIMESTAMP", PLACES, errors.ClockSkew),
    ("400005", "Invalid KC-API-SIGN", PLACES, errors.AuthenticationFailed),
    ("400007", "require more permission", PLACES, errors.AuthenticationFailed),
    ("100001", "error.getOrder.orderNotExist", NONE, errors.OrderNotFound),
    ("400100", "order not exist", NONE, errors.OrderNotFound),
    ("100001", "There are invalid parameters", NONE, errors.RequestRefused),
    ("404000", "Url Not Found", NONE, errors.RequestRefused),
    ("500000", "internal", NONE, errors.ExchangeUnavailable),
    ("987654", "order not exist", NONE, errors.ExchangeUnavailable),
    ("100004", "The order cannot be canceled.", CANCELS, errors.OrderNotFound),
    ("400100", "order_not_exist_or_not_allow_to_cancel", CANCELS, errors.OrderNotFound),
    ("100001", "There are invalid parameters", CANCELS, errors.OrderRejected),
    ("500000", "internal", CANCELS, errors.OutcomeUnknown),
]


@pytest.mark.parametrize(("code", "text", "effect", "kind"), MEANINGS)
def test_a_code_means_one_thing(
    code: str, text: str, effect: Effect, kind: type[errors.ExchangeError]
) -> None:
    """The kind is exact, not a relative of it, and the code is kept for the log."""
    error = error_of(code=code, text=text, status=200, headers={}, effect=effect)
    assert type(error) is kind
    assert error.code == code


@pytest.mark.parametrize("effect", list(Effect))
def test_a_rate_limit_says_how_long(effect: Effect) -> None:
    """With KuCoin's header: until the reset; without it the server is merely busy; 200002 blocks ten seconds."""
    limited = error_of(code="429000", text="", status=429, headers={"gw-ratelimit-reset": "7200"}, effect=effect)
    overloaded = error_of(code="429000", text="", status=429, headers={}, effect=effect)
    frequent = error_of(code="200002", text="", status=200, headers={}, effect=effect)
    waits = [e.retry_after_ms for e in (limited, overloaded, frequent) if isinstance(e, errors.RateLimited)]
    assert waits == [7200, 0, 10_000]


def test_no_code_at_all() -> None:
    """A page that is not KuCoin's envelope cannot be read; Cloudflare's 429 is a limit all the same."""
    assert type(unreadable("<html>\n  maintenance", 200)) is errors.BadResponse
    assert "<html> maintenance" in str(unreadable("<html>\n  maintenance", 200))
    limited = unreadable("error code: 1015", 429)
    assert isinstance(limited, errors.RateLimited)
    assert limited.retry_after_ms == 30_000


@pytest.mark.parametrize("effect", list(Effect))
def test_what_is_said_is_fit_to_be_shown(effect: Effect) -> None:
    """A terminal takes no orders from it, nothing in it runs backwards, and it is not endless."""
    said = "no\n\x1b]0;mine\x07 \x9b2Jmoney\u202e left" + " and so on" * 1000
    shown = str(error_of(code="300003", text=said, status=200, headers={}, effect=effect))
    assert shown.startswith("no ]0;mine 2Jmoney left and so on")
    assert shown.isprintable()
    assert len(shown) < 550
    assert str(unreadable("<b>\x1b[31mred", 502)).endswith("HTTP 502: <b> [31mred")
