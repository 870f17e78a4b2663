"""What a scan asks of an exchange, without the bot: candles of every contract in turn, twenty at a time.

    .venv/bin/python -m bench.candle_storm FUTURES_URL [--rate 120] [--askers 20]

An exchange that answers them has less time for orders: what a bench of exits sees of that is the
exchange's, and belongs into its floor. Runs until it is ended.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import threading
import time
from collections.abc import Iterator
from itertools import cycle
from urllib.parse import urlsplit

from bench.harness import fetch

MINUTE_MS = 60_000
CANDLES = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--rate", type=float, default=1e6, help="calls per second, at most")
    parser.add_argument("--askers", type=int, default=20)
    wish = parser.parse_args()
    listed = [row["symbol"] for row in fetch(f"{wish.url}/api/v1/contracts/active")["data"]]
    turns, lock = enumerate(cycle(listed)), threading.Lock()

    began = time.monotonic()

    def symbols() -> Iterator[str]:
        while True:
            with lock:
                number, symbol = next(turns)
            time.sleep(max(0.0, began + number / wish.rate - time.monotonic()))
            yield symbol

    threads = [threading.Thread(target=ask, args=(wish.url, symbols())) for _ in range(wish.askers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


def ask(url: str, symbols: Iterator[str]) -> None:
    connection = http.client.HTTPConnection(urlsplit(url).netloc)
    for symbol in symbols:
        end = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
        span = f"from={end - CANDLES * MINUTE_MS}&to={end - 1}"
        connection.request("GET", f"/api/v1/kline/query?symbol={symbol}&granularity=1&{span}")
        connection.getresponse().read()


if __name__ == "__main__":
    sys.exit(main())
