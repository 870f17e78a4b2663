"""What `doctor` finds: one line each, with what to do about it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from control.steering import BAD_CONFIG, ERROR, OK, TIMED_OUT

__all__ = ["BAD_CONFIG", "ERROR", "OK", "TIMED_OUT", "Finding", "Verdict", "fault", "good", "report", "warning"]


class Verdict(Enum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"        # it works, but a person should know
    FAULT = "fault"            # it does not work, or must not be left so


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing looked at."""

    check: str
    verdict: Verdict
    said: str
    advice: str = ""
    exit_code: int = OK


def good(check: str, said: str) -> Finding:
    return Finding(check=check, verdict=Verdict.OK, said=said)


def warning(check: str, said: str, advice: str) -> Finding:
    return Finding(check=check, verdict=Verdict.WARNING, said=said, advice=advice)


def fault(check: str, said: str, advice: str, exit_code: int = ERROR) -> Finding:
    return Finding(check=check, verdict=Verdict.FAULT, said=said, advice=advice, exit_code=exit_code)


def report(findings: list[Finding], **facts: Any) -> dict[str, Any]:
    """Return what `doctor --json` prints; `exit_code` is that of the first fault."""
    faults = [finding for finding in findings if finding.verdict is Verdict.FAULT]
    return {
        "ok": not faults,
        "exit_code": faults[0].exit_code if faults else OK,
        **facts,
        "findings": [
            {**asdict(finding), "verdict": finding.verdict.value} for finding in findings
        ],
    }
