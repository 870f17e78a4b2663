"""The daemon's local HTTP API, served from a thread of its own."""

from __future__ import annotations

import asyncio
import os
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from aiohttp import web

from control.address import ControlAddress
from control.answers import Redact
from control.api import Api
from control.doors import HANDSHAKE_S, Doors, Talk
from control.listening import Listen, token_of
from control.routes import ACT_TIMEOUT_S, ASK_TIMEOUT_S
from control.steering import Steering
from control.views import moment
from runtime.heartbeat import Heart, beat
from runtime.locks import assert_no_lock_held
from trading.errors import ConfigError

LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 10.0
IDLE_S = 15.0                # a connection without a request, or between two
IO_THREADS = 2               # look names up, read files


class ControlServer:
    """Serves *steering* where *listen* says and writes where to `control.json` in *data_dir*.

    *redact* takes secrets out of a text; no text of the daemon's goes out without.

    Every call but a few needs the token (`control.guard`); the calls are in `control.routes`.
    """

    def __init__(
        self,
        steering: Steering,
        *,
        data_dir: Path,
        listen: Listen | None = None,
        redact: Redact = str,
        ask_timeout_s: float = ASK_TIMEOUT_S,
        act_timeout_s: float = ACT_TIMEOUT_S,
    ) -> None:
        self._steering = steering
        self._data_dir = data_dir
        self._listen = listen or Listen()
        self._redact = redact
        self._ask_timeout_s = ask_timeout_s
        self._act_timeout_s = act_timeout_s
        self._heart = Heart("Control")
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._listening = threading.Event()
        self._failure: OSError | None = None
        self.address: ControlAddress | None = None

    def start(self) -> ControlAddress:
        """Listen, write control.json and return what is in it.

        Raises:
            ConfigError: the address may not or cannot be listened on, or control.json not written.
        """
        assert_no_lock_held("starting the API")
        self._listen.check()
        tls, token = self._listen.tls(), token_of(self._data_dir)
        self._thread = self._heart.start(partial(self._run, token, tls))
        if not self._listening.wait(START_TIMEOUT_S):
            raise ConfigError(f"control: could not listen on {self._listen.host} within {START_TIMEOUT_S:g} s")
        if self._failure is not None or self.address is None:
            reason = self._failure.strerror if self._failure else "no reason given"
            raise ConfigError(
                f"control: cannot listen on {self._listen.host} port {self._listen.port} ({reason}); "
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
        assert_no_lock_held("ending the API")
        self._heart.retire()
        if self.address is not None:
            self.address.remove(self._data_dir)
        if self._loop is not None and self._thread is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._ended.set)
            except RuntimeError:
                pass   # it has just ended by itself
            self._thread.join(timeout_s)

    def _run(self, token: str, tls: ssl.SSLContext | None) -> None:
        try:
            asyncio.run(self._serve(token, tls))
        except OSError as error:
            self._failure = error
        finally:
            self._listening.set()

    async def _serve(self, token: str, tls: ssl.SSLContext | None) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(IO_THREADS, thread_name_prefix="control-io"))
        api = Api(
            self._steering, token=token, names=frozenset({self._listen.host, *self._listen.names}),
            redact=self._redact, ask_timeout_s=self._ask_timeout_s, act_timeout_s=self._act_timeout_s,
        )
        runner = web.AppRunner(api.app(), shutdown_timeout=1.0)
        await runner.setup()
        assert runner.server is not None
        talk = partial(
            Talk, runner.server, loop=self._loop, keepalive_timeout=IDLE_S,
            access_log=None,  # type: ignore[arg-type]  # aiohttp itself means none by it
        )
        beating = asyncio.create_task(beat(self._heart))
        servers: list[asyncio.Server] = []
        try:
            servers.append(await self._loop.create_server(
                Doors(talk), self._listen.host, self._listen.port, ssl=tls,
                ssl_handshake_timeout=None if tls is None else HANDSHAKE_S,
            ))
            if not self._listen.is_open:       # whoever crowds before that door is not at this one
                servers.append(await self._loop.create_server(Doors(talk), LOOPBACK, 0))
            self.address = self._address([server.sockets[0].getsockname()[1] for server in servers], token)
            self._listening.set()
            await self._ended.wait()
        finally:
            for server in servers:
                server.close()
            beating.cancel()
            await runner.cleanup()

    def _address(self, ports: list[int], token: str) -> ControlAddress:
        scheme = "http" if self._listen.cert is None else "https"
        host = f"[{self._listen.host}]" if ":" in self._listen.host else self._listen.host
        return ControlAddress(
            url=f"{scheme}://{host}:{ports[0]}",
            token=token,
            pid=os.getpid(),
            started=moment(time.time_ns() // 1_000_000) or "",
            door=f"http://{LOOPBACK}:{ports[1]}" if ports[1:] else "",
        )
