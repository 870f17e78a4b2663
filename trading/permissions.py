"""What an API key may do, judged: it must trade, and must not be able to carry money away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NEEDED = frozenset({"General", "Futures"})
HARMLESS = frozenset({"General", "Futures", "Spot", "Margin", "Unified"})
NEEDLESS = frozenset({"Earn"})                     # locks money up, but lets none out of the account
# Parts of names, because KuCoin has several of each: Transfer, InnerTransfer, FlexTransfers, Withdrawal.
MOVING = ("transfer", "withdraw")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRights:
    """The permissions of one key, sorted by what they mean for a bot."""

    missing: tuple[str, ...]           # without them it cannot trade
    moving: tuple[str, ...]            # with them money leaves, by whoever holds the key
    needless: tuple[str, ...]          # known, and nothing RAD uses
    unknown: tuple[str, ...]           # KuCoin's list has grown: nobody here knows what they allow

    @property
    def may_move_money(self) -> bool:
        """Whether the key can withdraw or transfer."""
        return bool(self.moving)


def judge(permissions: Iterable[str]) -> KeyRights:
    """Return what *permissions*, in KuCoin's words, amount to."""
    given = sorted(set(permissions))
    moving = tuple(name for name in given if any(part in name.lower() for part in MOVING))
    return KeyRights(
        missing=tuple(sorted(NEEDED - set(given))),
        moving=moving,
        needless=tuple(name for name in given if name in NEEDLESS),
        unknown=tuple(name for name in given if name not in HARMLESS | NEEDLESS and name not in moving),
    )
