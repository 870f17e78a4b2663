"""Settings: as people write them, from the right place, with every fault named."""

from __future__ import annotations

from decimal import Decimal as D
from pathlib import Path

import pytest

from runtime.settings import CONFIG_FILE, PROJECT, Settings, load_settings
from runtime.units import (
    parse_distance,
    parse_money,
    parse_ratio,
    parse_seconds,
    show_distance,
    show_money,
    show_ratio,
    show_seconds,
)
from trading.errors import ConfigError
from trading.exits import Distance


def config(folder: Path, text: str) -> Path:
    """Write a settings file and return where it is."""
    path = folder / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def faults(**given: object) -> list[str]:
    """Return the lines of the error that loading raises."""
    with pytest.raises(ConfigError) as caught:
        load_settings(**{"environ": {}, **given})  # type: ignore[arg-type]
    return [line.strip() for line in str(caught.value).splitlines()]


def test_config_yaml_says_the_defaults(tmp_path: Path) -> None:
    """The file we ship equals the defaults, and names every key there is."""
    shipped = load_settings(CONFIG_FILE, environ={})
    bare = load_settings(config(tmp_path, "# nothing said\n"), environ={})
    assert [row[:2] for row in shipped.as_rows()] == [row[:2] for row in bare.as_rows()]
    assert shipped.model_dump() == Settings().model_dump()
    unsaid = [key for key, _, source in shipped.as_rows() if source == "default"]
    assert unsaid == ["scanner.params", "notify.levels", "notify.outlets"]   # `params: {}` says no key of it


def test_flags_over_environment_over_file_over_defaults(tmp_path: Path) -> None:
    """Each later word wins, key by key, and source_of tells whose it was."""
    path = config(tmp_path, "scanner: {workers: 3, interval: 7s, candles: 100}\n")
    settings = load_settings(
        path,
        {"scanner.workers": 5, "mode": None},
        {"RAD_SCANNER__WORKERS": "4", "RAD_SCANNER__INTERVAL": "9s", "RAD_EXITS__TRAILING__ACTIVATE": "1%"},
    )
    scanner = settings.scanner
    assert (scanner.workers, scanner.interval_s, scanner.candles) == (5, 9.0, 100)
    assert settings.exits.trailing is not None
    assert settings.exits.trailing.activate == Distance(fraction=D("0.01"))
    sources = [settings.source_of(f"scanner.{key}") for key in ("workers", "interval", "candles", "quote")]
    assert sources == ["flag", "environment", "mine.yaml", "default"]


@pytest.mark.parametrize(
    ("variable", "value", "section", "name", "expected"),
    [
        ("RAD_MODE", "paper", "", "mode", "paper"),
        ("RAD_MARKET", "futures", "", "market", "futures"),
        ("RAD_DATA_DIR", "/tmp/elsewhere", "", "data_dir", Path("/tmp/elsewhere")),
        ("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9000/futures/", "exchange", "futures_url",
         "http://127.0.0.1:9000/futures"),
        ("RAD_SCANNER__INCLUDE", "BTC*, ETH*", "scanner", "include", ("BTC*", "ETH*")),
        ("RAD_SCANNER__EXCLUDE", "['DOGE*']", "scanner", "exclude", ("DOGE*",)),
        ("RAD_SCANNER__MIN_VOLUME_24H", "2.5M", "scanner", "min_volume_24h", D(2_500_000)),
        ("RAD_SCANNER__PARAMS__FAST", "9", "scanner", "params", {"fast": 9}),
        ("RAD_POSITIONS__ADOPT", "true", "positions", "adopt", True),
        ("RAD_EXITS__MAX_AGE", "1d", "exits", "max_age_s", 86_400.0),
        ("RAD_EXITS__MAX_AGE", "none", "exits", "max_age_s", None),
        ("RAD_EXITS__TRAILING", "none", "exits", "trailing", None),
        ("RAD_EXITS__TAKE_PROFIT", "none", "exits", "take_profit", ()),
        ("RAD_LIMITS__LOSSES_IN_A_ROW", "none", "limits", "losses_in_a_row", None),
        ("RAD_SANDBOX__REPLAY", "candles", "sandbox", "replay", PROJECT / "candles"),
        ("RAD_LOG__FILE", "none", "log", "file", None),
    ],
)
def test_every_kind_of_value_comes_through_the_environment(
    variable: str, value: str, section: str, name: str, expected: object
) -> None:
    """Text from a variable becomes what the setting holds."""
    settings = load_settings(environ={variable: value})
    owner = getattr(settings, section) if section else settings
    assert getattr(owner, name) == expected


def test_none_switches_a_rule_off() -> None:
    """A pair of any age and volume, and no pause between entries."""
    keys = ("SCANNER__MIN_VOLUME_24H", "SCANNER__MIN_AGE", "LIMITS__COOLDOWN", "LIMITS__ORDERS_PER_MINUTE")
    settings = load_settings(environ={f"RAD_{key}": "none" for key in keys})
    universe, risk = settings.universe_rules(), settings.risk_rules()
    assert (universe.min_volume_24h, universe.min_age_ms) == (0, 0)
    assert (risk.cooldown_ms, risk.orders_per_minute) == (0, None)
    shown = {key: value for key, value, source in settings.as_rows() if source == "environment"}
    assert shown == dict.fromkeys((key.lower().replace("__", ".") for key in keys), "none")


def test_slippage_is_never_unlimited() -> None:
    """The size of an entry is worked out at its worst price: without one there is none."""
    assert faults(environ={"RAD_LIMITS__MAX_SLIPPAGE": "none"})[1].startswith("limits.max_slippage: ")


def test_a_ladder_and_the_rules_made_of_it(tmp_path: Path) -> None:
    """Steps, distances in ATR and durations arrive in the pure rules, exactly."""
    text = """
exits:
  stop_loss: 2.5 atr
  take_profit: [{at: 1 atr, share: 30%}, {at: 2 atr, share: 0.5}]
  break_even: none
  max_age: 4h
  trailing: {activate: 0.5%, distance: 1 atr}
positions: {risk_per_trade: 0.25%, max_exposure: none}
limits: {cooldown: 30m}
"""
    settings = load_settings(config(tmp_path, text), environ={})
    rules = settings.exit_rules()
    assert rules.stop_loss == Distance(atr=D("2.5"))
    assert [(step.at, step.share) for step in rules.take_profit] == [
        (Distance(atr=D(1)), D("0.3")), (Distance(atr=D(2)), D("0.5")),
    ]
    assert rules.break_even is None
    assert rules.max_age_ms == 14_400_000
    assert rules.trailing is not None
    assert rules.trailing.activate == Distance(fraction=D("0.005"))
    assert rules.trailing.distance == Distance(atr=D(1))
    risk = settings.risk_rules()
    assert (risk.risk_per_trade, risk.max_exposure, risk.cooldown_ms) == (D("0.0025"), None, 1_800_000)


def test_which_pairs_are_scanned(tmp_path: Path) -> None:
    """Wildcards, ages and amounts arrive in the pure filter."""
    text = "scanner: {include: ['BTC*', ETH], exclude: 'DOGE*', min_age: 30d, min_volume_24h: 5M}\n"
    rules = load_settings(config(tmp_path, text), environ={}).universe_rules()
    assert (rules.include, rules.exclude) == (("BTC*", "ETH"), ("DOGE*",))
    assert (rules.min_age_ms, rules.min_volume_24h) == (2_592_000_000, D(5_000_000))   # 30 × 86 400 000


def test_a_single_distance_takes_all_profit(tmp_path: Path) -> None:
    """`take_profit: 3%` is a ladder of one step with the whole position."""
    settings = load_settings(config(tmp_path, "exits: {take_profit: 3%}\n"), environ={})
    (step,) = settings.exit_rules().take_profit
    assert (step.at, step.share) == (Distance(fraction=D("0.03")), D(1))


def test_every_fault_is_named_at_once(tmp_path: Path) -> None:
    """One error tells all that is wrong: key, value, what would be right, and who said it."""
    path = config(tmp_path, """
mode: liv
market: spot
scanner:
  wokers: 3
  workers: many
  interval: 250
  timeframe: 3m
exits:
  stop_loss: 2 percent
  max_age:
positions: {risk_per_trade: 90%, margin_mode: both}
control: {port: 8420, port: 8421}
protect: often
""")
    lines = faults(config_path=path, environ={"RAD_SCANER__X": "1", "RAD_WORKERS": "3"})
    assert lines[0] == "14 settings are wrong:"
    assert set(lines[1:]) == {
        'mode: "liv" is not one of sandbox, paper or live (mine.yaml line 2)',
        'market: "spot" comes later; for now RAD trades futures (mine.yaml line 3)',
        "scanner.wokers: no such setting; did you mean scanner.workers? (mine.yaml line 5)",
        'scanner.workers: "many" is not a whole number (mine.yaml line 6)',
        'scanner.interval: "250" has no unit; write 250s or 250m (mine.yaml line 7)',
        'scanner.timeframe: "3m" is not a timeframe of KuCoin; write one of 1m 5m 15m 30m 1h 2h 4h 8h 12h 1d'
        " (mine.yaml line 8)",
        'exits.stop_loss: "2 percent" is not a ratio; write 2% or 0.02, or 2.5 atr (mine.yaml line 10)',
        "exits.max_age: has no value; write one, or none where the rule may be off (mine.yaml line 11)",
        "positions.risk_per_trade: 90% is out of bounds: it must be at most 20% (mine.yaml line 12)",
        'positions.margin_mode: "both" is not one of isolated or cross (mine.yaml line 12)',
        "control.port: is written twice, first in line 13 (mine.yaml line 13)",
        "protect: is a section; give its keys (mine.yaml line 14)",
        "scaner.x: no such setting; did you mean scanner? (RAD_SCANER__X)",
        "workers: no such setting; did you mean scanner.workers? (RAD_WORKERS)",
    }


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"exits.take_profit": [{"at": "2%", "share": "60%"}, {"at": "3%", "share": "60%"}]},
         "exits.take_profit: the shares add up to 120%; they may reach 100% (flag)"),
        ({"exits.take_profit": [{"at": "3%", "share": "10%"}, {"at": "2%", "share": "10%"}]},
         "exits.take_profit: 2% comes after 3%; write the nearest step first (flag)"),
        ({"exits.take_profit": [{"at": "3%"}]}, "exits.take_profit.share step 1: is missing (flag)"),
        ({"monitor.interval": "3s"},
         "monitor.stale_after: must be longer than monitor.interval, or every price is stale (default)"),
        ({"mode": "live", "exchange.futures_url": "http://example.org"},
         "exchange.futures_url: http://example.org is not encrypted; keys go to https:// addresses, "
         "or to this machine (flag)"),
        ({"scanner.include": "none"}, "scanner.include: lets no pair pass; write ['*'] for all (flag)"),
        ({"sandbox.replay_start": "2021-05-18"},
         "sandbox.replay_start: means nothing without sandbox.replay (flag)"),
        ({"exchange.spot_url": "kucoin"},
         'exchange.spot_url: "kucoin" is not an address; write https://host/path, or auto (flag)'),
        ({"exits.stop_loss": "none"},
         'exits.stop_loss: "none" is not a ratio; write 2% or 0.02, or 2.5 atr (flag)'),
        ({"exits.stop_loss": "150%"},
         'exits.stop_loss: "150%" is the whole price or more; write 2% or 0.02, or 2.5 atr (flag)'),
        ({"exits.stop_loss": "0 atr"},
         'exits.stop_loss: "0 atr" is no distance; write 2% or 0.02, or 2.5 atr (flag)'),
        ({"positions.max_notional": "a lot"},
         'positions.max_notional: "a lot" is not an amount; write 1000, 1_000, 500k or 2.5M (flag)'),
        ({"protect.enabled": "perhaps"}, 'protect.enabled: "perhaps" is neither true nor false (flag)'),
        ({"scanner.strategy": "My Trend"},
         'scanner.strategy: "My Trend" is not a name of this kind; write something like trend (flag)'),
        ({"monitor.interval": "1ms"}, "monitor.interval: 1ms is out of bounds: it must be at least 20ms (flag)"),
    ],
)
def test_one_fault_in_words(tmp_path: Path, said: dict[str, object], expected: str) -> None:
    """Each kind of fault has a sentence that says what would be right."""
    assert faults(config_path=config(tmp_path, ""), overrides=said) == ["1 setting is wrong:", expected]


def test_broken_yaml_names_line_and_column(tmp_path: Path) -> None:
    """A person is led to the place."""
    (line,) = faults(config_path=config(tmp_path, "mode: sandbox\nscanner: [1, 2\nexits: {}\n"))
    assert "mine.yaml is not readable as YAML, line 3, column 6:" in line


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"- one\n", "settings are written as `key: value`, one a line"),
        (b"scanner: &it {params: *it}\n", "line 1: &names and *names are not understood"),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", "&names and *names are not understood"),
        (b"scanner: {params: " + b"[" * 600 + b"]" * 600 + b"}\n", "line 1: is nested too deeply"),
        (b"mode: \xff\n", "is not UTF-8 text (byte 6)"),
        (b"mode:\tsandbox: x\n", "is not readable as YAML, line 1"),
    ],
)
def test_a_file_that_is_no_settings_file(tmp_path: Path, content: bytes, expected: str) -> None:
    """Whatever the file holds, the error names it and what is wrong."""
    path = tmp_path / "odd.yaml"
    path.write_bytes(content)
    assert expected in faults(config_path=path)[0]
    assert "odd.yaml" in faults(config_path=path)[0]


def test_a_missing_or_unreadable_file_is_an_error(tmp_path: Path) -> None:
    """A file that was asked for has to be there, and has to be a file."""
    assert faults(config_path=tmp_path / "no.yaml") == [f"there is no settings file {tmp_path / 'no.yaml'}"]
    assert faults(config_path=tmp_path) == [f"cannot read the settings file {tmp_path}: Is a directory"]


def test_variables_that_are_no_settings_are_left_alone() -> None:
    """RAD_LOCK_CHECK, empty variables and other people's are nobody's settings."""
    environ = {"RAD_LOCK_CHECK": "1", "RAD_CALLER_DIR": "/", "RAD_MODE": " ", "RADIO": "1", "PATH": "/bin"}
    assert load_settings(environ=environ).mode == "sandbox"


def test_settings_are_frozen() -> None:
    """Nothing changes a setting after it was read."""
    settings = load_settings(environ={})
    with pytest.raises(ValueError, match="frozen"):
        settings.scanner.workers = 1  # type: ignore[misc]


def test_addresses_follow_the_mode() -> None:
    """Live goes to KuCoin, the others to the exchange the daemon starts, unless one is named."""
    live = load_settings(overrides={"mode": "live"}, environ={})
    play = load_settings(environ={})
    assert (live.futures_url, live.spot_url) == ("https://api-futures.kucoin.com", "https://api.kucoin.com")
    assert (play.futures_url, play.spot_url) == (None, None)
    named = load_settings(overrides={"mode": "live", "exchange.futures_url": "http://127.0.0.1:1/f"}, environ={})
    assert named.futures_url == "http://127.0.0.1:1/f"


def test_play_money_and_real_money_have_journals_apart(tmp_path: Path) -> None:
    """A journal is a file of its mode in data_dir, unless an address was given."""
    said = {"data_dir": str(tmp_path)}
    modes = [load_settings(overrides={**said, "mode": mode}, environ={}) for mode in ("sandbox", "live")]
    urls = {settings.journal_url for settings in modes}
    assert urls == {f"sqlite:///{tmp_path}/journal-sandbox.sqlite", f"sqlite:///{tmp_path}/journal-live.sqlite"}
    said["journal.url"] = "postgresql://host/rad"
    assert load_settings(overrides=said, environ={}).journal_url == "postgresql://host/rad"


def test_what_is_shown_can_be_read_again() -> None:
    """Every value as_rows shows means the same when it is written into a file."""
    settings = load_settings(environ={"RAD_EXITS__BREAK_EVEN": "1.25 atr", "RAD_LIMITS__DAILY_LOSS": "none"})
    plain = {key: value for key, value, _ in settings.as_rows() if value[:1] not in "[{"}
    again = load_settings(overrides=plain, environ={})
    assert [row[:2] for row in again.as_rows()] == [row[:2] for row in settings.as_rows()]


@pytest.mark.parametrize(
    ("parse", "show", "text", "value"),
    [
        (parse_ratio, show_ratio, "0.5%", D("0.005")),
        (parse_ratio, show_ratio, "100%", D(1)),
        (parse_seconds, show_seconds, "250ms", 0.25),
        (parse_seconds, show_seconds, "90s", 90.0),
        (parse_seconds, show_seconds, "4h", 14_400.0),
        (parse_seconds, show_seconds, "0", 0.0),
        (parse_money, show_money, "2500000", D(2_500_000)),
        (parse_distance, show_distance, "2.5 atr", Distance(atr=D("2.5"))),
        (parse_distance, show_distance, "2%", Distance(fraction=D("0.02"))),
    ],
)
def test_units_are_read_and_shown(parse: object, show: object, text: str, value: object) -> None:
    """What is read from a text is shown as that text again."""
    assert parse(text) == value  # type: ignore[operator]
    assert show(value) == text  # type: ignore[operator]


@pytest.mark.parametrize("text", ["", "x", "nan", "inf", "1e5%x", "--2%"])
def test_what_is_no_number_is_refused(text: str) -> None:
    """Neither text nor a number without end passes for a quantity."""
    for parse in (parse_ratio, parse_seconds, parse_money, parse_distance):
        with pytest.raises(ValueError, match="write"):
            parse(text)
