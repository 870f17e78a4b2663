"""The money rules of one position: entry cost, profit, margin, liquidation and funding, all exact."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from sandbox.market.source import Contract

ZERO = Decimal(0)
ONE = Decimal(1)
MONEY = Decimal("0.0000000001")     # the exchange's smallest unit of account
PRICE = Decimal("0.000000000001")   # finer than any tick


def money(value: Decimal) -> Decimal:
    """Round *value* to the unit of account, half to even."""
    return value.quantize(MONEY, ROUND_HALF_EVEN)


def value_of(contract: Contract, size: int, price: Decimal) -> Decimal:
    """Return what *size* lots are worth at *price*, in quote currency."""
    return price * contract.multiplier * size


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one execution did to a position."""

    closed: int                     # lots
    opened: int
    realised_gross: Decimal
    open_fee: Decimal
    close_fee: Decimal


@dataclass(slots=True, kw_only=True)
class Position:
    """One user's exposure to one contract; flat when `qty` is 0. Linear contracts only."""

    id: str
    symbol: str
    margin_mode: str = "ISOLATED"
    leverage: Decimal = ONE
    qty: int = 0                    # lots, negative when short
    cost: Decimal = ZERO            # signed entry value of the open lots
    margin: Decimal = ZERO          # isolated: initial margin still behind the open lots
    added_margin: Decimal = ZERO
    open_ms: int = 0
    life_sign: int = 0              # 1: this life is (or was) a long, -1: a short
    entry_value: Decimal = ZERO     # of this life, unsigned: everything ever opened
    entry_lots: int = 0
    exit_value: Decimal = ZERO
    exit_lots: int = 0
    realised_gross: Decimal = ZERO
    commission: Decimal = ZERO
    funding: Decimal = ZERO         # received minus paid
    funding_period: int = 0         # number of the last funding moment settled

    @property
    def sign(self) -> int:
        return (self.qty > 0) - (self.qty < 0)

    def entry_price(self, contract: Contract) -> Decimal:
        """Return the average price of the open lots; 0 when flat."""
        if not self.qty:
            return ZERO
        return (self.cost / (self.qty * contract.multiplier)).quantize(PRICE).normalize()

    def unrealised(self, contract: Contract, mark: Decimal) -> Decimal:
        """Return the profit of the open lots at *mark*, before fees."""
        return value_of(contract, self.qty, mark) - self.cost

    @property
    def realised(self) -> Decimal:
        """Return what this life of the position has brought so far, fees and funding included."""
        return self.realised_gross - self.commission + self.funding

    def close_fee_reserve(self, contract: Contract) -> Decimal:
        """Return the fee kept back for closing at the bankruptcy price (KuCoin's posComm)."""
        return money(abs(self.cost) * contract.taker_fee_rate * (ONE + ONE / self.leverage))

    def position_margin(self, contract: Contract, mark: Decimal) -> Decimal:
        """Return what the position locks up (KuCoin's posMargin)."""
        if not self.qty:
            return ZERO
        if self.margin_mode == "CROSS":
            return money(abs(value_of(contract, self.qty, mark)) / self.leverage)
        return self.margin + self.added_margin + self.close_fee_reserve(contract)

    def maintenance(self, contract: Contract) -> Decimal:
        """Return the margin below which the exchange takes the position over (posMaint)."""
        return money(abs(self.cost) * contract.maintain_margin) + self.close_fee_reserve(contract)

    def bankrupt_price(self, contract: Contract) -> Decimal:
        """Return the mark price at which an isolated margin is used up, less the closing fee."""
        return self._price_after_losing(contract, self.margin + self.added_margin)

    def liquidation_price(self, contract: Contract) -> Decimal:
        """Return the mark price at which an isolated position is liquidated."""
        spare = self.margin + self.added_margin - money(abs(self.cost) * contract.maintain_margin)
        return self._price_after_losing(contract, spare)

    def must_be_liquidated(self, contract: Contract, mark: Decimal) -> bool:
        """Whether *mark* has eaten an isolated margin down to its maintenance part."""
        if not self.qty or self.margin_mode == "CROSS":
            return False
        left = self.margin + self.added_margin + self.unrealised(contract, mark)
        return left <= money(abs(self.cost) * contract.maintain_margin)

    def funding_payment(self, contract: Contract, mark: Decimal, rate: Decimal) -> Decimal:
        """Return what one funding moment brings: a long pays a positive *rate*, a short gets it."""
        return money(-value_of(contract, self.qty, mark) * rate)

    def execute(
        self, contract: Contract, *, sign: int, size: int, price: Decimal, fee_rate: Decimal,
        leverage: Decimal, now_ms: int,
    ) -> Outcome:
        """Trade *size* lots at *price*: close what is opposite first, open the rest (a flip)."""
        closed = min(size, abs(self.qty)) if self.sign == -sign else 0
        opened = size - closed
        gross = self._close(contract, closed, price) if closed else ZERO
        close_fee = money(value_of(contract, closed, price) * fee_rate)
        open_fee = money(value_of(contract, opened, price) * fee_rate)
        self.realised_gross += gross
        self.commission += close_fee
        if opened:
            self._open(contract, sign * opened, price, leverage, now_ms)
            self.commission += open_fee
        return Outcome(
            closed=closed, opened=opened, realised_gross=gross, open_fee=open_fee, close_fee=close_fee
        )

    def _close(self, contract: Contract, lots: int, price: Decimal) -> Decimal:
        """Take *lots* off and return their gross profit."""
        held = abs(self.qty)
        cost_part = self.cost if lots == held else money(self.cost * lots / held)
        margin_part = self.margin if lots == held else money(self.margin * lots / held)
        added_part = self.added_margin if lots == held else money(self.added_margin * lots / held)
        gross = value_of(contract, self.sign * lots, price) - cost_part
        self.exit_value += value_of(contract, lots, price)
        self.exit_lots += lots
        self.qty -= self.sign * lots
        self.cost -= cost_part
        self.margin -= margin_part
        self.added_margin -= added_part
        return gross

    def _open(
        self, contract: Contract, signed_lots: int, price: Decimal, leverage: Decimal, now_ms: int
    ) -> None:
        if not self.qty:
            self.begin(now_ms)
            self.leverage = leverage
            self.life_sign = 1 if signed_lots > 0 else -1
        value = value_of(contract, abs(signed_lots), price)
        self.qty += signed_lots
        self.cost += value if signed_lots > 0 else -value
        self.margin += money(value / leverage)
        self.entry_value += value
        self.entry_lots += abs(signed_lots)
        if self.margin_mode == "ISOLATED":
            self.leverage = (abs(self.cost) / self.margin).quantize(Decimal("0.01")).normalize()
        else:
            self.leverage = leverage

    def begin(self, now_ms: int) -> None:
        """Start a new life: nothing realised yet."""
        self.open_ms = now_ms
        self.entry_value = self.exit_value = ZERO
        self.entry_lots = self.exit_lots = 0
        self.realised_gross = self.commission = self.funding = ZERO

    def _price_after_losing(self, contract: Contract, loss: Decimal) -> Decimal:
        if not self.qty:
            return ZERO
        distance = loss / (abs(self.qty) * contract.multiplier)
        price = self.entry_price(contract) - self.sign * distance
        return max(price, ZERO).quantize(PRICE).normalize()
