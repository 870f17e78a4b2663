"""Telegram's Bot API on this machine, as much of it as RAD uses: getUpdates and sendMessage."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "123456:AAbbCCddEEffGGhhIIjj"
OWNER = 1001


class FakeTelegram:
    """One bot: updates wait to be fetched, replies are kept."""

    def __init__(self) -> None:
        self.url = ""
        self.replies: queue.Queue[dict[str, Any]] = queue.Queue()
        self.offsets: list[int] = []
        self._news = threading.Condition()
        # Guarded by _news.
        self._updates: list[dict[str, Any]] = []
        self._serial = 700
        self._polls = 0                  # under way, and waiting for news
        self._faults: list[Any] = []     # what the next getUpdates meet instead
        self._faults_met = 0
        self._closing = False

    def say(self, text: Any, *, chat: Any = OWNER, sender: Any = None, date: Any, **more: Any) -> int:
        """A person writes to the bot; returns the update's number."""
        sender = chat if sender is None else sender
        people = {"chat": {"id": chat}, "from": {"id": sender}}
        message = {"message_id": 1, "date": date, **people, "text": text, **more}
        return self.put({"message": message})

    def put(self, update: dict[str, Any]) -> int:
        """Something happens, whatever it is."""
        with self._news:
            self._serial += 1
            self._updates.append({"update_id": self._serial} | update)
            self._news.notify_all()
            return self._serial

    def fail(self, *faults: Any) -> None:
        """Meet the next getUpdates with these: a code, a (code, body), or "drop"."""
        with self._news:
            self._faults += faults
            self._news.notify_all()

    def reply(self, timeout_s: float = 10.0) -> str:
        """Return the next thing the bot says."""
        return str(self.replies.get(timeout=timeout_s)["text"])

    def await_poll(self, offset: int | None = None) -> None:
        """Block until the bot waits for news (after *offset*)."""
        with self._news:
            assert self._news.wait_for(lambda: self._polls > 0 and offset in (None, self.offsets[-1]), 10)

    def await_faults(self, count: int) -> None:
        """Block until so many faults have been met."""
        with self._news:
            assert self._news.wait_for(lambda: self._faults_met >= count, 10)

    def close(self) -> None:
        with self._news:
            self._closing = True
            self._news.notify_all()

    def answer(self, method: str, said: dict[str, Any]) -> Any:
        """Return (code, body), or "drop"."""
        if method == "sendMessage":
            self.replies.put(said)
            return 200, {"ok": True, "result": {"message_id": 2}}
        if method != "getUpdates":
            return 404, {"ok": False, "error_code": 404, "description": "Not Found"}
        with self._news:
            offset = said.get("offset", 0)
            self.offsets.append(offset)
            if offset < 0:
                self._updates = self._updates[offset:]
            else:
                self._updates = [update for update in self._updates if update["update_id"] >= offset]
            self._polls += 1
            self._news.notify_all()
            self._news.wait_for(lambda: self._updates or self._faults or self._closing, said.get("timeout", 0))
            self._polls -= 1
            if self._faults:
                self._faults_met += 1
                self._news.notify_all()
                return self._faults.pop(0)
            return 200, {"ok": True, "result": list(self._updates)}


@contextmanager
def a_telegram() -> Iterator[FakeTelegram]:
    """Serve on a free port."""
    fake = FakeTelegram()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # noqa: N802 - the standard library's name
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, _, rest = self.path.partition("/bot")
            token, _, method = rest.partition("/")
            met = fake.answer(method, said) if token == TOKEN else 401
            if met == "drop":
                self.close_connection = True
                return
            code, body = met if isinstance(met, tuple) else (
                met, {"ok": False, "error_code": met, "description": "as told"}
            )
            raw = body if isinstance(body, bytes) else json.dumps(body).encode()
            try:
                self.send_response(code)
                self.send_header("Content-Length", str(len(raw)))
                self.end_headers()
                self.wfile.write(raw)
            except OSError:
                pass                       # the bot has hung up

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.url = f"http://127.0.0.1:{server.server_address[1]}"
    serving = threading.Thread(target=lambda: server.serve_forever(0.02), name="fake-telegram", daemon=True)
    serving.start()
    try:
        yield fake
    finally:
        fake.close()
        server.shutdown()
        server.server_close()
        serving.join(5)
