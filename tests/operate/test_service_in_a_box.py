"""RAD under a real systemd: installed as the run-book says, watched, killed, restarted, given up, told of.

    RAD_SYSTEMD=long .venv/bin/python -m pytest -s tests/operate/test_service_in_a_box.py

also hangs it, lets it crash until systemd gives up, and breaks its settings.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.operate.box import LOG, PYTHON, Box, why_not

pytestmark = [pytest.mark.process, pytest.mark.timeout(600)]

UNIT = "rad.service"
DROP_IN = "/etc/systemd/system/rad.service.d/box.conf"
KEYS = {"key": "65f0c0ffee0123456789abcd", "secret": "1f2e3d4c-5b6a-7988-9a0b-0c1d2e3f4a5b",
        "passphrase": "correct horse 'battery' \\42"}
EXCHANGE = {"RAD_EXCHANGE__FUTURES_URL": "http://127.0.0.1:9000", "RAD_EXCHANGE__SPOT_URL": "http://127.0.0.1:9001"}
EXCHANGE_UNIT = f"""
[Unit]
DefaultDependencies=no
[Service]
WorkingDirectory=/opt/rad
ExecStart={PYTHON} -m sandbox --port 9000 --spot-port 9001 --pairs 6 --volatility 1 \
    --key {KEYS["key"]} --secret {KEYS["secret"]} --passphrase "correct horse 'battery' \\\\42"
StandardOutput=append:/var/log/exchange.log
StandardError=append:/var/log/exchange.log
"""
OWN_OUTPUT = f"[Service]\nStandardOutput=append:{LOG}\nStandardError=append:{LOG}\n"
WEDGED = (
    f"{OWN_OUTPUT}ExecStart=\nExecStart={PYTHON} -X faulthandler -m tests.operate.wedged run --live\n"
    "WatchdogSec=2s\nRestartSec=100ms\n[Unit]\nStartLimitBurst=4\n"
)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    """A machine in a box, with an exchange on its loopback."""
    reason = why_not()
    if reason:
        pytest.skip(f"no real systemd here: {reason}. The unit is only verified")
    with Box() as box:
        box.write("/etc/systemd/system/exchange.service", EXCHANGE_UNIT)
        box.run("systemctl", "start", "exchange.service")
        yield box


def said(*parts: object) -> None:
    """Tell whoever runs this with -s what was seen."""
    print("box:", *parts)


def init_and_install(box: Box) -> None:
    """What the run-book says, word for word, but for the addresses."""
    for name, value in KEYS.items():
        box.write(f"/root/{name}", f"{value}\n")
    files = [word for name in KEYS for word in (f"--{name}-file", f"/root/{name}")]
    box.until(lambda: "futures_url" in box.read("/var/log/exchange.log"), "the exchange listens", 20)
    made = box.rad("init", "--mode", "live", *files, "--data-dir", "/var/lib/rad", "--overwrite", **EXCHANGE)
    assert made.returncode == 0, made.stderr
    # A Python that was built in somebody's home looks there for its own library, which a service does not see.
    environment = {**EXCHANGE, "RAD_EXCHANGE__DEADLINE": "2s", "LD_LIBRARY_PATH": "/opt/python/lib"}
    box.write("/etc/rad/environment", "".join(f"{name}={value}\n" for name, value in environment.items()))
    box.write(DROP_IN, OWN_OUTPUT)
    box.write("/etc/systemd/system/rad-alert.service.d/box.conf", OWN_OUTPUT)
    installed = box.rad("install-service", "--live", "--start", **EXCHANGE)
    assert installed.returncode == 0, installed.stderr
    said(installed.stderr.strip().replace("\n", "; "))


def await_ready(box: Box) -> float:
    """Return how long it took from here until systemd holds the service for ready."""
    started = time.monotonic()
    box.until(lambda: box.show(UNIT, "SubState")["SubState"] == "running", "READY", 120)
    return time.monotonic() - started


def status_of(box: Box) -> dict[str, str]:
    """Return the lines of /proc/PID/status of the service's main process."""
    pid = box.show(UNIT, "MainPID")["MainPID"]
    text = box.run("cat", f"/proc/{pid}/status").stdout
    return dict(line.split(":\t", 1) for line in text.splitlines() if ":\t" in line)


def starts_as_promised(box: Box) -> None:
    """init, install-service, READY: as its own user, without a right, its keys handed over by systemd alone."""
    init_and_install(box)
    said(f"READY after {await_ready(box):.1f} s")
    status = status_of(box)
    uid = int(box.run("id", "-u", "rad").stdout)
    assert set(map(int, status["Uid"].split())) == {uid}
    assert uid != 0
    assert (status["CapEff"], status["CapBnd"]) == ("0" * 16, "0" * 16)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    # The file itself is root's; what the service reads is a copy that only it can see.
    assert box.run("stat", "-c", "%a %U", "/opt/rad/.env").stdout.split() == ["600", "root"]
    credential = box.run("stat", "-c", "%a %U", "/run/credentials/rad.service/rad.env").stdout.split()
    assert credential[0] == "440" or credential == ["400", "rad"], credential
    assert KEYS["secret"] not in box.read(LOG) + box.run("systemctl", "show", UNIT).stdout
    assert box.run("stat", "-c", "%a %U", "/var/lib/rad").stdout.split() == ["700", "rad"]
    assert "ready: markets loaded, reconciled, stream live, protected" in box.read(LOG)


def tells_how_it_stands(box: Box) -> None:
    """systemctl status shows equity, positions and protection; the doctor finds nothing to mend."""
    opened = box.rad("open", "XBTUSDTM", "--side", "long")
    assert opened.returncode == 0, opened.stderr
    box.until(lambda: " open, all protected" in box.show(UNIT, "StatusText")["StatusText"], "status line", 30)
    text = box.show(UNIT, "StatusText")["StatusText"]
    said(text)
    assert re.fullmatch(r"(running|degraded), equity [\d.]+ USDT, [12] open, all protected.*", text)


def reloads(box: Box) -> None:
    """systemctl reload changes a limit while it runs; a wrong file is refused, and nothing has changed."""
    settings = box.read("/opt/rad/config.yaml")
    changed = re.sub(r"max_open: \S+", "max_open: 5", settings)
    box.write("/opt/rad/config.yaml", changed)
    assert box.run("systemctl", "reload", UNIT).returncode == 0
    assert re.search(r"setting changed key=positions.max_open from=3 to=5", box.read(LOG))
    box.write("/opt/rad/config.yaml", changed.replace("max_open: 5", "max_open: many"))
    assert box.run("systemctl", "reload", UNIT).returncode != 0
    box.write("/opt/rad/config.yaml", changed)
    assert box.show(UNIT, "ActiveState")["ActiveState"] == "active"


def hangs(box: Box) -> None:
    """The main thread hangs: the watchdog is not fed, systemd aborts RAD and starts it again."""
    box.write(DROP_IN, WEDGED)
    box.run("systemctl", "daemon-reload")
    box.run("systemctl", "restart", UNIT)
    await_ready(box)
    before = box.show(UNIT, "MainPID")["MainPID"]
    started = time.monotonic()
    box.run("kill", "-USR1", before)
    box.until(lambda: box.show(UNIT, "NRestarts")["NRestarts"] == "1", "it is started again", 40)
    said(f"hang to restart {time.monotonic() - started:.1f} s")
    await_ready(box)
    log = box.read(LOG)
    assert "the watchdog is not fed: MainThread makes no progress" in log
    assert "Fatal Python error: Aborted" in log
    assert re.search(r"wedged.py\", line \d+ in hang", log)
    assert "Watchdog timeout" in box.read("/dev/kmsg")


def crashes_again_and_again(box: Box) -> None:
    """Too many failures: systemd starts it no more, and the alert names what is open and what protects it."""
    box.write("/run/rad-dies", "")
    box.run("systemctl", "kill", "--signal=KILL", UNIT)
    box.until(lambda: box.show(UNIT, "ActiveState")["ActiveState"] == "failed", "systemd gives up", 30)
    box.until(lambda: "RAD: journalctl" in box.read(LOG), "the alert", 20)
    alert = [line for line in box.read(LOG).splitlines() if line.startswith("<2>RAD:")]
    said(*alert)
    assert "rad.service is down and is not started any more" in alert[0]
    assert "BTC/USDT:USDT (stop at" in alert[1]
    assert "Start request repeated too quickly" in box.read("/dev/kmsg")


def has_wrong_settings(box: Box) -> None:
    """Exit code 4 is final: no restart would find other settings."""
    box.run("rm", "/run/rad-dies")
    box.write(DROP_IN, OWN_OUTPUT)
    box.run("systemctl", "daemon-reload")
    settings = box.read("/opt/rad/config.yaml")
    box.write("/opt/rad/config.yaml", settings.replace("max_open: 5", "max_open: many"))
    box.run("systemctl", "reset-failed", UNIT)
    assert box.run("systemctl", "start", UNIT).returncode != 0
    found = box.show(UNIT, "ActiveState", "ExecMainStatus", "NRestarts")
    assert found == {"ActiveState": "failed", "ExecMainStatus": "4", "NRestarts": "0"}
    box.until(lambda: "not started any more: exit-code (exited 4)" in box.read(LOG), "the alert", 30)


def test_it_runs_as_the_run_book_says(box: Box) -> None:
    """Installed, ready, without rights, with its keys; its status line; its settings read again.

    And, in the long form, what systemd does when it hangs, crashes, or cannot be right. One test: each part
    goes on where the one before it ended.
    """
    starts_as_promised(box)
    tells_how_it_stands(box)
    reloads(box)
    if os.environ.get("RAD_SYSTEMD") == "long":
        hangs(box)
        crashes_again_and_again(box)
        has_wrong_settings(box)
