"""How each kind of setting is read from what people write, and shown again."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, PlainSerializer

from runtime.units import NONE, is_off
from trading.timeframes import TIMEFRAME_MINUTES

AUTO = "auto"
PROJECT = Path(__file__).resolve().parents[1]   # relative folders are meant from here


def parse_names(said: Any) -> Any:
    if is_off(said):
        return ()
    if isinstance(said, str):
        return tuple(name.strip() for name in said.split(",") if name.strip())
    return said


def parse_ladder(said: Any) -> Any:
    if is_off(said):
        return ()
    return said if isinstance(said, list | tuple) else ({"at": said, "share": Decimal(1)},)


def parse_params(said: Any) -> Any:
    if is_off(said):
        return {}
    return {name: parse_param(value) for name, value in said.items()} if isinstance(said, Mapping) else said


def parse_param(value: Any) -> int | float | bool | str:
    """Return what a strategy gets for one of its numbers."""
    if not isinstance(value, str):
        return value if isinstance(value, int | float | bool) else str(value)
    if value.lower() in {"true", "false"}:
        return value.lower() == "true"
    for number in (int, float):
        try:
            return number(value)
        except ValueError:
            continue
    return value


def parse_url(said: Any) -> str:
    text = str(said).strip().rstrip("/")
    if text == AUTO:
        return text
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError(f'"{said}" is not an address; write https://host/path, or {AUTO}')
    return text


def parse_market(said: Any) -> Any:
    if said == "spot":
        raise ValueError('"spot" comes later; for now RAD trades futures')
    return said


def parse_quote(said: Any) -> Any:
    if said != "USDT":
        raise ValueError(f'"{said}" is not traded; contracts that settle in USDT are quoted in USDT')
    return said


def parse_timeframe(said: Any) -> str:
    if said not in TIMEFRAME_MINUTES:
        raise ValueError(f'"{said}" is not a timeframe of KuCoin; write one of {" ".join(TIMEFRAME_MINUTES)}')
    return str(said)


def lower(said: Any) -> Any:
    return said.strip().lower() if isinstance(said, str) else said


def is_on_this_machine(host: str) -> bool:
    """Whether what listens on *host* can be reached from this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False       # a name may lead anywhere


def off_is_none(said: Any) -> Any:
    return None if is_off(said) else said


def show_none(value: Any) -> Any:
    return NONE if value is None else value


def parse_folder(said: Any) -> Path:
    """Return a folder, absolute; a relative one lies beside the code."""
    if isinstance(said, bool) or not isinstance(said, str | Path) or not str(said).strip():
        raise ValueError(f"{said} is not a folder; write rad-data or ~/rad-data")
    return PROJECT / Path(str(said).strip()).expanduser()


def parse_folder_or_none(said: Any) -> Path | None:
    return None if is_off(said) else parse_folder(said)


def show_folder(folder: Path | None) -> str:
    """Return a folder as one may write it: short where it lies beside the code."""
    if folder is None:
        return NONE
    return str(folder.relative_to(PROJECT) if folder.is_relative_to(PROJECT) else folder)


def show_path(path: Path | None) -> str:
    return NONE if path is None else str(path)


def show_ladder(steps: tuple[BaseModel, ...]) -> Any:
    return [step.model_dump() for step in steps] or NONE


Names = Annotated[tuple[str, ...], BeforeValidator(parse_names), PlainSerializer(list)]
Url = Annotated[str, BeforeValidator(parse_url)]
IntOrNone = Annotated[int | None, BeforeValidator(off_is_none), PlainSerializer(show_none)]
TextOrNone = Annotated[str | None, BeforeValidator(off_is_none), PlainSerializer(show_none)]
Folder = Annotated[Path, BeforeValidator(parse_folder), PlainSerializer(show_folder)]
FolderOrNone = Annotated[Path | None, BeforeValidator(parse_folder_or_none), PlainSerializer(show_folder)]
PathOrNone = Annotated[Path | None, BeforeValidator(off_is_none), PlainSerializer(show_path)]
Quote = Annotated[str, BeforeValidator(parse_quote)]
Timeframe = Annotated[str, BeforeValidator(parse_timeframe)]
Params = Annotated[dict[str, int | float | bool | str], BeforeValidator(parse_params)]
