"""Every way this exchange says no, with KuCoin's code and its wording."""

from __future__ import annotations

from decimal import Decimal

from sandbox.wire import text


class Refusal(Exception):
    """A request answered with KuCoin's error envelope, mostly under HTTP 200."""

    def __init__(self, code: str, message: str, *, status: int = 200) -> None:
        super().__init__(f"{code} {message}")
        self.code = code
        self.message = message
        self.status = status


def header_missing() -> Refusal:
    return Refusal(
        "400001",
        "Any of KC-API-KEY, KC-API-SIGN, KC-API-TIMESTAMP, KC-API-PASSPHRASE is missing in your request header",
        status=401,
    )


def timestamp_off() -> Refusal:
    return Refusal("400002", "Invalid KC-API-TIMESTAMP", status=401)


def key_unknown() -> Refusal:
    return Refusal("400003", "KC-API-KEY not exists", status=401)


def passphrase_wrong() -> Refusal:
    return Refusal("400004", "Invalid KC-API-PASSPHRASE", status=401)


def signature_wrong() -> Refusal:
    return Refusal("400005", "Invalid KC-API-SIGN", status=401)


def permission_missing() -> Refusal:
    return Refusal("400007", "Access denied, require more permission", status=403)


def address_refused() -> Refusal:
    return Refusal("400006", "The IP address is not in the API whitelist", status=401)


def version_old() -> Refusal:
    return Refusal("400008", "V1/V2 API keys are no longer supported, please create a V3 key", status=401)


def version_wrong() -> Refusal:
    return Refusal("400009", "Invalid KC-API-KEY-VERSION", status=401)


def parameter(message: str) -> Refusal:
    """The gateway's word for a parameter that is missing or malformed."""
    return Refusal("400100", message, status=400)


def illegal(message: str) -> Refusal:
    """The futures engine's word for a value it cannot use."""
    return Refusal("300000", message)


def invalid_parameters(message: str = "There are invalid parameters") -> Refusal:
    return Refusal("100001", message)


def order_unknown() -> Refusal:
    return Refusal("100001", "error.getOrder.orderNotExist")


def not_cancelable() -> Refusal:
    return Refusal("100004", "The order cannot be canceled.")


def symbol_unknown() -> Refusal:
    return Refusal("900001", "symbol not exists")


def too_many_orders(limit: int, current: int) -> Refusal:
    return Refusal("300001", f"Active order quantity limit exceeded (limit: {limit}, current: {current})")


def suspended() -> Refusal:
    return Refusal("300002", "Order placement/cancellation suspended, please try again later.")


def balance_too_low(cost: Decimal, available: Decimal) -> Refusal:
    return Refusal(
        "300003", f"Balance not enough. The order cost is {text(cost)}, available is {text(available)}"
    )


def too_many_stops(limit: int, current: int) -> Refusal:
    return Refusal("300004", f"Stop order quantity limit exceeded (limit: {limit}, current: {current})")


def risk_limit(limit: Decimal) -> Refusal:
    return Refusal("300005", f"{text(limit)} risk limit exceeded")


def nothing_to_close() -> Refusal:
    return Refusal("300009", "No open positions to close.")


def price_too_high(limit: Decimal) -> Refusal:
    return Refusal("300011", f"The order price cannot be higher than {text(limit)}")


def price_too_low(limit: Decimal) -> Refusal:
    return Refusal("300012", f"The order price cannot be lower than {text(limit)}")


def leverage_too_high(limit: int) -> Refusal:
    return Refusal("300016", f"The leverage cannot be greater than {limit}.")


def client_oid_repeated() -> Refusal:
    return Refusal("300018", "clientOid parameter repeated")


def margin_mode_differs() -> Refusal:
    return Refusal(
        "330005",
        "The order's margin mode does not match the selected one. Please switch and try again.",
    )


def position_mode_differs() -> Refusal:
    return Refusal(
        "330012",
        "Your order is in Hedge Mode, while your account is set to One-Way Mode. "
        "Update your settings so they match and try again.",
    )


def margin_mode_in_use() -> Refusal:
    return Refusal("300000", "exist.order.or.position")


def url_unknown() -> Refusal:
    return Refusal("404000", "Url Not Found", status=404)


def too_many_requests() -> Refusal:
    return Refusal("429000", "Too many requests", status=429)
