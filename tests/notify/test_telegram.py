"""Commands by Telegram, against a small Telegram on this machine."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from control.steering import NotFound
from control.telegram import CODE_S, MOST_WAITING, RETRY_S, STALE_S, Telegram
from control.telegram_api import TelegramApi
from tests.control.fake_steering import POSITION, STATUS, TRADE, FakeSteering
from tests.crowd import PATIENCE_S
from tests.manual_clock import ManualClock
from tests.notify.fake_telegram import OWNER, TOKEN, FakeTelegram, a_telegram

TITLE = "[RAD sandbox] "


class Chat:
    """A bot, the Telegram it talks to and the daemon it steers."""

    def __init__(self, telegram: FakeTelegram, clock: ManualClock, token: str = TOKEN) -> None:
        self.telegram = telegram
        self.clock = clock
        self.steering = FakeSteering()
        self.steering.on["threads"] = lambda *_: {"threads": [
            {"name": "MainThread", "state": "running", "failures": 0, "restarts": 0, "last_error": ""},
            {"name": "scan-3", "state": "stuck", "failures": 1, "restarts": 0, "last_error": "ValueError: no"},
            {"name": "control-0", "state": "running", "failures": None, "restarts": None, "last_error": ""},
        ]}
        self.bot = Telegram(
            self.steering, TelegramApi(telegram.url, token), clock, chats=(OWNER, -500), title="RAD sandbox",
            redact=lambda text: text.replace(token, "***"),
        )

    def say(self, text: str, **more: Any) -> int:
        return self.telegram.say(text, date=self.clock.now_ms() // 1000 - more.pop("age_s", 0), **more)

    def ask(self, text: str) -> str:
        """Say it and return the answer, without the title each begins with."""
        self.say(text)
        reply = self.telegram.reply()
        assert reply.startswith(TITLE)
        return reply.removeprefix(TITLE)

    def asked(self) -> list[str]:
        """What the daemon was asked for, in that order."""
        return [each[0] for each in self.steering.asked]


Open = Callable[..., Chat]


@pytest.fixture
def telegram() -> Iterator[FakeTelegram]:
    with a_telegram() as fake:
        yield fake


@pytest.fixture
def chat(telegram: FakeTelegram) -> Iterator[Chat]:
    """A bot that listens."""
    opened = Chat(telegram, ManualClock())
    opened.bot.start()
    telegram.await_poll(0)
    yield opened
    opened.steering.released.set()
    assert opened.bot.stop(PATIENCE_S)


@pytest.mark.parametrize(
    ("command", "answer"),
    [
        ("/status", r"running, sandbox futures, version 0\.0\nequity 10012\.30, 1 open, 1 with a stop"),
        ("/positions", r"BTC/USDT:USDT long 10 at 50000: \+5\.00 \(\+1\.25 R\), stop 49900, there 49750"),
        ("/opportunities", "the latest scan found nothing"),
        ("/verify", "journal and exchange agree"),
        ("/pause", "paused: nothing is entered, exits go on"),
        ("/resume", "resumed"),
        ("/close btc", r"closed BTC/USDT:USDT long at 50512\.5: \+4\.52 \(\+1\.28 R\)"),
        ("/close", "which one"),
        ("/help", r"/status how it is doing\n.*/flatten close everything"),
        ("/start", "/status how it is doing"),
        ("/HELP@rad_bot", "/status how it is doing"),
        ("/nonsense", r"I do not know /nonsense\.\n/status"),
        ("/threads", "2 of 3 threads get on\nscan-3 STUCK: 1 failures, 0 restarts ValueError: no$"),
    ],
)
def test_a_command_is_answered(chat: Chat, command: str, answer: str) -> None:
    """In a few lines that fit a phone, under a title that says whose money it is."""
    assert re.match(answer, chat.ask(command), re.DOTALL)


def test_what_is_old_says_so(chat: Chat) -> None:
    """An account not looked at, and a position without a price, for minutes."""
    chat.steering.on["status"] = lambda: STATUS | {"equity_age_s": 720.0}
    chat.steering.on["positions"] = lambda: [POSITION | {"price_age_s": 130.0}]
    assert "equity 10012.30 12 min ago, 1 open" in chat.ask("/status")
    assert "(+1.25 R) 2 min ago, stop 49900" in chat.ask("/positions")


def test_profit_and_daily_sum_up_the_trades(chat: Chat) -> None:
    """By day, newest first; profit is after fees, and says where it misses funding."""
    lost = TRADE | {"realised_pnl": "-1.022", "closed_at": "2026-01-03T00:00:01.000Z"}
    chat.steering.on["trades"] = lambda *_: [lost, TRADE, TRADE]
    assert chat.ask("/profit").startswith("3 trades, 2 won, +8.02, after fees")
    assert chat.ask("/daily") == "2026-01-03: 1 trades, -1.02\n2026-01-02: 2 trades, +9.04"     # 2 × 4.522
    chat.steering.on["trades"] = lambda *_: [lost | {"funding": None}, TRADE]
    assert chat.ask("/profit").startswith("2 trades, 1 won, +3.50 before funding, after fees")
    assert chat.ask("/daily") == "2026-01-03: 1 trades, -1.02 before funding\n2026-01-02: 1 trades, +4.52"


def test_strangers_get_no_answer_and_one_line_in_the_log(
    chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither one in his own chat nor one in a group that is allowed, nor a forged group of the owner's."""
    with caplog.at_level(logging.WARNING, "telegram"):
        for _ in range(3):
            chat.say("/flatten", chat=666)
            chat.say("/flatten", chat=-500, sender=667)
            chat.say("/flatten", chat=-999, sender=OWNER)
        assert chat.ask("/status").startswith("running")
    assert chat.asked() == ["status"]
    ignored = [record.getMessage() for record in caplog.records if "ignored" in record.getMessage()]
    assert ignored == [
        "message ignored, not in telegram.chats chat=666 from=666",
        "message ignored, not in telegram.chats chat=-500 from=667",
        "message ignored, not in telegram.chats chat=-999 from=1001",
    ]
    assert chat.telegram.replies.empty()


def test_in_an_allowed_group_an_allowed_person_is_obeyed(chat: Chat) -> None:
    """The answer goes to the group."""
    chat.say("/status", chat=-500, sender=OWNER)
    assert chat.telegram.replies.get(timeout=PATIENCE_S)["chat_id"] == -500


def test_what_was_said_before_the_start_is_passed_over(telegram: FakeTelegram) -> None:
    """A flatten of yesterday does not meet today's positions."""
    chat = Chat(telegram, ManualClock())
    chat.say("/pause")
    last = chat.say("/resume")
    chat.bot.start()
    telegram.await_poll(last + 1)
    assert chat.ask("/status").startswith("running")
    assert chat.asked() == ["status"]
    assert telegram.offsets[:2] == [-1, last + 1]
    assert chat.bot.stop(PATIENCE_S)


def test_what_was_long_on_its_way_is_not_done(chat: Chat) -> None:
    """After an hour without network the command is not what is wanted now; whoever gave it is told."""
    chat.say("/resume", age_s=int(STALE_S) + 1)
    assert chat.telegram.reply() == f"{TITLE}/resume came too late; say it again if it still holds"
    assert chat.asked() == []


def test_each_update_is_done_once_over_failures(chat: Chat) -> None:
    """The offset is kept: what was done is confirmed with the next call that gets through."""
    number = chat.say("/pause")
    chat.telegram.reply()
    chat.telegram.await_poll(number + 1)
    chat.telegram.fail("drop", 502)
    chat.telegram.await_faults(1)
    chat.clock.await_sleepers(1)
    chat.clock.advance(RETRY_S[0])
    chat.telegram.await_faults(2)
    chat.clock.await_sleepers(1)
    chat.clock.advance(RETRY_S[1])
    assert chat.ask("/status").startswith("running")
    assert chat.asked() == ["pause", "status"]


def test_a_network_that_is_gone_is_tried_with_bounded_pauses_and_said(
    chat: Chat, caplog: pytest.LogCaptureFixture
) -> None:
    """One line in the log, a sentence in `status` after a minute, and the pauses stop growing."""
    chat.telegram.fail(*["drop"] * 9)
    with caplog.at_level(logging.INFO, "telegram"):
        for number, pause_s in enumerate((*RETRY_S, *RETRY_S[-1:] * 2)):
            chat.telegram.await_faults(number + 1)
            chat.clock.await_sleepers(1)
            if number < 3:
                assert chat.bot.trouble() == ""
            chat.clock.advance(pause_s)
        chat.telegram.await_faults(9)
        chat.clock.await_sleepers(1)
        assert chat.bot.trouble() == "Telegram has not answered for 228 s (no answer (ConnectionError))"
        chat.clock.advance(RETRY_S[-1])
        assert chat.ask("/status").startswith("running")
    assert chat.bot.trouble() == ""
    assert [record.getMessage().partition(",")[0] for record in caplog.records] == [
        "telegram not reached", "telegram answers again",
    ]


def test_telegrams_own_pause_is_kept_within_bounds(chat: Chat) -> None:
    """Asked too often, it says how long to wait; more than five minutes is not believed."""
    chat.telegram.fail((429, {
        "ok": False, "error_code": 429, "description": "Too Many Requests", "parameters": {"retry_after": 86_400},
    }))
    chat.telegram.await_faults(1)
    chat.clock.await_sleepers(1)
    polls = len(chat.telegram.offsets)
    chat.clock.advance(299)
    assert len(chat.telegram.offsets) == polls
    chat.clock.advance(1)
    assert chat.ask("/status").startswith("running")


@pytest.mark.parametrize(
    ("fault", "is_pause"),
    [
        ((200, b"<html>"), True), ((200, [1, 2]), True), (500, True),
        ((200, {"ok": True}), False), ((200, {"ok": True, "result": 7}), False),
        ((200, {"ok": True, "result": ["x", {"update_id": "y"}, {"update_id": 5}]}), False),
    ],
)
def test_answers_nobody_foresaw_are_survived(chat: Chat, fault: Any, is_pause: bool) -> None:
    """The next command is obeyed, after a pause if it was no answer at all."""
    chat.telegram.fail(fault)
    chat.telegram.await_faults(1)
    if is_pause:
        chat.clock.await_sleepers(1)
        chat.clock.advance(RETRY_S[0])
    chat.say("/status")
    assert chat.telegram.reply().startswith(f"{TITLE}running")


@pytest.mark.parametrize(
    "update",
    [
        {"message": None}, {"message": {"chat": 5, "from": "x"}}, {"edited_message": {}},
        {"message": {"chat": {"id": OWNER}, "from": {"id": OWNER}, "text": ["/pause"], "date": 0}},
        {"message": {"chat": {"id": OWNER}, "from": {"id": OWNER}, "text": "/pause", "date": "now"}},
        {"message": {"chat": {"id": str(OWNER)}, "from": {"id": str(OWNER)}, "text": "/pause"}},
        {"message": {"chat": {"id": OWNER}, "text": "/pause"}},
    ],
)
def test_messages_that_make_no_sense_do_nothing(chat: Chat, update: dict[str, Any]) -> None:
    """Whoever sends them; what follows is obeyed."""
    chat.telegram.put(update)
    chat.say("/status")
    replies = [chat.telegram.reply()]
    if "too late" in replies[0]:
        replies.append(chat.telegram.reply())
    assert replies[-1].startswith(f"{TITLE}running")
    assert chat.asked() == ["status"]


def test_a_flatten_wants_its_code(chat: Chat) -> None:
    """Said once it asks; with the code it is done, and the code serves once."""
    code = re.search(r"/flatten (\d{4}) within 60 seconds", chat.ask("/flatten"))
    assert code is not None
    assert chat.asked() == []
    assert chat.ask(f"/flatten {code[1]}") == "paused; 1 closed, +4.52"
    assert "does not hold" in chat.ask(f"/flatten {code[1]}")
    assert chat.asked() == ["flatten"]


def test_a_code_expires_and_one_wrong_answer_ends_it(chat: Chat) -> None:
    """A guess is one guess; and a code of another chat is none."""
    def fresh() -> str:
        found = re.search(r"/flatten (\d{4})", chat.ask("/flatten"))
        assert found is not None
        return found[1]

    code = fresh()
    wrong = f"{(int(code) + 1) % 10_000:04d}"
    assert "does not hold" in chat.ask(f"/flatten {wrong}")
    assert "does not hold" in chat.ask(f"/flatten {code}")
    code = fresh()
    chat.clock.advance(CODE_S + 1)
    assert "does not hold" in chat.ask(f"/flatten {code}")
    code = fresh()
    chat.say(f"/flatten {code}", chat=-500, sender=OWNER)
    assert "does not hold" in chat.telegram.reply()
    assert chat.asked() == []
    assert "does not hold" in chat.ask("/flatten ١٢٣٤")


def test_a_close_of_nothing_is_a_plain_sentence(chat: Chat) -> None:
    """Whatever the daemon says no with."""
    def refuse(symbol: str) -> Any:
        raise NotFound(f"there is no position in {symbol}")

    chat.steering.on["close"] = refuse
    assert chat.ask("/close DOGE") == "there is no position in DOGE"


def test_a_short_name_that_may_be_two_closes_neither(chat: Chat) -> None:
    """The whole symbol does."""
    other = POSITION | {"symbol": "BTC/USDC:USDC"}
    chat.steering.on["positions"] = lambda: [POSITION, other]
    assert chat.ask("/close BTC") == "BTC may be BTC/USDT:USDT or BTC/USDC:USDC"
    assert "close" not in chat.asked()
    assert chat.ask("/close btc/usdc").startswith("closed BTC/USDC:USDC")


def test_what_goes_wrong_inside_stays_inside(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    """The kind of the error goes out; its text is for the log."""
    def break_down() -> Any:
        raise RuntimeError("something private")

    chat.steering.on["status"] = break_down
    assert chat.ask("/status") == "internal error RuntimeError; the log has the details"


def test_commands_are_written_down_questions_are_not(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    """Who, what and what came of it; no code."""
    with caplog.at_level(logging.INFO, "audit"):
        chat.ask("/status")
        chat.ask("/pause")
        chat.ask("/close BTC")
        chat.ask("/flatten 1234")
    assert [record.getMessage() for record in caplog.records if record.name == "audit"] == [
        "command who=telegram what=pause chat=1001 result=ok",
        "command who=telegram what=close chat=1001 symbol=BTC result=ok",
        "command who=telegram what=flatten chat=1001 result=was not confirmed: that code does not hold;"
        " nothing was done",
    ]


def test_an_exit_passes_questions_that_hang(chat: Chat) -> None:
    """However many of them there are: a worker is kept for what is urgent."""
    hung = threading.Semaphore(0)

    def hang() -> Any:
        hung.release()
        chat.steering.hang()
        return {"agree": True, "differences": []}

    chat.steering.on["status"] = chat.steering.on["verify"] = hang
    for command in ("/verify", "/verify", "/verify", "/status", "/status", "/status"):
        chat.say(command)
    for _ in range(3):
        assert hung.acquire(timeout=PATIENCE_S)
    assert chat.ask("/pause").startswith("paused")


def test_a_flood_is_bounded(chat: Chat, caplog: pytest.LogCaptureFixture) -> None:
    """What is too much is dropped, and said in the log."""
    chat.steering.on["status"] = lambda: chat.steering.hang() or {}
    with caplog.at_level(logging.WARNING, "telegram"):
        for _ in range(MOST_WAITING + 5):
            last = chat.say("/status")
        chat.telegram.await_poll(last + 1)
    assert sum("dropped" in record.getMessage() for record in caplog.records) == 5


def test_the_end_cuts_the_long_poll(telegram: FakeTelegram) -> None:
    """Nobody waits twenty-five seconds for a bot to end."""
    chat = Chat(telegram, ManualClock())
    chat.bot.start()
    telegram.await_poll(0)
    assert chat.bot.stop(5)


def test_a_wrong_token_is_said_without_showing_it(
    telegram: FakeTelegram, caplog: pytest.LogCaptureFixture
) -> None:
    """Telegram says 401; it is tried on, slowly."""
    chat = Chat(telegram, ManualClock(), token="999:WrongWrongWrong")
    with caplog.at_level(logging.WARNING, "telegram"):
        chat.bot.start()
        chat.clock.await_sleepers(1)
    chat.clock.advance(61)
    assert "401" in chat.bot.trouble()
    assert "WrongWrongWrong" not in caplog.text + chat.bot.trouble()
    assert chat.bot.stop(PATIENCE_S)
