"""Money of accounts: what is free, what is held, and what a fill, funding or liquidation moves."""

from __future__ import annotations

from decimal import Decimal

from sandbox.accounts import Account
from sandbox.clock import ExchangeClock
from sandbox.events import Listener
from sandbox.history import History
from sandbox.market.source import Contract
from sandbox.marketview import MarketView
from sandbox.orders import ZERO, Fill, Numbers, Order
from sandbox.positions import PRICE, Outcome, Position, money, value_of
from sandbox.settings import ExchangeRules
from sandbox.wire import text


class Ledger:
    """Every movement of money goes through here and into the history."""

    def __init__(
        self, market: MarketView, clock: ExchangeClock, rules: ExchangeRules, numbers: Numbers,
        history: History,
    ) -> None:
        self.market = market
        self.clock = clock
        self.rules = rules
        self.numbers = numbers
        self.history = history
        self.listener: Listener

    def unrealised(self, account: Account, margin_mode: str | None = None) -> Decimal:
        """Return open profit at mark prices, of one margin mode when given."""
        return sum(
            (
                p.unrealised(self.market.contract(p.symbol), self.market.mark(p.symbol))
                for p in account.open_positions()
                if margin_mode in (None, p.margin_mode)
            ),
            start=ZERO,
        )

    def position_margin(self, account: Account, margin_mode: str | None = None) -> Decimal:
        """Return what open positions lock up, of one margin mode when given."""
        return sum(
            (
                p.position_margin(self.market.contract(p.symbol), self.market.mark(p.symbol))
                for p in account.open_positions()
                if margin_mode in (None, p.margin_mode)
            ),
            start=ZERO,
        )

    def equity(self, account: Account) -> Decimal:
        return account.wallet + self.unrealised(account)

    def available(self, account: Account) -> Decimal:
        """Return what new orders may use: cross profit and loss counts, isolated does not."""
        return (
            account.wallet
            - self.position_margin(account)
            - account.order_margin()
            + self.unrealised(account, "CROSS")
        )

    def opening_cost(self, account: Account, order: Order, lots: int, price: Decimal) -> Decimal:
        """Return margin plus both fees for *lots* of *order*, as far as they open exposure."""
        if order.reduces_only and not order.force_hold:
            return ZERO
        held = account.position_qty(order.symbol)
        closing = min(lots, abs(held)) if held * order.sign < 0 and not order.force_hold else 0
        contract = self.market.contract(order.symbol)
        value = value_of(contract, lots - closing, price)
        return money(value / order.leverage + value * contract.taker_fee_rate * 2)

    def fill(
        self, account: Account, order: Order, *, lots: int, price: Decimal, liquidity: str
    ) -> Fill:
        """Execute *lots* of *order* at *price*: position, wallet, order and history together."""
        contract = self.market.contract(order.symbol)
        rate = contract.maker_fee_rate if liquidity == "maker" else contract.taker_fee_rate
        position = self._position_for(account, order)
        outcome = self._trade(account, position, contract, order, lots, price, rate)
        account.wallet += outcome.realised_gross - outcome.open_fee - outcome.close_fee
        order.hold -= order.hold if lots >= order.remaining else money(order.hold * lots / order.remaining)
        return self._record(account, order, contract, lots, price, liquidity, rate, outcome)

    def liquidate(self, account: Account, position: Position, order: Order) -> Fill:
        """Take over an isolated position: its whole margin is lost, nothing more."""
        contract = self.market.contract(position.symbol)
        price = position.bankrupt_price(contract)
        lost = position.margin + position.added_margin + position.close_fee_reserve(contract)
        lots = abs(position.qty)
        outcome = position.execute(
            contract, sign=order.sign, size=lots, price=price, fee_rate=ZERO,
            leverage=position.leverage, now_ms=self.clock.now_ms(),
        )
        fee = lost + outcome.realised_gross          # the reserve, to the last unit of account
        position.commission += fee
        account.wallet -= lost
        self._end_of_life(account, position, "LIQUID")
        whole = Outcome(
            closed=lots, opened=0, realised_gross=outcome.realised_gross, open_fee=ZERO, close_fee=fee
        )
        return self._record(
            account, order, contract, lots, price, "taker", contract.taker_fee_rate, whole
        )

    def settle_funding(self, account: Account, position: Position, period: int, moment_ms: int) -> None:
        """Pay or receive one funding moment."""
        contract = self.market.contract(position.symbol)
        quote = self.market.quote(position.symbol)
        payment = position.funding_payment(contract, quote.mark, quote.funding_rate)
        position.funding_period = period
        position.funding += payment
        account.wallet += payment
        row = {
            "id": self.numbers.following("funding", 1_472_387_374_042_586),
            "symbol": position.symbol, "timePoint": moment_ms, "fundingRate": quote.funding_rate,
            "markPrice": quote.mark, "positionQty": position.qty, "positionCost": position.cost,
            "funding": payment, "settleCurrency": contract.settle, "marginMode": position.margin_mode,
        }
        account.funding_history.append(row)
        self.history.append(
            "funding", self.clock.now_ms(), user_id=account.user_id, symbol=position.symbol,
            payment=text(payment), rate=text(quote.funding_rate), mark=text(quote.mark),
        )
        self.listener.funding_settled(
            account, position, rate=quote.funding_rate, mark=quote.mark, payment=payment
        )
        self.listener.position_changed(account, position, "positionChange")
        self.listener.wallet_changed(account)

    def set_balance(self, account: Account, balance: Decimal) -> None:
        """Make the wallet hold *balance*, as a transfer would."""
        change = balance - account.wallet
        account.wallet = balance
        self._note(account, "TransferIn" if change >= 0 else "TransferOut", change, ZERO, "")
        self.history.append(
            "balance", self.clock.now_ms(), user_id=account.user_id, balance=text(balance)
        )
        self.listener.wallet_changed(account)

    def cover_shortfall(self, account: Account) -> None:
        """After a cross liquidation the insurance fund bears what the account cannot."""
        floor = self.position_margin(account, "ISOLATED")
        if account.wallet < floor:
            self.history.append(
                "insurance", self.clock.now_ms(), user_id=account.user_id,
                amount=text(floor - account.wallet),
            )
            account.wallet = floor

    def funding_period(self, contract: Contract) -> int:
        """Return the number of funding moments since 1970, up to now."""
        return self.clock.now_ms() // self.funding_period_ms(contract)

    def funding_period_ms(self, contract: Contract) -> int:
        return self.rules.funding_period_ms or contract.funding_granularity_ms

    def _position_for(self, account: Account, order: Order) -> Position:
        position = account.positions.get(order.symbol)
        if position is None:
            number = self.numbers.following("position", 500_000_000_000_988_255)
            position = account.positions[order.symbol] = Position(id=str(number), symbol=order.symbol)
        return position

    def _trade(
        self, account: Account, position: Position, contract: Contract, order: Order, lots: int,
        price: Decimal, rate: Decimal,
    ) -> Outcome:
        """Close what is opposite, then open the rest: a flip ends one life and begins another."""
        now_ms = self.clock.now_ms()
        closing = min(lots, abs(position.qty)) if position.sign == -order.sign else 0
        gross = close_fee = open_fee = ZERO
        if closing:
            part = position.execute(
                contract, sign=order.sign, size=closing, price=price, fee_rate=rate,
                leverage=order.leverage, now_ms=now_ms,
            )
            gross, close_fee = part.realised_gross, part.close_fee
            self._note(account, "RealisedPNL", gross, close_fee, order.symbol)
            if not position.qty:
                self._end_of_life(account, position, "CLOSE")
        if lots > closing:
            if not position.qty:
                position.margin_mode = order.margin_mode
                position.funding_period = self.funding_period(contract)
            part = position.execute(
                contract, sign=order.sign, size=lots - closing, price=price, fee_rate=rate,
                leverage=order.leverage, now_ms=now_ms,
            )
            open_fee = part.open_fee
        return Outcome(
            closed=closing, opened=lots - closing, realised_gross=gross, open_fee=open_fee,
            close_fee=close_fee,
        )

    def _record(
        self, account: Account, order: Order, contract: Contract, lots: int, price: Decimal,
        liquidity: str, rate: Decimal, outcome: Outcome,
    ) -> Fill:
        value = value_of(contract, lots, price)
        order.filled_size += lots
        order.filled_value += value
        order.updated_ms = self.clock.now_ms()
        fill = Fill(
            trade_id=str(self.numbers.following("trade", 1_784_277_229_880)),
            order_id=order.id, client_oid=order.client_oid, user_id=account.user_id,
            symbol=order.symbol, side=order.side, order_type=order.type, liquidity=liquidity,
            price=price, size=lots, value=value, fee_rate=rate, open_fee=outcome.open_fee,
            close_fee=outcome.close_fee, realised_gross=outcome.realised_gross,
            margin_mode=order.margin_mode, stop=order.stop, trade_type=order.trade_type,
            trade_ns=self.clock.now_ns(),
        )
        account.fills.append(fill)
        self.history.append(
            "fill", self.clock.now_ms(), user_id=account.user_id, trade_id=fill.trade_id,
            order_id=order.id, client_oid=order.client_oid, symbol=order.symbol, side=order.side,
            liquidity=liquidity, price=text(price), size=lots, value=text(value), fee=text(fill.fee),
            realised_gross=text(outcome.realised_gross), trade_type=order.trade_type,
            position_qty=account.position_qty(order.symbol), wallet=text(account.wallet),
        )
        return fill

    def _end_of_life(self, account: Account, position: Position, how: str) -> None:
        """Note a position that has just gone flat, for the positions history."""
        contract = self.market.contract(position.symbol)
        side = "LONG" if position.life_sign > 0 else "SHORT"
        per_lot = contract.multiplier
        account.closed_positions.append({
            "closeId": str(self.numbers.following("close", 500_000_000_036_305_465)),
            "symbol": position.symbol, "leverage": position.leverage,
            "type": f"{how}_{side}", "pnl": position.realised,
            "gross": position.realised_gross, "fee": position.commission, "funding": position.funding,
            "openTime": position.open_ms, "closeTime": self.clock.now_ms(),
            "openPrice": _average(position.entry_value, position.entry_lots, per_lot),
            "closePrice": _average(position.exit_value, position.exit_lots, per_lot),
            "marginMode": position.margin_mode, "side": side,
        })
        position.margin = position.added_margin = ZERO

    def _note(
        self, account: Account, kind: str, amount: Decimal, fee: Decimal, remark: str
    ) -> None:
        account.ledger.append({
            "time": self.clock.now_ms(), "type": kind, "amount": amount, "fee": fee,
            "accountEquity": self.equity(account), "status": "Completed", "remark": remark,
            "offset": self.numbers.following("ledger"), "currency": account.currency,
        })


def _average(value: Decimal, lots: int, multiplier: Decimal) -> Decimal:
    return (value / (lots * multiplier)).quantize(PRICE) if lots else ZERO
