"""What can go wrong, by what the bot does next.

    RadError
    ├── ConfigError                stop: the person has to change something
    ├── JournalError               fail closed: no new entries, exits go on
    └── ExchangeError
        ├── ExchangeUnavailable    retry later: no answer, nothing was learnt
        │   ├── BadResponse            an answer we cannot read
        │   └── RateLimited            wait until the pool is reset
        ├── OutcomeUnknown         look and see: it may have happened
        ├── OrderNotFound          a plain "not there"
        ├── OrderRejected          give up: it certainly did not happen
        │   ├── InsufficientBalance
        │   ├── NothingToClose         the position is already gone
        │   ├── TooLarge               try less: it is about the size, or the price it would reach
        │   ├── TooManyStops           cancel an old one first
        │   └── DuplicateClientOid     an active order has this id: look and see
        ├── UnknownInstrument      give up: no such symbol
        ├── RequestRefused         give up: a plain no to something that is not an order
        └── AuthenticationFailed   stop: key, passphrase, signature or permission
            └── ClockSkew              stop: our clock is more than 5 s off
"""

from __future__ import annotations


class RadError(Exception):
    """Anything RAD raises on purpose; its text is fit for a person to read."""


class ConfigError(RadError):
    """A setting is missing or wrong."""


class JournalError(RadError):
    """The journal cannot be read or written."""


class ExchangeError(RadError):
    """The exchange, or the way to it, said something other than yes.

    *code* is KuCoin's own where it gave one, else an empty string.
    """

    def __init__(self, message: str, *, code: str = "") -> None:
        super().__init__(f"{message} (KuCoin code {code})" if code else message)
        self.code = code


class ExchangeUnavailable(ExchangeError):
    """No answer: the caller has learnt nothing."""


class BadResponse(ExchangeUnavailable):
    """An answer that cannot be read: HTML, truncated JSON, missing fields."""


class RateLimited(ExchangeUnavailable):
    """The exchange asks to wait *retry_after_ms*; with zero it is merely overloaded.

    *everything*: it is not one pool that is exhausted, this address is blocked. *one_endpoint*: it is
    not even a pool, only what was asked for.
    """

    def __init__(
        self, message: str, *, code: str = "", retry_after_ms: int = 0, everything: bool = False,
        one_endpoint: bool = False,
    ) -> None:
        super().__init__(message, code=code)
        self.retry_after_ms = retry_after_ms
        self.everything = everything
        self.one_endpoint = one_endpoint


class OutcomeUnknown(ExchangeError):
    """A request that changes something got no readable answer: it may have happened."""


class OrderNotFound(ExchangeError):
    """The exchange answered that it has no such order."""


class OrderRejected(ExchangeError):
    """The exchange refused: it certainly did not happen."""


class InsufficientBalance(OrderRejected):
    """Not enough available balance for this order."""


class NothingToClose(OrderRejected):
    """A closing order met no position."""


class TooLarge(OrderRejected):
    """More than the exchange takes in one order, or than it would fill within its price limits."""


class TooManyStops(OrderRejected):
    """The exchange lets no further stop rest beside those that do."""


class DuplicateClientOid(OrderRejected):
    """An active order already carries this client id."""


class UnknownInstrument(ExchangeError):
    """The exchange lists no such symbol."""


class RequestRefused(ExchangeError):
    """A plain no to a request that is not an order."""


class AuthenticationFailed(ExchangeError):
    """Key, passphrase, signature, IP or permission was refused."""


class ClockSkew(AuthenticationFailed):
    """Our timestamp is more than five seconds away from the exchange's."""
