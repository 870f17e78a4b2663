"""What one sandbox exchange is told at its start, and what the control API may change later."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

DEFAULT_KEY = "sandbox0000000000000key1"
DEFAULT_SECRET = "5a0db0c5-0000-4000-8000-0000005ec4e7"
DEFAULT_PASSPHRASE = "sandbox-play-money"
POOLS = ("public", "futures", "management", "spot")


@dataclass(slots=True, kw_only=True)
class ExchangeRules:
    """Knobs of the engine; every one can be turned while it runs."""

    match_delay_ms: float = 1.0           # from acceptance to the matching of an order or cancel
    visibility_delay_ms: float = 5.0      # from acceptance until a GET knows the order
    funding_period_ms: int = 0            # 0: each contract's own
    depth_levels: int = 50
    active_order_limit: int = 100         # per contract
    stop_order_limit: int = 200
    risk_limit: Decimal = Decimal(10_000_000)   # position value per contract, in quote currency
    service_status: str = "open"          # open / close / cancelonly
    account_mode: str = "CLASSIC"         # or UNIFIED
    vip_level: int = 0                    # as told; the quotas are set apart from it
    least_key_version: int = 2            # 3: KuCoin takes no older kind of key any more
    cancel_stops_when_flat: bool = False  # KuCoin leaves them; the client has to clean up
    one_close_order_stop: bool = False    # refuse a second closeOrder stop of a contract
    ws_ping_interval_ms: int = 18_000
    ws_ping_timeout_ms: int = 10_000


@dataclass(slots=True, kw_only=True)
class SandboxOptions:
    """How to start a sandbox; ports of 0 are chosen by the system."""

    host: str = "127.0.0.1"
    port: int = 0
    spot_port: int = 0
    source: str = "synthetic"             # synthetic / replay / relay / module:Class
    replay: Path | None = None
    replay_start: str | None = None
    granularity: int = 1
    relay: str | None = None
    pairs: int = 60
    seed: int = 1
    volatility: float = 1.0
    balance: Decimal = Decimal(10_000)
    tick_ms: float = 100.0
    key: str = DEFAULT_KEY
    secret: str = DEFAULT_SECRET
    passphrase: str = DEFAULT_PASSPHRASE
    quotas: dict[str, int] = field(default_factory=dict)   # pool -> weight per window
    rate_window_ms: int = 30_000
    state: Path | None = None
    anchor_ms: int | None = None          # when the market began; a restart with the same market goes on
    rules: ExchangeRules = field(default_factory=ExchangeRules)

    def market_identity(self) -> str:
        """Return what makes this market this one: books of another are no reason to go on with it."""
        return f"{self.source} {self.replay} {self.replay_start} {self.granularity} {self.relay}"
