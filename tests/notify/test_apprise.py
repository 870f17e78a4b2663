"""The way out through apprise, against a service on this machine; and where its address is written."""

from __future__ import annotations

import email
import html
import json
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from console.arguments import parse
from console.commands import perform
from console.failure import Failure
from console.notify_test import send_all
from console.service_failed import tell_everybody
from console.where import Place
from control.steering import BAD_CONFIG, ERROR, OK
from daemon import building
from runtime.apprise_outlet import apprise_send
from runtime.notifier import Message
from runtime.options import RunOptions
from runtime.outlets import load_outlets
from runtime.redaction import Redactor
from tests.built_house import a_built_house
from tests.crowd import PATIENCE_S
from tests.notify.webhook import Webhook, a_webhook
from trading.errors import ConfigError
from trading.events import Kind, Level

MESSAGE = Message(title="RAD test", body="BTC/USDT:USDT <closed> & gone", level=Level.CRITICAL)
TOKEN = "a-token-of-some-length"


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    with a_webhook() as hook:
        yield hook


@pytest.fixture
def apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where nothing is set."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RAD_DATA_DIR", str(tmp_path / "data"))
    return tmp_path


def test_a_message_arrives_as_it_was_worded(webhook: Webhook) -> None:
    """Title, body and how grave it is."""
    assert apprise_send("hook", webhook.url())(MESSAGE) == ""
    got = webhook.got.get(timeout=PATIENCE_S)
    assert (got["title"], got["message"], got["type"]) == (MESSAGE.title, MESSAGE.body, "failure")


class _Smtp:
    """What smtplib would talk to."""

    sent: list[str] = []

    def __init__(self, *_: object, **__: object) -> None: ...

    def sendmail(self, _from: str, _to: object, text: str) -> None:
        self.sent.append(text)

    def __getattr__(self, _name: str) -> Callable[..., None]:
        return lambda *_, **__: None


def test_services_that_read_html_get_text_and_not_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an exchange answers may hold a "<": Telegram refuses such a message for good, a mail loses it."""
    body = "unreadable answer, HTTP 502: <html> <head><cen\nBTC/USDT:USDT 1 < 2 & <closed>"
    message = Message(title="RAD live", body=body, level=Level.CRITICAL)
    posted: list[str] = []

    def post(_url: str, data: str, **_: object) -> SimpleNamespace:
        posted.append(json.loads(data)["text"])
        return SimpleNamespace(status_code=200, content=b'{"ok": true}')

    monkeypatch.setattr("requests.post", post)
    assert apprise_send("phone", f"tgram://123456789:{'a' * 35}/987654321/")(message) == ""
    title, *lines = posted[0].splitlines()
    assert title == "<b>RAD live</b>"
    assert "\n".join(map(html.unescape, lines)) == body
    assert not any("<" in line for line in lines)

    monkeypatch.setattr(_Smtp, "sent", [])
    monkeypatch.setattr("smtplib.SMTP", _Smtp)
    assert apprise_send("mail", "mailto://me:secret@mail.example.com?to=you@example.com")(message) == ""
    plain, rich = email.message_from_string(_Smtp.sent[0]).get_payload()
    assert plain.get_payload(decode=True).decode() == body
    assert "&lt;closed&gt;" in rich.get_payload(decode=True).decode()


def test_a_refusal_comes_with_its_reason(webhook: Webhook) -> None:
    """What apprise says of it, so that a person can mend it."""
    webhook.status = 401
    assert "401" in apprise_send("hook", webhook.url())(MESSAGE)


def test_a_service_that_is_not_there_is_a_reason(webhook: Webhook) -> None:
    """Nobody listens on port 9."""
    assert "127.0.0.1" in apprise_send("hook", "json://127.0.0.1:9/x")(MESSAGE)


def test_an_address_nobody_understands_is_refused_without_showing_it(capfd: pytest.CaptureFixture[str]) -> None:
    """It names the outlet; the address may hold a token, and is not shown anywhere."""
    with pytest.raises(ConfigError, match=r"outlet phone \(nonsense://…\)") as refused:
        apprise_send("phone", f"nonsense://{TOKEN}")
    out, err = capfd.readouterr()
    assert TOKEN not in f"{refused.value}{out}{err}"


def test_addresses_come_from_the_environment_or_systemd_or_a_file(tmp_path: Path) -> None:
    """The first to say one wins; what is set empty is not set; a service's file is not its own to read."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "notify_url_mail").write_text("mailto://systemd\n")
    (credentials / "NOTIFY_URL_PHONE").write_text("ntfy://systemd\n")
    (credentials / "unrelated").write_text("x")
    (tmp_path / ".env").write_text(
        "NOTIFY_URL=json://dotenv/\nNOTIFY_URL_MAIL=mailto://dotenv\nTELEGRAM_TOKEN=1:dotenv\nNOTIFY_URL_NONE=\n"
    )
    environ = {"CREDENTIALS_DIRECTORY": str(credentials), "NOTIFY_URL_PHONE": "ntfy://environment"}
    served = load_outlets([tmp_path], environ)
    assert served.urls == {"mail": "mailto://systemd", "phone": "ntfy://environment"}
    assert served.telegram_token == ""
    del environ["CREDENTIALS_DIRECTORY"]
    outlets = load_outlets([tmp_path], environ)
    assert outlets.urls == {"main": "json://dotenv/", "mail": "mailto://dotenv", "phone": "ntfy://environment"}
    assert outlets.telegram_token == "1:dotenv"
    assert repr(outlets) == "Outlets(main, mail, phone; telegram set)"


def test_what_is_secret_in_an_address_is_hidden_in_whatever_form() -> None:
    """Tokens and passwords, escaped or not; hosts stay readable."""
    outlets = load_outlets([], {
        "NOTIFY_URL_A": "tgram://123456789:AbC-dEf_GhI/987654321/", "NOTIFY_URL_B": "mailto://me:p%40ss@gmail.com",
        "NOTIFY_URL_C": "discord://111122223333/tokenOfDiscord", "TELEGRAM_TOKEN": "55:secretOfTheBot",
    })
    redact = Redactor(outlets.redactions())
    for text in (
        "https://api.telegram.org/bot123456789:AbC-dEf_GhI/sendMessage", "login p@ss", "login p%40ss refused",
        "POST https://discord.com/api/webhooks/111122223333/tokenOfDiscord", "bot55:secretOfTheBot",
    ):
        hidden = redact(text)
        for secret in ("AbC-dEf_GhI", "p@ss", "p%40ss", "tokenOfDiscord", "111122223333", "secretOfTheBot"):
            assert secret not in hidden
    assert redact("smtp.gmail.com api.telegram.org") == "smtp.gmail.com api.telegram.org"


def _command(*words: str) -> Namespace:
    return parse(["notify-test", *words])


def test_notify_test_sends_one_to_each_and_says_what_came_of_it(
    apart: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """✓ or ✗ for each; one that fails makes the exit code; no address is shown."""
    monkeypatch.setenv("NOTIFY_URL_GOOD", webhook.url())
    assert perform(_command()) == OK
    assert capsys.readouterr().out == "✓ good: taken\n"
    assert webhook.got.get(timeout=PATIENCE_S)["title"] == "RAD sandbox test"
    monkeypatch.setenv("NOTIFY_URL_BAD", f"json://127.0.0.1:9/{TOKEN}2")
    monkeypatch.setenv("NOTIFY_URL_WORSE", f"nonsense://{TOKEN}3")
    assert perform(_command("--json")) == ERROR
    said = capsys.readouterr()
    found = {row["outlet"]: row["error"] for row in json.loads(said.out)}
    assert found["good"] is None
    assert "Connection" in found["bad"]
    assert "none that apprise understands" in found["worse"]
    assert TOKEN not in said.out + said.err


def test_notify_test_without_any_address_says_what_to_write(apart: Path) -> None:
    """A matter of configuration."""
    with pytest.raises(Failure, match="NOTIFY_URL_PHONE") as refused:
        perform(_command())
    assert refused.value.exit_code == BAD_CONFIG


def test_notify_test_waits_for_no_service_for_ever(webhook: Webhook) -> None:
    """One that does not answer is told from one that refuses."""
    webhook.answering.clear()
    found = send_all({"hook": apprise_send("hook", webhook.url())}, MESSAGE, str, patience_s=0.1)
    assert found == {"hook": "no answer within 0.1 s"}


def test_the_daemon_tells_through_what_is_set(
    apart: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the feed of the house to the service, with the level the settings give the kind."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("NOTIFY_URL", webhook.url())
    monkeypatch.setenv("RAD_NOTIFY__LEVELS", "{paused: critical, trouble: none}")
    with a_built_house() as built:
        assert built.notifier is not None
        built.notifier.start()
        built.events.publish(Kind.TROUBLE, what="muted")
        built.events.publish(Kind.PAUSED)
        got = webhook.got.get(timeout=PATIENCE_S)
        assert (got["title"], got["message"]) == ("RAD sandbox critical", "paused: nothing is entered")
        webhook.status = 500
        built.events.publish(Kind.HALTED, what=f"because {TOKEN}")
        assert built.notifier.stop(built.events, PATIENCE_S)
        assert [trouble.what for trouble in built.troubles()] == ["notifier"]
        assert built.problems()[0].startswith("notifier: main has taken nothing for ")
        assert TOKEN not in built.problems()[0]


def test_the_alert_of_the_service_goes_out_through_the_outlets(
    apart: Path, webhook: Webhook, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """When systemd starts RAD no more a person is told by the same ways; one that fails is said in the journal."""
    monkeypatch.setenv("NOTIFY_URL_GOOD", webhook.url())
    monkeypatch.setenv("NOTIFY_URL_BAD", f"json://127.0.0.1:9/{TOKEN}2")
    monkeypatch.setenv("MONITOR_SERVICE_RESULT", "start-limit-hit")
    assert tell_everybody(Place(data_dir=apart / "data", mode=None, journal_url=None)) == OK
    got = webhook.got.get(timeout=PATIENCE_S)
    assert (got["title"], got["type"]) == ("RAD is down", "failure")
    assert "rad.service is down and is not started any more: start-limit-hit" in got["message"]
    said = capsys.readouterr().err
    assert "no message sent through bad: " in said
    assert TOKEN not in said


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("RAD_NOTIFY__LEVELS", "{entri: none}", 'notify.levels.*"entri" is nothing that is told'),
        ("RAD_NOTIFY__LEVELS", "{entry: loud}", 'notify.levels.*"loud" is no level'),
        ("RAD_NOTIFY__LEVEL", "debug", "notify.level"),
        ("RAD_NOTIFY__OUTLETS", "{phone: critical}", "notify.outlets: phone has no address; set NOTIFY_URL_PHONE"),
        ("RAD_TELEGRAM__CHATS", "@me", "telegram.chats.*write their numbers"),
        ("NOTIFY_URL", "nonsense://x", "outlet main"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(
    apart: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    """With its key, and what would be right."""
    monkeypatch.setenv("RAD_EXCHANGE__FUTURES_URL", "http://127.0.0.1:9")
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        building.build(RunOptions())
