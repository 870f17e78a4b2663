"""Told to end, the daemon hears it whatever its main thread is at; each case is a process of its own."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.daemon_process import PROJECT

pytestmark = pytest.mark.process

PATIENCE_S = 30.0
# Whoever is told says so; the main thread is inside a call of the system's and hears nothing itself.
TOLD = """
import os, signal, threading, time
from daemon.signals import act_on_signals
stop, hung_up = threading.Event(), threading.Event()
act_on_signals(stop, hung_up)
def tell(event, word):
    event.wait()
    os.write(1, word)
threading.Thread(target=tell, args=(stop, b"ending "), daemon=True).start()
threading.Thread(target=tell, args=(hung_up, b"reading again "), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
os.write(1, b"ready ")
os.read(0, 1)
"""


class Deaf:
    """A process whose main thread waits in a read that no signal interrupts."""

    def __init__(self, program: str = TOLD) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.hears("ready ")

    def hears(self, words: str) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.read(len(words)).decode() == words

    def tell(self, number: int) -> None:
        self.process.send_signal(number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_main_thread_that_blocks_does_not_keep_it_from_ending(number: int) -> None:
    """The first has it end in good order; the second ends it at once, as a person means it."""
    deaf = Deaf()
    with deaf.process:
        deaf.tell(number)
        deaf.hears("ending ")
        deaf.tell(signal.SIGINT)
        assert deaf.process.wait(PATIENCE_S) == 130


def test_one_that_ends_by_itself_already_is_not_cut_off_by_the_first_word() -> None:
    """Its time is up, or the lease is another's, and then somebody stops it: exits are still seen through."""
    deaf = Deaf(TOLD.replace('os.write(1, b"ready ")', 'os.write(1, b"ready "); stop.set()'))
    with deaf.process:
        deaf.hears("ending ")
        deaf.tell(signal.SIGTERM)
        deaf.tell(signal.SIGHUP)         # heard after it
        deaf.hears("reading again ")
        deaf.tell(signal.SIGTERM)
        assert deaf.process.wait(PATIENCE_S) == 130


def test_a_hangup_has_the_settings_read_again_and_ends_nothing() -> None:
    """Not on a terminal: as often as it comes."""
    deaf = Deaf()
    with deaf.process:
        deaf.tell(signal.SIGHUP)
        deaf.hears("reading again ")
        assert deaf.process.poll() is None
        assert deaf.process.stdin is not None
        deaf.process.stdin.close()
        assert deaf.process.wait(PATIENCE_S) == 0
