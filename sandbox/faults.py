"""Faults on request: what the control API injects, and when each one strikes."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

# kind -> whether the request is carried out before the answer goes wrong (a rule may say otherwise)
REST_KINDS: dict[str, bool] = {
    "refuse": False, "delay": False, "drop": True, "drop_after": True, "drop_before": False,
    "html": False, "empty": False, "truncate": True, "black_hole": False, "drip": True,
    "overload": False, "rate_limit": False,
}
ENGINE_KINDS = ("cancel_loses", "order_dies", "refuse_stop", "stop_dies")
WS_KINDS = ("ws_duplicate", "ws_gap", "ws_refuse", "ws_cut", "ws_silence")


class UnknownFault(ValueError):
    """The control API was asked for a fault that does not exist."""


@dataclass(slots=True, kw_only=True)
class Rule:
    """One fault: what it matches, how often it strikes, what it does."""

    id: int
    kind: str
    method: str = "*"
    path: str = "*"                      # glob on KuCoin's path, or on the topic for ws_ kinds
    market: str = "*"                    # futures / spot
    symbol: str = "*"
    count: int | None = None             # strikes left; None: until cleared
    skip: int = 0                        # matches to let through first
    probability: float = 1.0
    seed: int | None = None
    commit: bool | None = None           # carry the request out first?
    code: str = "300000"
    message: str = "injected"
    status: int = 200
    delay_ms: float = 0.0                # of delay and drip (per byte); how long ws_silence lasts
    retry_after_ms: int = 1_000          # gw-ratelimit-reset of rate_limit
    body: str | None = None
    struck: int = 0
    _dice: random.Random = field(default_factory=random.Random, repr=False)

    @property
    def commits(self) -> bool:
        return REST_KINDS.get(self.kind, False) if self.commit is None else self.commit

    @property
    def spent(self) -> bool:
        return self.count is not None and self.struck >= self.count

    def matches(self, *, method: str, path: str, market: str, symbol: str) -> bool:
        return (
            self.method in ("*", method)
            and fnmatchcase(path, self.path)
            and self.market in ("*", market)
            and self.symbol in ("*", symbol)
        )

    def strikes(self) -> bool:
        """Decide on one match: skipped, by chance spared, or struck."""
        if self.spent:
            return False
        if self.skip:
            self.skip -= 1
            return False
        if self.probability < 1.0 and self._dice.random() >= self.probability:
            return False
        self.struck += 1
        return True

    def to_json(self) -> dict[str, Any]:
        names = (
            "id", "kind", "method", "path", "market", "symbol", "count", "skip", "probability", "seed",
            "commit", "code", "message", "status", "delay_ms", "retry_after_ms", "struck",
        )
        return {name: getattr(self, name) for name in names} | {"spent": self.spent}


class Faults:
    """The rules in force, in the order they were added."""

    def __init__(self) -> None:
        self.rules: list[Rule] = []
        self._last_id = 0

    def add(self, wish: dict[str, Any]) -> Rule:
        """Add a rule from the control API's JSON.

        Raises:
            UnknownFault: no such kind, or a field that is none.
        """
        kind = wish.get("kind")
        if kind not in REST_KINDS and kind not in ENGINE_KINDS and kind not in WS_KINDS:
            raise UnknownFault(f"unknown kind {kind!r}; there are {[*REST_KINDS, *ENGINE_KINDS, *WS_KINDS]}")
        fields = {name.lower(): value for name, value in wish.items()}
        if kind == "html" and "status" not in fields:
            fields["status"] = 502
        self._last_id += 1
        try:
            rule = Rule(id=self._last_id, **fields)
        except TypeError as error:
            raise UnknownFault(str(error)) from error
        rule.method = rule.method.upper()
        rule._dice.seed(rule.seed)
        self.rules.append(rule)
        return rule

    def remove(self, rule_id: int) -> bool:
        before = len(self.rules)
        self.rules = [rule for rule in self.rules if rule.id != rule_id]
        return len(self.rules) < before

    def clear(self) -> None:
        self.rules.clear()

    def for_request(self, method: str, path: str, market: str, symbol: str) -> list[Rule]:
        """Return the REST faults that strike this request: delays, and at most one of the others."""
        struck: list[Rule] = []
        answered = False
        for rule in self.rules:
            if rule.kind not in REST_KINDS or (answered and rule.kind != "delay"):
                continue
            if rule.matches(method=method, path=path, market=market, symbol=symbol) and rule.strikes():
                struck.append(rule)
                answered = answered or rule.kind != "delay"
        return struck

    def for_engine(self, kind: str, symbol: str) -> bool:
        """Whether an engine fault of *kind* strikes now; given to the exchange as its mischief."""
        return any(
            rule.kind == kind and rule.symbol in ("*", symbol) and rule.strikes() for rule in self.rules
        )

    def for_push(self, kind: str, topic: str) -> bool:
        """Whether a push on *topic* is to be duplicated or swallowed."""
        return any(
            rule.kind == kind and fnmatchcase(topic, rule.path) and rule.strikes() for rule in self.rules
        )

    def touches_pushes(self) -> bool:
        """Whether any push rule is in force, so that the usual push looks no further."""
        return any(rule.kind.startswith("ws_") and not rule.spent for rule in self.rules)
