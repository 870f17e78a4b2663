"""What `./rad install-service` understands."""

from __future__ import annotations

import argparse
from pathlib import Path

from runtime.options import add_key_override


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    add = parser.add_argument
    add("--dry-run", action="store_true", help="print and verify the units; change nothing")
    add("--live", action="store_true", help="mean it: in mode live the service trades real money")
    add("--guard", action="store_true", help="protect and trail positions opened by hand; never enter")
    add("--start", action="store_true", help="start it now, too")
    add("--config", type=Path, metavar="FILE", help="settings instead of config.yaml")
    add("--env-file", type=Path, metavar="FILE", help="where the keys are (default: .env beside the code)")
    add_key_override(parser)
