"""placeholder"""
from pathlib import Path
from typing import Any
ANSWERS = ("status", "positions", "trades", "orders")
def read(name: str, data_dir: Path, **query: int) -> Any:
    return {} if name == "status" else []
