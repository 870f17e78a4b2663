"""Settings taken in while trading goes on: all that may change, or nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from daemon import reload
from daemon.blacklist import Blacklist
from daemon.house import House
from daemon.reload import MAY_CHANGE, Reloader, may_change
from runtime.clock import SystemClock
from runtime.options import RunOptions
from runtime.settings import SHAPE, load_settings
from trading.errors import ConfigError, RadError

BEFORE = "positions:\n  max_open: 8\nexits:\n  stop_loss: 2%\nscanner:\n  workers: 20\n"


class Kept:
    """Keeps what it is told to go by."""

    def __init__(self) -> None:
        self.rules: Any = None

    def go_by(self, *rules: Any) -> None:
        self.rules = rules


@pytest.fixture
def file(clean: None, tmp_path: Path) -> Path:
    path = tmp_path / "settings.yaml"
    path.write_text(BEFORE)
    return path


@pytest.fixture
def house(file: Path) -> Iterator[SimpleNamespace]:
    """Those who go by the settings, as far as reload knows them."""
    settings = load_settings(file)
    level = logging.getLogger().level
    house = SimpleNamespace(
        settings=settings, rules=House.rules_of(settings), options=RunOptions(config=file), manager=Kept(),
        rebuilder=Kept(), scanner=Kept(), rules_of=House.rules_of, blacklist=Blacklist(file.parent, SystemClock()),
    )
    house.choose_pairs = lambda: House.choose_pairs(house)      # type: ignore[arg-type]
    yield house
    logging.getLogger().setLevel(level)


def test_what_may_change_is_taken_in(house: SimpleNamespace, file: Path) -> None:
    """Limits, exits, filters, the log's level: whoever goes by them has the new ones, and is told what changed."""
    file.write_text(
        "positions:\n  max_open: 2\nexits:\n  stop_loss: 3%\n  trailing: none\nscanner:\n  workers: 20\n"
        "  max_spread: 0.1%\nlimits:\n  drawdown: 8%\nlog:\n  level: warning\n"
    )
    answer = Reloader(house).reload()
    assert {"key": "positions.max_open", "from": "8", "to": "2"} in answer["changed"]
    assert {"key": "exits.trailing", "from": "-", "to": "none"} in answer["changed"]
    assert answer["needs_restart"] == []
    (rules,) = house.manager.rules
    assert (rules.risk.max_open, str(rules.risk.drawdown), rules.exits.trailing) == (2, "0.08", None)
    assert house.rebuilder.rules == (rules.exits,)
    assert str(house.scanner.rules[0].max_spread) == "0.001"
    assert house.settings.positions.max_open == 2
    assert logging.getLogger().level == logging.WARNING


def test_what_needs_a_restart_is_named_and_left(house: SimpleNamespace, file: Path) -> None:
    """The rest of the file is taken in all the same."""
    file.write_text("positions:\n  max_open: 2\nscanner:\n  workers: 5\njournal:\n  url: postgresql://u:secret@h/d\n")
    answer = Reloader(house).reload()
    assert answer["needs_restart"] == ["scanner.workers", "journal.url"]
    assert "secret" not in str(answer)
    assert (house.settings.scanner.workers, house.settings.positions.max_open) == (20, 2)


@pytest.mark.parametrize("wrong", [
    "positions:\n  max_open: 2\nlimits:\n  drawdown: lots\n",
    "positions:\n  max_open: 2\nno_such: 1\n",
    "positions:\n  max_open: 2\nscanner:\n  strategy: nowhere_to_be_found\n",
    "positions: {max_open: 2\n",
])
def test_one_fault_and_nothing_changes(house: SimpleNamespace, file: Path, wrong: str) -> None:
    """The whole file is checked before anything is touched."""
    before = house.settings
    file.write_text(wrong)
    with pytest.raises(ConfigError):
        Reloader(house).reload()
    assert house.settings is before
    assert house.manager.rules is None


def test_new_and_old_together_have_to_make_sense(house: SimpleNamespace, file: Path) -> None:
    """The file is right, but with what stays as it was it is not: monitor.stale_after needs a restart."""
    file.write_text("monitor:\n  interval: 3s\n  stale_after: 10s\n")
    with pytest.raises(ConfigError, match="monitor.stale_after"):
        Reloader(house).reload()
    assert house.settings.monitor.interval_s == 0.25


def test_nothing_has_changed(house: SimpleNamespace) -> None:
    assert Reloader(house).reload() == {"changed": [], "needs_restart": []}
    assert house.manager.rules is None


def test_the_table_names_settings_there_are() -> None:
    """A key that is renamed takes its line along; what tells where things lie is not among them."""
    for section, keys in MAY_CHANGE.items():
        assert section in SHAPE.sections
        assert keys == reload.ALL or {f"{section}.{key}" for key in keys} <= SHAPE.leaves
    for key in ("mode", "data_dir", "exchange.futures_url", "journal.url", "control.port", "positions.adopt",
                "protect.enabled", "scanner.workers"):
        assert not may_change(key)


def test_one_at_a_time(house: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second one beside the first is turned away; the next after it is not."""
    inside, leave = threading.Event(), threading.Event()
    real = Reloader._read

    def slow(self: Reloader) -> Any:
        inside.set()
        assert leave.wait(10)
        return real(self)

    monkeypatch.setattr(Reloader, "_read", slow)
    reloader = Reloader(house)
    first = threading.Thread(target=reloader.reload, name="first")
    first.start()
    assert inside.wait(10)
    with pytest.raises(RadError, match="already"):
        reloader.reload()
    leave.set()
    first.join(10)
    assert not first.is_alive()
    assert reloader.reload() == {"changed": [], "needs_restart": []}
