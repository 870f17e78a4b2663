"""The daemon's local HTTP API, served from a thread of its own."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
import time
from pathlib import Path

from aiohttp import web

from control.address import ControlAddress
from control.api import Api
from control.routes import ACT_TIMEOUT_S, ASK_TIMEOUT_S
from control.steering import Steering
from control.views import moment
from trading.errors import ConfigError

START_TIMEOUT_S = 10.0


class ControlServer:
    """Serves *steering* on loopback and writes where to `control.json` in *data_dir*.

    Every call but a few needs the token (`control.guard`); the calls are in `control.routes`.
    """

    def __init__(
        self,
        steering: Steering,
        *,
        data_dir: Path,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        ask_timeout_s: float = ASK_TIMEOUT_S,
        act_timeout_s: float = ACT_TIMEOUT_S,
    ) -> None:
        self._data_dir = data_dir
        self._host = host
        self._port = port
        self._token = token or secrets.token_urlsafe(32)
        self._api = Api(
            steering, token=self._token, names=frozenset({host}), ask_timeout_s=ask_timeout_s,
            act_timeout_s=act_timeout_s,
        )
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._failure: OSError | None = None
        self.address: ControlAddress | None = None

    def start(self) -> ControlAddress:
        """Listen, write control.json and return what is in it.

        Raises:
            ConfigError: the address cannot be listened on, or control.json not written.
        """
        self._thread = threading.Thread(target=self._run, name="Control", daemon=True)
        self._thread.start()
        if not self._listening.wait(START_TIMEOUT_S):
            raise ConfigError(f"control: could not listen on {self._host} within {START_TIMEOUT_S:g} s")
        if self._failure is not None or self.address is None:
            reason = self._failure.strerror if self._failure else "no reason given"
            raise ConfigError(
                f"control: cannot listen on {self._host} port {self._port} ({reason}); "
                "change control.host or control.port, or set the port to 0"
            )
        try:
            self.address.write(self._data_dir)
        except OSError as error:
            self.stop()
            raise ConfigError(f"data_dir: cannot write in {self._data_dir} ({error.strerror})") from None
        return self.address

    @property
    def alive(self) -> bool:
        """Whether its thread runs; once dead it can only be replaced by a new server."""
        return self._thread is not None and self._thread.is_alive()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Stop listening and take control.json away; calls still under way are left to themselves."""
        if self.address is not None:
            self.address.remove(self._data_dir)
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                pass   # it has just ended by itself
            self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except OSError as error:
            self._failure = error
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        runner = web.AppRunner(self._api.app(), access_log=None, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port)
            await site.start()
            port = runner.addresses[0][1]
            host = f"[{self._host}]" if ":" in self._host else self._host
            self.address = ControlAddress(
                url=f"http://{host}:{port}",
                token=self._token,
                pid=os.getpid(),
                started=moment(time.time_ns() // 1_000_000) or "",
            )
            self._listening.set()
            await self._ended.wait()
        finally:
            await runner.cleanup()
