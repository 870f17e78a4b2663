"""Looks at a daemon as eight open pages, a dashboard and Prometheus do; says so once all are there.

    .venv/bin/python -m bench.onlookers DATA_FOLDER

Eight watch the stream of events; one asks every half second for what a page shows, and for all figures.
It ends on SIGTERM.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

WATCHERS = 8
EVERY_S = 0.5
SHOWN = ("/metrics", "/api/status", "/api/positions", "/api/threads", "/api/trades?limit=1000", "/api/equity")


def main(folder: Path) -> int:
    address = json.loads((folder / "control.json").read_text(encoding="utf-8"))
    to = urlsplit(address["url"])
    headers = {"Authorization": f"Bearer {address['token']}"}
    watching = threading.Semaphore(0)

    def watch() -> None:
        connection = HTTPConnection(to.hostname or "", to.port)
        connection.request("GET", "/api/events", headers=headers | {"Accept": "text/event-stream"})
        answer = connection.getresponse()
        watching.release()
        while answer.read1(65536):
            pass

    for number in range(WATCHERS):
        threading.Thread(target=watch, name=f"watcher-{number}", daemon=True).start()
    for _ in range(WATCHERS):
        watching.acquire()
    connection = HTTPConnection(to.hostname or "", to.port)
    while True:
        for path in SHOWN:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                raise SystemExit(f"{path} answered {answer.status}")
        print("looking", flush=True)
        time.sleep(EVERY_S)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
