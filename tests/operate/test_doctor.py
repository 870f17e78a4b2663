"""The doctor on an exchange that is as it should be, and on every way it may not be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.__main__ import main
from daemon import doctor_machine
from daemon.doctor import examine
from runtime.options import KEY_OVERRIDE, RunOptions
from runtime.secrets import Secrets, secrets_in
from runtime.service_unit import State
from runtime.settings import load_settings
from sandbox.embedded import RunningSandbox

Live = Callable[..., dict[str, str]]
SAFE = ["General", "Futures"]


def looked_at(**options: Any) -> dict[str, dict[str, Any]]:
    """Return what the doctor finds, by check; the worst of two of one name."""
    facts = examine(RunOptions(mode="live", live=True, **options))
    order = {"ok": 0, "warning": 1, "fault": 2}
    found: dict[str, dict[str, Any]] = {"": facts}
    for finding in sorted(facts["findings"], key=lambda each: order[each["verdict"]]):
        found[finding["check"]] = finding
    return found


def test_nothing_to_mend(live: Live, exchange: RunningSandbox) -> None:
    """A good key on a good account: every line is looked at, none is a fault, the exit code is 0."""
    live(permissions=SAFE, ip_whitelist="127.0.0.1,10.0.0.7")
    found = looked_at()
    assert (found[""]["ok"], found[""]["exit_code"], found[""]["exchange"]) == (True, 0, exchange.futures_url)
    good = {name for name, each in found.items() if name and each["verdict"] == "ok"}
    assert good >= {
        "configuration", "keys", "futures address", "spot address", "service status", "key", "may trade",
        "cannot withdraw", "address", "public socket", "private socket", "account", "margin mode", "rate limits",
        "balance", "order size", "disk", "journal",
    }
    assert "bound to 127.0.0.1, 10.0.0.7" in found["address"]["said"]


@pytest.mark.parametrize("name", ["Transfer", "InnerTransfer"])
def test_a_key_that_moves_money_is_refused_until_allowed_in_full(live: Live, name: str) -> None:
    """Configuration, exit code 4; with the override it is a warning, and said."""
    live(permissions=[*SAFE, name])
    found = looked_at()
    assert found["cannot withdraw"]["verdict"] == "fault"
    assert KEY_OVERRIDE in found["cannot withdraw"]["said"]
    assert found[""]["exit_code"] == 4
    allowed = looked_at(any_key=True)
    assert (allowed["cannot withdraw"]["verdict"], allowed[""]["exit_code"]) == ("warning", 0)
    assert name in allowed["cannot withdraw"]["said"]


def test_permissions_too_few_or_unheard_of(live: Live) -> None:
    """Without Futures it cannot trade; one nobody knows is named."""
    live(permissions=["General", "Teleport"])
    found = looked_at()
    assert "lacks Futures" in found["may trade"]["said"]
    assert found["cannot withdraw"]["verdict"] == "warning"
    assert "Teleport" in found["cannot withdraw"]["said"]
    assert found[""]["exit_code"] == 4


@pytest.mark.parametrize(("wish", "variable", "advice"), [
    ({}, "KUCOIN_API_KEY", "does not know this key"),
    ({}, "KUCOIN_API_PASSPHRASE", "not that of the account"),
    ({}, "KUCOIN_API_SECRET", "passphrase or secret is wrong"),
    ({"ip_whitelist": "10.0.0.7"}, None, "bound to other addresses"),
])
def test_each_refusal_of_a_key_says_what_to_do(
    live: Live, monkeypatch: pytest.MonkeyPatch, wish: dict[str, Any], variable: str | None, advice: str
) -> None:
    """Key, passphrase, secret and address each fail in their own words; the public side is asked all the same."""
    live(**wish)
    if variable is not None:
        monkeypatch.setenv(variable, "something-else")
    found = looked_at()
    assert advice in found["key"]["advice"]
    assert (found[""]["exit_code"], found["public socket"]["verdict"]) == (4, "ok")
    assert "private socket" not in found


def test_an_exchange_that_is_not_there(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question is enough to know; exit code 5, and the machine is looked at all the same."""
    live()
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:1")
    found = looked_at()
    assert (found["futures address"]["verdict"], found[""]["exit_code"]) == ("fault", 5)
    assert "key" not in found
    assert "disk" in found


def test_an_account_rad_cannot_trade(live: Live, exchange: RunningSandbox) -> None:
    """A unified account, a market that only cancels, a socket that does not open: each is said by itself."""
    live()
    exchange.control("settings", {"account_mode": "UNIFIED", "service_status": "cancelonly", "vip_level": 2})
    exchange.fault("ws_refuse")
    try:
        found = looked_at()
    finally:
        exchange.control("settings", {"account_mode": "CLASSIC", "service_status": "open", "vip_level": 0})
        exchange.control("faults", method="DELETE")
    assert "unified" in found["account"]["said"]
    assert (found["service status"]["verdict"], found["private socket"]["verdict"]) == ("warning", "fault")
    assert "4000" in found["rate limits"]["advice"]               # what VIP 2 is granted
    assert found[""]["exit_code"] == 5                            # the first fault: a socket that does not open


def test_what_kucoin_tells_not_everybody_is_no_fault(live: Live, exchange: RunningSandbox) -> None:
    """A sub-account may not be told its level, nor every account its kind: that is said, and no fault."""
    live()
    for path in ("/api/ua/v1/account/mode", "/api/v2/user-info"):
        exchange.fault("refuse", path=path, code="400007", message="Access denied", status=403)
    try:
        found = looked_at()
    finally:
        exchange.control("faults", method="DELETE")
    assert (found["account"]["verdict"], found["rate limits"]["verdict"]) == ("warning", "warning")
    assert found[""]["exit_code"] == 0


def test_a_clock_that_is_off_is_no_fault(live: Live, exchange: RunningSandbox) -> None:
    """RAD signs by the exchange's time, so that it goes on; a person is told."""
    live()
    exchange.control("clock", {"offset_ms": 20_000})
    try:
        found = looked_at()
    finally:
        exchange.control("clock", {"offset_ms": 0})
    assert found["futures address"]["verdict"] == "warning"
    assert "behind" in found["futures address"]["said"]
    assert found["key"]["verdict"] == "ok"


def test_money_too_little_for_the_smallest_order(live: Live) -> None:
    """By the rules of live entries: 0.5 % of 10 USDT at a stop of 2 % is 2.50 USDT, a lot of BTC costs 50."""
    live(balance=10)
    found = looked_at()
    assert found["order size"]["verdict"] == "fault"
    assert "0 of 2 pairs" in found["order size"]["said"]
    assert "the smallest order is 50." in found["order size"]["said"]   # 0.001 BTC at 50,000.1


def test_no_money_at_all(live: Live) -> None:
    live(balance=0)
    found = looked_at()
    assert "transfer USDT" in found["balance"]["advice"]
    assert "order size" not in found


def test_no_keys(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is asked with half a key; init is named."""
    live()
    monkeypatch.setattr("daemon.doctor.load_secrets", lambda _folders: Secrets())
    found = looked_at()
    assert "KUCOIN_API_SECRET" in found["keys"]["said"]
    assert (found[""]["exit_code"], found[""]["exchange"]) == (4, None)


def test_wrong_settings_are_named_all_at_once(live: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends there: what is configured is not known."""
    live()
    monkeypatch.setenv("RAD_SCANNER__WORKERS", "many")
    monkeypatch.setenv("RAD_POSITIONS__LEVERAGE", "1000")
    found = looked_at()
    assert set(found) == {"", "configuration"}
    said = found["configuration"]["said"]
    assert "scanner.workers" in said
    assert "positions.leverage" in said


# ---- this machine -------------------------------------------------------------------------------


@pytest.mark.parametrize(("free", "verdict"), [(10**8, "fault"), (5 * 10**8, "warning"), (10**10, "ok")])
def test_room_on_the_disk(clean: None, monkeypatch: pytest.MonkeyPatch, free: int, verdict: str) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(free * 2, free, free))
    settings = load_settings()
    found = doctor_machine._disk(settings.data_dir)
    assert (found.verdict.value, found.check) == (verdict, "disk")
    assert not list(settings.data_dir.iterdir())                  # it leaves nothing behind


def test_a_data_folder_of_two_owners(clean: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """What root has written there the service cannot write again: the doctor says how to give it back."""
    settings = load_settings()
    folder = settings.data_dir.stat().st_uid
    monkeypatch.setattr(doctor_machine, "_owner", lambda path: folder + (path != settings.data_dir))
    (settings.data_dir / "backups").mkdir()
    assert doctor_machine._disk(settings.data_dir).verdict.value == "ok"      # the daemon does not write there
    (settings.data_dir / "rad.lock").touch()
    found = doctor_machine._disk(settings.data_dir)
    assert (found.verdict.value, "rad.lock" in found.said, "chown" in found.advice) == ("fault", True, True)


def test_a_journal_that_cannot_be_read(clean: None) -> None:
    settings = load_settings()
    (settings.data_dir / "journal-sandbox.sqlite").write_text("not a database at all" * 100)
    assert doctor_machine._journal(settings.journal_url).verdict.value == "fault"


def test_keys_that_others_can_read(live: Live, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live()
    file = tmp_path / ".env"
    file.write_text("KUCOIN_API_KEY=k\nKUCOIN_API_SECRET=s\nKUCOIN_API_PASSPHRASE=p\n")
    monkeypatch.setenv("RAD_MODE", "live")
    file.chmod(0o640)
    (finding,) = doctor_machine.look_at_keys(load_settings(), secrets_in(file))
    assert (finding.verdict.value, f"chmod 600 {file}") == ("warning", finding.advice)
    file.chmod(0o600)
    (finding,) = doctor_machine.look_at_keys(load_settings(), secrets_in(file))
    assert finding.verdict.value == "ok"


@pytest.mark.parametrize(("state", "verdict", "part"), [
    (None, "warning", "install-service"),
    (State(active="failed", enabled="enabled", result="start-limit-hit", restarts=20), "fault", "journalctl"),
    (State(active="active", enabled="disabled", result="success", restarts=0), "warning", "systemctl enable"),
    (State(active="active", enabled="enabled", result="success", restarts=1), "ok", ""),
])
def test_how_the_service_stands(
    clean: None, monkeypatch: pytest.MonkeyPatch, state: State | None, verdict: str, part: str
) -> None:
    """Each state of the unit, with what to do about it."""
    monkeypatch.setattr("runtime.service_unit.is_systemd_running", lambda: True)
    monkeypatch.setattr("runtime.service_unit.state", lambda: state)
    monkeypatch.setattr("runtime.service_unit.is_outdated", lambda _settings: False)
    found = doctor_machine._service(load_settings())
    assert (found.verdict.value, part in found.advice) == (verdict, True)


# ---- on the screen ------------------------------------------------------------------------------


def test_the_command_prints_lines_or_one_document(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """A mark and a sentence each, what to do below it; the same as JSON, and the same exit code."""
    live(permissions=[*SAFE, "Transfer"])
    assert main(["doctor", "--mode", "live"]) == 4
    lines = capsys.readouterr().out.splitlines()
    place = next(n for n, line in enumerate(lines) if line.startswith("✗ cannot withdraw"))
    assert lines[place + 1].strip().startswith("-> at KuCoin, take these permissions")
    assert lines[0].startswith("✓ configuration")
    assert lines[-1] == "1 thing has to be mended before RAD trades."
    assert main(["doctor", "--mode", "live", KEY_OVERRIDE, "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["ok"]
    assert {"check", "verdict", "said", "advice"} <= facts["findings"][0].keys()


def test_it_never_says_a_secret(live: Live, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither key nor secret nor passphrase nor a socket's token, whatever fails."""
    keys = live()
    main(["doctor", "--mode", "live", "--json"])
    said = "".join(capsys.readouterr())
    assert not [name for name, value in keys.items() if value in said]
    assert "token=" not in said
