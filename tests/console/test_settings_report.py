"""`config show` and `config check`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.__main__ import main


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RAD_SCANNER__WORKERS", "7")
    file = tmp_path / "mine.yaml"
    file.write_text("mode: paper\njournal:\n  url: postgresql://rad:hunter2@db/rad\n")
    return file


def test_show_tells_where_each_value_is_from(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """File, environment and default are told apart, and a password is not told at all."""
    assert main(["config", "show", "--json", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    rows = {row["key"]: (row["value"], row["source"]) for row in json.loads(out)}
    assert rows["mode"] == ("paper", "mine.yaml")
    assert rows["scanner.workers"] == ("7", "environment")
    assert rows["market"] == ("futures", "default")
    assert rows["journal.url"][0] == "postgresql://rad:***@db/rad"
    assert "hunter2" not in out

    assert main(["config", "show", "--config", str(config)]) == 0
    assert ["mode", "paper", "mine.yaml"] in [line.split() for line in capsys.readouterr().out.splitlines()]


def test_check_names_all_faults_at_once(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two faults are both told, with exit code 4."""
    config.write_text("mode: dry\nscanner:\n  wrkers: 3\n")
    assert main(["config", "check", "--config", str(config)]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert "mode" in err
    assert "scanner.wrkers" in err


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("STRATEGY", "nope", "there is no strategy nope"),
        ("PARAMS", "{fasst: 9}", "trend has no fasst"),
        ("CANDLES", "30", "trend needs"),
        ("QUOTE", "USDC", '"USDC" is not traded'),
    ],
)
def test_check_refuses_what_run_refuses(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str, said: str
) -> None:
    """A strategy that does not work is a fault of the settings, and so is what is never listed."""
    monkeypatch.setenv(f"RAD_SCANNER__{variable}", value)
    assert main(["config", "check"]) == 4
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_check_is_content_with_what_is_right(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Right settings are a sentence, or one document."""
    assert main(["config", "check", "--config", str(config)]) == 0
    assert "mode paper" in capsys.readouterr().out
    assert main(["config", "check", "--json", "--config", str(config)]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


def test_a_missing_file_is_a_configuration_fault(capsys: pytest.CaptureFixture[str]) -> None:
    """A settings file that is not there ends with exit code 4, for questions too."""
    for command in (["config", "show"], ["status"]):
        assert main([*command, "--config", "/nowhere/c.yaml"]) == 4
        assert "/nowhere/c.yaml" in capsys.readouterr().err
