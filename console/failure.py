"""How a command ends when it does not end well: one line, and an exit code."""

from __future__ import annotations

from control.steering import NOT_RUNNING


class Failure(Exception):
    """Ends the command with *exit_code*; its text is the one line a person reads."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class NotRunning(Failure):
    """No daemon answers at the address in control.json, or there is no such file."""

    def __init__(self, needs_it: str = "this command") -> None:
        super().__init__(f"the daemon is not running, and {needs_it} needs it; start it with ./rad run",
                         NOT_RUNNING)
