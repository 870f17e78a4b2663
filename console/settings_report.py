"""`config show` and `config check`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from console.tables import Column, show_table
from control.steering import OK
from runtime.settings import ScannerSettings, load_settings

COLUMNS = (
    Column("setting", lambda row: str(row["key"])),
    Column("value", lambda row: str(row["value"]), grows=True),
    Column("from", lambda row: str(row["source"]),
           style=lambda row: "dim" if row["source"] == "default" else "bold"),
)


def show(config: Path | None, *, as_json: bool) -> int:
    """Print every setting and who said it, but not the password a database address may hold."""
    rows = [
        {"key": key, "value": _without_password(value), "source": source}
        for key, value, source in load_settings(config).as_rows()
    ]
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        show_table(COLUMNS, rows, title="Settings", empty="No settings.")
    return OK


def check(config: Path | None, *, as_json: bool) -> int:
    """Say that the settings are right; the ConfigError that names all faults is the caller's."""
    settings = load_settings(config)
    _try_strategy(settings.scanner)
    facts = {"ok": True, "mode": settings.mode, "market": settings.market, "data_dir": str(settings.data_dir)}
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        print(f"The settings are right: mode {settings.mode}, market {settings.market}, "
              f"data in {settings.data_dir}.")
    return OK


def _try_strategy(said: ScannerSettings) -> None:
    """Raise ConfigError if the strategy does not work with its parameters.

    Trying it out takes numpy, thus time: the one that RAD brings, as it brings it, is tried by its tests.
    """
    usual = ScannerSettings()
    if (said.strategy, said.params, said.candles) != (usual.strategy, usual.params, usual.candles):
        from trading.strategies import load

        load(said.strategy, said.params, candles=said.candles)


def _without_password(value: str) -> str:
    return re.sub(r"(://[^/@:]*):[^/@]*@", r"\1:***@", value)
