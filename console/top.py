"""`top`: the terminal, from taking it over to giving it back as it was, whatever happens in between."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console
from rich.screen import Screen

from console.daemon import Daemon
from console.failure import Failure
from console.top_feed import Feed
from console.top_keys import Look, keys_in, pressed
from console.top_screen import screen
from control.steering import ERROR, OK

REDRAW_S = 1.0                 # also without news: ages grow
ESCAPE_S = 0.05                # within it the rest of a key's sequence has come
SMALLEST = (20, 6)
_BEGIN = "\x1b[?1049h\x1b[?25l\x1b[2J"          # the other screen, no cursor, empty
_END = "\x1b[0m\x1b[?25h\x1b[?1049l"


class Ended(BaseException):
    """A signal says that it is over. Not an Exception: nothing in between is to catch it."""


def run(data_dir: Path, log_file: Path | None) -> int:
    """Show the daemon of *data_dir* until somebody quits.

    Raises:
        Failure: this is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise Failure("top needs a terminal; ./rad status --json is for scripts", ERROR)
    wake, waker = os.pipe()
    os.set_blocking(wake, False)
    os.set_blocking(waker, False)
    feed = Feed(Daemon(data_dir), log_file, lambda: _ring(waker))
    try:
        with _Terminal(waker) as terminal:
            feed.start()
            _Loop(feed, terminal, wake).run()
    except Ended as ended:
        return 128 + int(ended.args[0])
    finally:
        feed.stop()
        if not feed.is_busy:               # else it may yet ring
            os.close(wake)
            os.close(waker)
    return OK


def _ring(waker: int) -> None:
    try:
        os.write(waker, b".")
    except BlockingIOError:
        pass                               # it rings already


class _Loop:
    """Draws when there is something new, and does what the keys say."""

    def __init__(self, feed: Feed, terminal: _Terminal, wake: int) -> None:
        self._feed = feed
        self._terminal = terminal
        self._wake = wake
        self._look = Look()
        self._noted: Any = None

    def run(self) -> None:
        while not self._look.quits:
            self._draw()
            ready, _, _ = select.select([self._terminal.keys, self._wake], [], [], REDRAW_S)
            if self._wake in ready:
                os.read(self._wake, 4096)
            if self._terminal.keys in ready:
                self._take(self._terminal.read())

    def _draw(self) -> None:
        facts = self._feed.facts()
        if facts.note is not self._noted:        # the answer to an order takes the place of what was said of it
            self._noted = facts.note
            self._look = self._look.without_note()
        width, height = self._terminal.size()
        self._terminal.show(screen(facts, self._look, width, height, time.monotonic()), width, height)

    def _take(self, text: str) -> None:
        for key in keys_in(text):
            positions = self._feed.facts().answers.get("positions") or ()
            symbols = [str(row.get("symbol")) for row in positions]
            self._look, order = pressed(self._look, key, symbols)
            if order is not None:
                self._feed.tell(order)
            if self._look.quits:
                return


class _Terminal:
    """The terminal, taken over: other screen, keys as they come. Given back on every way out.

    Ctrl-C, SIGTERM and SIGHUP come as Ended; on Ctrl-Z it is given back, and taken again afterwards.
    """

    def __init__(self, waker: int) -> None:
        self.keys = sys.stdin.fileno()
        self._out = sys.stdout
        self._waker = waker
        self._console = Console(file=self._out, force_terminal=True, highlight=False)
        self._before: list[Any] = []
        self._handlers: dict[int, Any] = {}
        self._wakeup_before = -1

    def __enter__(self) -> _Terminal:
        self._before = termios.tcgetattr(self.keys)
        try:
            self._wakeup_before = signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                self._handlers[number] = signal.signal(number, _end)
            self._handlers[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._suspend)
            # Its handler has nothing to do: the wakeup alone makes the loop look at the size again.
            self._handlers[signal.SIGWINCH] = signal.signal(signal.SIGWINCH, lambda number, frame: None)
            self._take_over()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._handlers:
            signal.signal(number, signal.SIG_IGN)      # a second Ctrl-C must not keep us from tidying up
        self._give_back()
        signal.set_wakeup_fd(self._wakeup_before)
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def size(self) -> tuple[int, int]:
        """Return columns and rows as they are now; whatever the environment says."""
        try:
            width, height = os.get_terminal_size(self._out.fileno())
        except OSError:
            width, height = 80, 24
        return max(width, SMALLEST[0]), max(height, SMALLEST[1])

    def show(self, what: Any, width: int, height: int) -> None:
        """Draw one whole screen, in one piece."""
        self._console.width, self._console.height = width, height
        with self._console.capture() as drawn:
            self._console.print(Screen(what), end="")
        self._write("\x1b[H" + drawn.get())

    def read(self) -> str:
        """Return what was typed; an Escape alone only when nothing follows it."""
        typed = os.read(self.keys, 1024)
        if not typed:
            raise Ended(signal.SIGHUP)                 # the terminal is gone
        if typed.endswith(b"\x1b") and select.select([self.keys], [], [], ESCAPE_S)[0]:
            typed += os.read(self.keys, 1024)
        return typed.decode(errors="ignore")

    def _take_over(self) -> None:
        tty.setcbreak(self.keys, termios.TCSANOW)
        self._write(_BEGIN)

    def _give_back(self) -> None:
        try:
            self._write(_END)
        except (OSError, ValueError):
            pass                                       # a terminal that is gone needs nothing back
        try:
            termios.tcsetattr(self.keys, termios.TCSADRAIN, self._before)
        except termios.error:
            pass

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take_over()

    def _write(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()


def _end(number: int, frame: FrameType | None) -> None:
    raise Ended(number)
