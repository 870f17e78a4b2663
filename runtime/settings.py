"""Every number a person may change: read from config.yaml, the environment and flags, checked at once.

`load_settings` is the door; the keys people count on are listed here and in config.yaml.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, PrivateAttr, ValidationError

from runtime.locks import assert_no_lock_held
from runtime.settings_faults import contradictions, section_in, worded
from runtime.settings_fields import (
    AUTO,
    PROJECT,
    Folder,
    FolderOrNone,
    IntOrNone,
    Names,
    Params,
    PathOrNone,
    Quote,
    TextOrNone,
    Timeframe,
    Url,
    lower,
    off_is_none,
    parse_ladder,
    parse_market,
    show_ladder,
)
from runtime.settings_messages import NotifySettings, TelegramSettings
from runtime.settings_sources import (
    DEFAULT,
    Layers,
    Said,
    Shape,
    lay_environment,
    lay_file,
    lay_flags,
    raise_faults,
)
from runtime.units import (
    NONE,
    ADistance,
    DistanceOrNone,
    Money,
    MoneyOrNone,
    Ratio,
    RatioOrNone,
    Seconds,
    SecondsOrNone,
)
from trading.errors import ConfigError
from trading.exits import Distance, ExitRules, TakeProfit, Trailing
from trading.risk import RiskRules
from trading.timeframes import TIMEFRAME_MINUTES
from trading.universe import UniverseRules

CONFIG_FILE = PROJECT / "config.yaml"
LIVE_FUTURES_URL = "https://api-futures.kucoin.com"
LIVE_SPOT_URL = "https://api.kucoin.com"

D = Decimal


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ExchangeSettings(_Section):
    """Where the exchange answers, and how often it lets itself be asked."""

    futures_url: Url = AUTO
    spot_url: Url = AUTO
    key_version: int = Field(default=2, ge=2, le=3)
    deadline_s: Seconds = Field(alias="deadline", default=10.0, ge=1, le=60)
    quota_public: int = Field(default=2000, ge=10)         # weight per 30 s, by IP address
    quota_futures: int = Field(default=2000, ge=10)
    quota_management: int = Field(default=2000, ge=10)
    quota_spot: int = Field(default=4000, ge=10)
    quota_address: int = Field(default=500, ge=10)         # requests per 10 s of all kinds, by IP address


class ScannerSettings(_Section):
    """Which pairs are looked at, how often, and what counts as an opportunity."""

    workers: int = Field(default=20, ge=1, le=64)
    interval_s: Seconds = Field(alias="interval", default=5.0, ge=1, le=3600)
    timeframe: Timeframe = "1m"
    candles: int = Field(default=200, ge=30, le=500)
    quote: Quote = "USDT"
    min_volume_24h: MoneyOrNone = Field(default=D(100_000), ge=0)
    max_spread: RatioOrNone = Field(default=D("0.005"), gt=0, le=1)
    max_pairs: IntOrNone = Field(default=500, ge=1)
    include: Names = ("*",)
    exclude: Names = ()
    min_age_s: SecondsOrNone = Field(alias="min_age", default=None, ge=0)
    strategy: str = Field(default="trend", pattern=r"^[a-z][a-z0-9_]*$")
    params: Params = Field(default_factory=dict)
    threshold: float = Field(default=0.3, ge=0, le=1)
    time_limit_s: Seconds = Field(alias="time_limit", default=30.0, ge=1, le=3600)

    @property
    def timeframe_minutes(self) -> int:
        """Length of one candle."""
        return TIMEFRAME_MINUTES[self.timeframe]


class PositionSettings(_Section):
    """How many positions, how large, and whose."""

    max_open: int = Field(default=8, ge=0, le=100)
    leverage: Decimal = Field(default=D(3), ge=1, le=125)
    margin_mode: Literal["isolated", "cross"] = "isolated"
    risk_per_trade: Ratio = Field(default=D("0.005"), gt=0, le=D("0.2"))
    max_notional: MoneyOrNone = Field(default=D(2_000), gt=0)
    max_exposure: MoneyOrNone = Field(default=D(10_000), gt=0)
    adopt: bool = False


class LadderStep(_Section):
    """Part of a position that leaves at a profit of *at*."""

    at: ADistance
    share: Ratio = Field(gt=0, le=1)


class TrailingSettings(_Section):
    """From a profit of *activate* on, the stop follows the best price at *distance*."""

    activate: ADistance = Distance(fraction=D("0.006"))
    distance: ADistance = Distance(fraction=D("0.004"))


class ExitSettings(_Section):
    """When a position is left."""

    stop_loss: ADistance = Distance(atr=D("2"))
    take_profit: Annotated[
        tuple[LadderStep, ...], BeforeValidator(parse_ladder), PlainSerializer(show_ladder)
    ] = (LadderStep(at=Distance(fraction=D("0.02")), share=D("0.5")),)
    break_even: DistanceOrNone = None
    max_age_s: SecondsOrNone = Field(alias="max_age", default=4 * 3600.0, gt=0)
    trailing: Annotated[TrailingSettings | None, BeforeValidator(off_is_none)] = TrailingSettings()


class LimitSettings(_Section):
    """When to stop entering; exits go on whatever happens."""

    daily_loss: RatioOrNone = Field(default=D("0.05"), gt=0, le=1)
    drawdown: RatioOrNone = Field(default=D("0.15"), gt=0, le=1)
    losses_in_a_row: IntOrNone = Field(default=6, ge=1)
    cooldown_s: SecondsOrNone = Field(alias="cooldown", default=60.0, ge=0)
    orders_per_minute: IntOrNone = Field(default=30, ge=1)
    max_slippage: Ratio = Field(default=D("0.005"), gt=0, le=1)    # no rule but the price of the order


class MonitorSettings(_Section):
    """How closely held positions are watched."""

    interval_s: Seconds = Field(alias="interval", default=0.25, ge=0.02, le=10)
    stale_after_s: Seconds = Field(alias="stale_after", default=2.0, ge=0.1, le=60)
    exit_budget_s: Seconds = Field(alias="exit_budget", default=0.05, gt=0, le=10)


class ProtectSettings(_Section):
    """The stop that rests on the exchange for every position."""

    enabled: bool = True
    deadline_s: Seconds = Field(alias="deadline", default=5.0, ge=1, le=60)
    buffer: Ratio = Field(default=D("0.001"), ge=0, le=D("0.1"))
    min_step: Ratio = Field(default=D("0.001"), ge=0, le=D("0.1"))
    min_interval_s: Seconds = Field(alias="min_interval", default=2.0, ge=0, le=300)


class ReconcileSettings(_Section):
    """How often the book is compared with the exchange."""

    interval_s: Seconds = Field(alias="interval", default=60.0, ge=5, le=3600)


class JournalSettings(_Section):
    """What must survive."""

    url: str = Field(default=AUTO, min_length=1)


class ControlSettings(_Section):
    """The daemon's local API and page."""

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8420, ge=0, le=65_535)
    names: Names = ()
    cert: PathOrNone = None
    key: PathOrNone = None
    unencrypted: bool = False


class SandboxSettings(_Section):
    """RAD's own exchange, used in modes sandbox and paper."""

    pairs: int = Field(default=64, ge=1, le=2000)
    seed: int = Field(default=7, ge=0)
    volatility: float = Field(default=14.0, ge=0, le=100)
    balance: Money = Field(default=D(10_000), gt=0)
    replay: FolderOrNone = None
    replay_start: TextOrNone = None
    relay: Url = LIVE_FUTURES_URL


class LogSettings(_Section):
    """What is written down for people."""

    level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(lower)] = "info"
    file: PathOrNone = Path("rad.log")
    format: Annotated[Literal["text", "json"], BeforeValidator(lower)] = "text"


class Settings(_Section):
    """All of it, frozen; `load_settings` makes one."""

    mode: Annotated[Literal["sandbox", "paper", "live"], BeforeValidator(lower)] = "sandbox"
    market: Annotated[Literal["futures"], BeforeValidator(parse_market)] = "futures"
    data_dir: Folder = PROJECT / "rad-data"        # absolute; everything RAD writes lies here
    exchange: ExchangeSettings = ExchangeSettings()
    scanner: ScannerSettings = ScannerSettings()
    positions: PositionSettings = PositionSettings()
    exits: ExitSettings = ExitSettings()
    limits: LimitSettings = LimitSettings()
    monitor: MonitorSettings = MonitorSettings()
    protect: ProtectSettings = ProtectSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    journal: JournalSettings = JournalSettings()
    control: ControlSettings = ControlSettings()
    sandbox: SandboxSettings = SandboxSettings()
    notify: NotifySettings = NotifySettings()
    telegram: TelegramSettings = TelegramSettings()
    log: LogSettings = LogSettings()

    _said: dict[str, Said] = PrivateAttr(default_factory=dict)

    @property
    def title(self) -> str:
        """What every message begins with: nobody is to take play money for his own."""
        return f"RAD {self.mode}"

    @property
    def log_path(self) -> Path | None:
        """Where the log is written; a relative file lies in the data folder."""
        return None if self.log.file is None else self.data_dir / self.log.file.expanduser()

    def control_file(self, said: Path | None) -> Path | None:
        """Where a certificate or key of the control API lies; a relative one is meant from beside the code."""
        return None if said is None else PROJECT / said.expanduser()

    @property
    def journal_url(self) -> str:
        """Where the journal is: a file per mode, so that play money never mixes with real."""
        if self.journal.url != AUTO:
            return self.journal.url
        return f"sqlite:///{self.data_dir / f'journal-{self.mode}.sqlite'}"

    @property
    def futures_url(self) -> str | None:
        """The futures address to talk to; None: that of the sandbox the daemon starts."""
        return self._url(self.exchange.futures_url, LIVE_FUTURES_URL)

    @property
    def spot_url(self) -> str | None:
        """The spot address to talk to; None: that of the sandbox the daemon starts."""
        return self._url(self.exchange.spot_url, LIVE_SPOT_URL)

    @property
    def quotas(self) -> dict[str, int]:
        """Weight per 30 s of each of KuCoin's pools."""
        said = self.exchange
        return {
            "public": said.quota_public, "futures": said.quota_futures,
            "management": said.quota_management, "spot": said.quota_spot,
        }

    def exit_rules(self) -> ExitRules:
        """Return when positions are left, as `trading.exits` takes it."""
        said = self.exits
        trailing = said.trailing
        return ExitRules(
            stop_loss=said.stop_loss,
            take_profit=tuple(TakeProfit(at=step.at, share=step.share) for step in said.take_profit),
            break_even=said.break_even,
            trailing=None if trailing is None else Trailing(
                activate=trailing.activate, distance=trailing.distance
            ),
            max_age_ms=None if said.max_age_s is None else round(said.max_age_s * 1000),
        )

    def risk_rules(self) -> RiskRules:
        """Return what may be entered, as `trading.risk` takes it."""
        positions, limits = self.positions, self.limits
        return RiskRules(
            risk_per_trade=positions.risk_per_trade,
            leverage=positions.leverage,
            max_open=positions.max_open,
            max_notional=positions.max_notional,
            max_exposure=positions.max_exposure,
            max_spread=self.scanner.max_spread,
            max_slippage=limits.max_slippage,
            daily_loss=limits.daily_loss,
            drawdown=limits.drawdown,
            losses_in_a_row=limits.losses_in_a_row,
            cooldown_ms=round((limits.cooldown_s or 0) * 1000),
            orders_per_minute=limits.orders_per_minute,
        )

    def universe_rules(self) -> UniverseRules:
        """Return which pairs are scanned, as `trading.universe` takes it."""
        said = self.scanner
        return UniverseRules(
            quote=said.quote,
            min_volume_24h=said.min_volume_24h or D(0),
            max_spread=said.max_spread,
            max_pairs=said.max_pairs,
            include=said.include,
            exclude=said.exclude,
            min_age_ms=round((said.min_age_s or 0) * 1000),
        )

    def source_of(self, key: str) -> str:
        """Return who said *key*: default, the settings file's name, environment or flag."""
        said = Layers(SHAPE, self._said).find(key)
        return DEFAULT if said is None else said.source

    def as_rows(self) -> list[tuple[str, str, str]]:
        """Return (key, value as one writes it, source) for every setting, in the order of the file."""
        written = _flat("", self.model_dump(mode="json", by_alias=True))
        return [(key, _show(value), self.source_of(key)) for key, value in written]

    def _url(self, said: str, live: str) -> str | None:
        if said != AUTO:
            return said
        return live if self.mode == "live" else None


def load_settings(
    config_path: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings: *overrides* (flags) over RAD_ variables over the file over the defaults.

    *overrides* may be nested or have dotted keys; None in it says nothing. Without *config_path* the
    config.yaml beside the code is read if it is there.

    Raises:
        ConfigError: its text names every fault, with its key and what would be right.
    """
    assert_no_lock_held("reading settings")
    layers = Layers(SHAPE)
    if config_path is not None and not config_path.exists():
        raise ConfigError(f"there is no settings file {config_path}")
    if config_path is not None or CONFIG_FILE.exists():
        lay_file(layers, config_path or CONFIG_FILE)
    lay_environment(layers, os.environ if environ is None else environ)
    lay_flags(layers, overrides or {})
    try:
        settings = Settings.model_validate(layers.tree())
    except ValidationError as error:
        for fault in error.errors(include_url=False):
            layers.fault(*worded(Settings, fault, layers))
    else:
        for key, text in contradictions(settings):
            said = layers.find(key)
            layers.fault(key, text, DEFAULT if said is None else said.where)
        settings._said.update(layers.said)
    raise_faults(layers.faults)
    return settings


def _shape_of(model: type[BaseModel], prefix: str = "") -> Shape:
    sections: set[str] = set()
    leaves: set[str] = set()
    free: set[str] = set()
    for name, field in model.model_fields.items():
        key = f"{prefix}{field.alias or name}"
        inner = section_in(field)
        if inner is not None:
            shape = _shape_of(inner, f"{key}.")
            sections |= {key, *shape.sections}
            leaves |= shape.leaves
            free |= shape.free
        else:
            leaves.add(key)
            if isinstance(field.get_default(call_default_factory=True), dict):
                free.add(key)
    return Shape(sections=frozenset(sections), leaves=frozenset(leaves), free=frozenset(free))


def _flat(prefix: str, tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        key = f"{prefix}{name}"
        if isinstance(value, Mapping) and value:
            yield from _flat(f"{key}.", value)
        else:
            yield key, value


def _show(value: Any) -> str:
    """Return *value* as it is written in config.yaml."""
    if isinstance(value, list):
        return f"[{', '.join(_show(item) for item in value)}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{name}: {_show(item)}" for name, item in value.items()) + "}"
    if isinstance(value, bool):
        return str(value).lower()
    return NONE if value is None else str(value)


SHAPE = _shape_of(Settings)
