"""A service for messages on this machine: takes them, refuses them, or leaves whoever sends waiting."""

from __future__ import annotations

import json
import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Webhook:
    """What the service does next, and what it got."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.status = 200
        self.answering = threading.Event()
        self.answering.set()
        self.got: queue.Queue[dict[str, Any]] = queue.Queue()

    def url(self, token: str = "a-token-of-some-length") -> str:
        """Return its address as apprise writes it."""
        return f"json://127.0.0.1:{self.port}/{token}"


@contextmanager
def a_webhook() -> Iterator[Webhook]:
    """Serve on a free port; on leaving nobody waits for an answer any more."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # noqa: N802 - the standard library's name
            said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            hook.answering.wait(20)
            if hook.status == 200:
                hook.got.put(said)
            self.send_response(hook.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    hook = Webhook(server.server_address[1])
    serving = threading.Thread(target=lambda: server.serve_forever(0.02), name="webhook", daemon=True)
    serving.start()
    try:
        yield hook
    finally:
        hook.answering.set()
        server.shutdown()
        server.server_close()
        serving.join(5)
