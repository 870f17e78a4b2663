"""`./rad doctor` on the screen: a line for each thing looked at, and below it what to do."""

from __future__ import annotations

import json
import sys
from typing import Any

MARKS = {"ok": "✓", "warning": "!", "fault": "✗"}
PLAIN_MARKS = {"ok": "ok", "warning": "! ", "fault": "x "}
COLOURS = {"ok": "green", "warning": "yellow", "fault": "bold red"}


def tell(facts: dict[str, Any], *, as_json: bool) -> int:
    """Print *facts* and return the exit code they amount to."""
    if as_json:
        print(json.dumps(facts, indent=2, ensure_ascii=False))
    else:
        _print(facts["findings"])
        print(_verdict(facts["findings"]))
    return int(facts["exit_code"])


def _print(findings: list[dict[str, Any]]) -> None:
    marks = MARKS if _can_print("".join(MARKS.values())) else PLAIN_MARKS
    width = max(len(finding["check"]) for finding in findings)
    for finding in findings:
        first, *rest = str(finding["said"]).splitlines() or [""]
        _line(marks[finding["verdict"]], f"{finding['check']:<{width}}  {first}", COLOURS[finding["verdict"]])
        indent = " " * (width + len(marks["ok"]) + 3)
        for line in rest:
            print(f"{indent}{line.strip()}")
        if finding["advice"]:
            print(f"{indent}-> {finding['advice']}")


def _line(mark: str, text: str, colour: str) -> None:
    if not sys.stdout.isatty():
        print(f"{mark} {text}")
        return
    from rich.console import Console
    from rich.text import Text

    Console(soft_wrap=True).print(Text.assemble((mark, colour), f" {text}"))


def _verdict(findings: list[dict[str, Any]]) -> str:
    faults = sum(finding["verdict"] == "fault" for finding in findings)
    warnings = sum(finding["verdict"] == "warning" for finding in findings)
    if faults:
        return f"{faults} {'thing has' if faults == 1 else 'things have'} to be mended before RAD trades."
    if warnings:
        return f"RAD can trade; {warnings} {'thing is' if warnings == 1 else 'things are'} worth a look."
    return "All is well."


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
