"""What a key may do, judged from KuCoin's own words."""

from __future__ import annotations

import pytest

from trading.permissions import judge


def test_a_key_as_it_should_be() -> None:
    """General and Futures, and nothing speaks against it."""
    rights = judge(["General", "Futures"])
    assert (rights.missing, rights.moving, rights.needless, rights.unknown) == ((), (), (), ())


@pytest.mark.parametrize("name", ["Transfer", "InnerTransfer", "FlexTransfers", "Withdrawal", "withdraw"])
def test_every_way_to_move_money_is_known(name: str) -> None:
    """KuCoin has several words for it, and no capital letter hides one."""
    rights = judge(["General", "Futures", name])
    assert rights.may_move_money
    assert rights.moving == (name,)


def test_what_nobody_knows_is_neither_yes_nor_no() -> None:
    """A permission KuCoin invents tomorrow is named, and is not taken for harmless."""
    rights = judge(["General", "Futures", "Teleport", "Earn"])
    assert (rights.unknown, rights.needless, rights.may_move_money) == (("Teleport",), ("Earn",), False)


def test_a_key_that_only_reads_cannot_trade() -> None:
    assert judge(["General", "Spot"]).missing == ("Futures",)
