"""Talking to the running daemon over its control API, with nothing but the standard library."""

from __future__ import annotations

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from console.failure import Failure, NotRunning
from console.where import not_allowed
from control.address import ControlAddress, read_address
from control.steering import ERROR, TIMED_OUT

ASK_TIMEOUT_S = 8.0      # a little longer than the daemon gives itself
ACT_TIMEOUT_S = 65.0


class Daemon:
    """The daemon of one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir

    def ask(self, name: str, *, timeout_s: float = ASK_TIMEOUT_S, **query: int) -> Any:
        """Return what the daemon says about *name*. Raises NotRunning or Failure."""
        path = f"/api/{name}" + (f"?{urlencode(query)}" if query else "")
        return self._send("GET", path, None, timeout_s, name)

    def tell(self, name: str, **body: object) -> Any:
        """Have the daemon do *name* and return how it went. Raises NotRunning or Failure."""
        return self._send("POST", f"/api/{name}", json.dumps(body), ACT_TIMEOUT_S, name)

    def _send(self, method: str, path: str, body: str | None, timeout_s: float, name: str) -> Any:
        try:
            address = read_address(self._data_dir)
        except PermissionError:
            raise Failure(not_allowed(self._data_dir), ERROR) from None
        if address is None:
            raise NotRunning(name)
        status, answer = _exchange(address, method, path, body, timeout_s, name)
        if status == 200:
            return answer
        if isinstance(answer, dict) and "error" in answer:
            raise Failure(str(answer["error"]), int(answer.get("exit_code", ERROR)))
        raise Failure(f"{address.url} answered {status}, which is not how RAD's daemon answers", ERROR)


def _exchange(
    address: ControlAddress, method: str, path: str, body: str | None, timeout_s: float, name: str
) -> tuple[int, Any]:
    """Send one request; return HTTP status and body, None where the body is not JSON."""
    from http.client import HTTPConnection, HTTPException  # only once there is somebody to talk to

    to = urlsplit(address.door or address.url)
    headers = {
        "Authorization": f"Bearer {address.token}", "Content-Type": "application/json", "X-RAD-Client": "cli",
    }
    try:
        with closing(HTTPConnection(to.hostname or "127.0.0.1", to.port, timeout=timeout_s)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            text = response.read()
    except TimeoutError:
        raise Failure(
            f"the daemon (process {address.pid}) does not answer {name} within {timeout_s:g} s", TIMED_OUT
        ) from None
    except ConnectionRefusedError:
        raise NotRunning(name) from None
    except (OSError, HTTPException) as error:
        if not _is_alive(address.pid):
            raise NotRunning(name) from None
        kind = type(error).__name__
        raise Failure(f"the daemon's answer to {name} was cut short ({kind})", ERROR) from None
    try:
        return response.status, json.loads(text)
    except ValueError:
        return response.status, None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
