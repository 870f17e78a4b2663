"""How values read, and which columns a narrow terminal keeps."""

from __future__ import annotations

import pytest

from console import wording
from console.screens import POSITIONS, SCREENS
from console.tables import fitting
from tests.control.fake_steering import POSITION


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (wording.signed("12.346"), "+12.35"),
        (wording.signed("-0.001"), "0.00"),
        (wording.signed(None), "–"),
        (wording.rounded("10012.3"), "10,012.30"),
        (wording.short("999999"), "1M"),
        (wording.short("123456789.1"), "123M"),
        (wording.short("12.34"), "12.3"),
        (wording.percent("0.00012"), "0.012 %"),
        (wording.since("2026-01-01T00:00:00Z", "2026-01-02T01:00:00Z"), "1d 01h"),
        (wording.since("2026-01-01T00:00:00Z", "2026-01-01T01:02:03Z"), "1h 02m"),
        (wording.since("2026-01-01T00:00:00Z", "2026-01-01T00:00:59.9Z"), "59s"),
        (wording.when("2020-01-02T03:04:05.678Z"), "2020-01-02 03:04"),
        (wording.aged("50500", 10.0, 10.0), "50500"),
        (wording.aged("50500", 31.4, 10.0), "50500 (31s old)"),
        (wording.aged("–", None, 10.0), "–"),
        (wording.worth({"equity": "10012.3", "equity_age_s": 5.2}), "10,012.30"),
        (wording.worth({"equity": "10012.3", "equity_age_s": 723.9}), "10,012.30 (12m 03s old)"),
        (wording.worth({"equity": "10012.3", "last_seen_at": "2026-01-01T00:00:00Z"})[:11], "10,012.30 ("),
        (wording.worth({"equity": None, "equity_age_s": None}), "–"),
        (wording.colour_of("-1"), "red"),
        (wording.colour_of("0"), ""),
    ],
)
def test_values_read_well(told: str, expected: str) -> None:
    """Each kind of value in its shortest honest form."""
    assert told == expected


def test_narrow_terminals_lose_the_sparest_columns_first() -> None:
    """What protects a position is shown however narrow the terminal is."""
    wide = fitting(POSITIONS, [POSITION], 200)
    narrow = fitting(POSITIONS, [POSITION], 80)
    assert wide == list(POSITIONS)
    assert "quantity" not in [column.title for column in narrow]
    assert [column.title for column in fitting(POSITIONS, [POSITION], 10)] == [
        "symbol", "side", "price", "stop", "on exchange", "R", "PnL"
    ]


@pytest.mark.parametrize("name", ["positions", "opportunities", "orders", "trades"])
def test_rows_with_missing_values_can_be_shown(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A daemon that knows less than usual still gets its table."""
    SCREENS[name]([{"symbol": "X"}])
    assert "X" in capsys.readouterr().out
