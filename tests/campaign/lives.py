"""Kill after kill on one exchange and one data folder: start, agree, trade, die, start again."""

from __future__ import annotations

import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.campaign.judge import BALANCE, Judge, await_running
from tests.campaign.plan import ROUNDS_OF_A_LIFE, Kill, Round, When, rounds
from tests.campaign.processes import Exchange, Victim
from tests.campaign.tally import Tally, judged

PROTECT_S = 2.0
LIMIT_S = PROTECT_S + 2.0        # the flattening order after the deadline, and its answer
SPRINGS_WITHIN_S = 4.0           # then a trap nobody has stepped into is replaced by a plain kill
SYMBOLS = ("XBTUSDTM", "ETHUSDTM", "SOLUSDTM", "XRPUSDTM", "DOGEUSDTM", "ADAUSDTM", "LINKUSDTM", "AVAXUSDTM")
PLENTY = "100000000"

EXCHANGE = (
    "--pairs", "8", "--volatility", "40", "--balance", str(BALANCE), "--visibility-delay-ms", "20",
    *(part for pool in ("public", "futures", "spot", "management") for part in (f"--quota-{pool}", PLENTY)),
)
LIVELY = {
    "SCANNER__INTERVAL": "1s", "SCANNER__THRESHOLD": "0", "SCANNER__MIN_VOLUME_24H": "0",
    "SCANNER__MAX_SPREAD": "none", "SCANNER__WORKERS": "2", "SCANNER__CANDLES": "60",
    "RECONCILE__INTERVAL": "5s",
    "POSITIONS__MAX_OPEN": "6", "POSITIONS__MAX_NOTIONAL": "500", "POSITIONS__MAX_EXPOSURE": "none",
    "EXITS__STOP_LOSS": "0.4%", "EXITS__TAKE_PROFIT": '[{"at": "0.2%", "share": "50%"}]', "EXITS__MAX_AGE": "3s",
    "EXITS__TRAILING__ACTIVATE": "0.05%", "EXITS__TRAILING__DISTANCE": "0.1%",
    "LIMITS__DAILY_LOSS": "none", "LIMITS__DRAWDOWN": "none", "LIMITS__LOSSES_IN_A_ROW": "none",
    "LIMITS__COOLDOWN": "0s", "LIMITS__ORDERS_PER_MINUTE": PLENTY, "LIMITS__MAX_SLIPPAGE": "1%",
    "MONITOR__INTERVAL": "50ms", "EXCHANGE__DEADLINE": "1s",
    "PROTECT__DEADLINE": f"{PROTECT_S:g}s", "PROTECT__MIN_STEP": "0.02%", "PROTECT__MIN_INTERVAL": "100ms",
    "EXCHANGE__QUOTA_FUTURES": PLENTY, "EXCHANGE__QUOTA_PUBLIC": PLENTY, "EXCHANGE__QUOTA_MANAGEMENT": PLENTY,
    "EXCHANGE__QUOTA_ADDRESS": PLENTY,
    "LOG__FILE": "none",
}


class Life:
    """One exchange with one RAD, killed again and again."""

    def __init__(self, seed: str, settings: dict[str, str]) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="rad-campaign-"))
        self.exchange = Exchange(*EXCHANGE, "--seed", str(random.Random(seed).randrange(1_000_000)))
        self.judge = Judge(self.exchange, self.folder, limit_s=LIMIT_S)
        self.tally = Tally()
        self._seed = seed
        self._settings = {**settings, **self.exchange.settings}
        self._round: Round | None = None

    def run(self, rounds: Sequence[Round]) -> Tally:
        """Go through *rounds*, and once more look at how it ended; a breach ends the life and is told whole."""
        with judged(self.tally, self.exchange, self.judge, self.folder, self._where):
            for each in rounds:
                self._round = each
                self._go_through(each)
            with self._daemon({}) as last:
                self._until_it_runs_and_agrees(last)
        return self.tally

    def _where(self) -> str:
        return f"seed {self._seed}, {self._round}"

    def _go_through(self, each: Round) -> None:
        kill = each.kill
        trap: dict[str, Any] = {"hurry": each.hurried}
        if kill.point:
            trap |= {"at": kill.point, "nth": kill.nth, "armed": kill.when is When.STARTING}
        with self._daemon(trap) as victim:
            if kill.when is When.STARTING:
                died = self._dies_while_starting(victim, kill)
            else:
                running_ns = self._until_it_runs_and_agrees(victim)
                with self._faults(each):
                    died = self._dies_while_trading(victim, each)
                    victim.end()
                self.judge.watched(running_ns, victim.ended_ns)
            self.tally.kills[kill.when.value] += 1
            if kill.point:
                (self.tally.points if died else self.tally.missed)[f"{kill.when.value} {kill.point}"] += 1
        self._while_down(each)

    def _dies_while_starting(self, victim: Victim, kill: Kill) -> bool:
        if not kill.point:
            return victim.has_ended(kill.after_s)
        # `running` may come first: then what remains of its nth time comes in the first moments of trading.
        return victim.has_ended(SPRINGS_WITHIN_S)

    def _until_it_runs_and_agrees(self, victim: Victim) -> int:
        running_ns = await_running(victim)
        self.tally.starts_s.append((running_ns - victim.spawned_ns) / 1e9)
        victim.ask("/api/pause", {})
        self.tally.settles_s.append(self.judge.await_agreement(victim))
        victim.ask("/api/resume", {})
        return running_ns

    def _dies_while_trading(self, victim: Victim, each: Round) -> bool:
        """Trade by hand beside the scanner until the end comes; whether it came by the trap."""
        over = threading.Event()
        traders = [
            threading.Thread(target=trade, args=(victim, random.Random(each.dice + n), over, SYMBOLS))
            for n in range(2)
        ]
        for trader in traders:
            trader.start()
        if each.kill.point:
            victim.send(signal.SIGUSR1)                        # arms the trap
        died = victim.has_ended(SPRINGS_WITHIN_S if each.kill.point else each.kill.after_s)
        over.set()
        victim.send(signal.SIGKILL)
        for trader in traders:
            trader.join()
        return died

    def _while_down(self, each: Round) -> None:
        held = self.exchange.books()["positions"] if each.gap else []
        if held:
            row = random.Random(each.dice).choice(held)
            away = -each.gap if row["currentQty"] > 0 else each.gap
            price = float(row["markPrice"]) * (1 + away)
            self.exchange.control("price", {"symbol": row["symbol"], "price": price})
            self.exchange.control("release", {"symbol": row["symbol"]})
        time.sleep(each.down_s)

    @contextmanager
    def _faults(self, each: Round) -> Iterator[None]:
        for fault in each.faults:
            self.exchange.fault(**fault)
        try:
            yield
        finally:
            for rule in self.exchange.control("faults")["faults"]:
                self.tally.struck[rule["kind"]] += rule["struck"]
            self.exchange.control("faults", method="DELETE")

    def _daemon(self, trap: dict[str, Any]) -> Victim:
        return Victim(self.folder, self._settings, trap)


def kill_campaign(seed: int, kills: int, workers: int) -> Tally:
    """Go through *kills* rounds, several lives side by side, and return what was seen."""
    plan = list(rounds(seed, kills))
    lives = [plan[begin:begin + ROUNDS_OF_A_LIFE] for begin in range(0, kills, ROUNDS_OF_A_LIFE)]
    total = Tally()

    def live(number: int, mine: list[Round]) -> Tally:
        begun = time.monotonic()
        tally = Life(f"{seed}/{number}", LIVELY).run(mine)
        print(*tally.failures, sep="\n", end="")          # at once: the run may be a long one
        print(f"life {number}: kills={sum(tally.kills.values())} failures={len(tally.failures)}"
              f" took={time.monotonic() - begun:.1f}s", flush=True)
        return tally

    with ThreadPoolExecutor(workers) as pool:
        for tally in pool.map(live, range(len(lives)), lives):
            total.add(tally)
    return total


def trade(victim: Victim, dice: random.Random, over: threading.Event, symbols: Sequence[str]) -> None:
    """Open and close by hand, as fast as it answers."""
    while not over.is_set() and not victim.has_ended():
        symbol = dice.choice(symbols)
        if dice.random() < 0.6:
            side = dice.choice(("long", "short"))
            victim.try_to("/api/open", {"symbol": symbol, "side": side, "notional": "300"})
        else:
            victim.try_to("/api/close", {"symbol": symbol})
        over.wait(0.02)
