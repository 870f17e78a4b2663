"""The contracts of the made-up market: names and rules as on KuCoin, prices as they might be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from random import Random

from sandbox.market.source import Contract

# KuCoin's base currency, where it differs from everybody else's.
KUCOIN_BASE = {"BTC": "XBT"}

# base, price, tick, multiplier, maxLeverage; the most traded first.
_TABLE = """
XBT       67250.0       0.1         0.001     125
ETH       3420.00       0.01        0.01      100
SOL       162.50        0.01        0.1       75
XRP       0.6135        0.0001      10        75
DOGE      0.12850       0.00001     100       75
BNB       588.00        0.01        0.01      75
PEPE      0.000011240   0.000000001 100000    75
SUI       1.8420        0.0001      1         75
ADA       0.45120       0.00001     10        75
AVAX      27.850        0.001       0.1       75
LINK      13.640        0.001       0.1       75
LTC       71.20         0.01        0.1       75
TRX       0.15480       0.00001     100       75
WIF       2.1480        0.0001      1         75
TON       6.8250        0.0001      1         75
BCH       381.40        0.05        0.01      75
NEAR      5.1240        0.0001      1         75
DOT       5.8430        0.0001      1         75
APT       8.1350        0.0001      1         75
ARB       0.71250       0.00001     1         75
OP        1.6920        0.0001      1         75
SHIB      0.000017210   0.000000001 100000    75
FIL       4.213         0.001       0.1       75
ETC       21.740        0.001       0.1       75
ORDI      34.120        0.001       0.1       50
INJ       21.360        0.001       0.1       50
TIA       5.9140        0.0001      1         50
SEI       0.38240       0.00001     10        50
WLD       2.2350        0.0001      1         50
FTM       0.56310       0.00001     1         50
ENA       0.43820       0.00001     10        50
JUP       0.91240       0.00001     1         50
AAVE      112.35        0.01        0.01      50
UNI       7.4520        0.0001      1         50
ATOM      5.421         0.001       0.1       50
RUNE      4.183         0.001       1         50
GALA      0.022140      0.000001    10        50
STX       1.7450        0.0001      1         50
ICP       8.342         0.001       0.1       50
HBAR      0.06142       0.00001     10        50
BONK      0.000021350   0.000000001 100000    50
NOT       0.0118200     0.0000001   1000      50
DYDX      1.1240        0.0001      0.1       50
LDO       1.2410        0.0001      1         50
GMT       0.15230       0.00001     1         50
APE       0.8421        0.0001      0.1       50
AXS       5.342         0.001       0.1       50
SAND      0.31240       0.00001     1         50
MANA      0.32450       0.00001     1         50
CRV       0.29840       0.00001     1         50
XLM       0.096120      0.000001    10        50
ALGO      0.13420       0.00001     1         50
EOS       0.5421        0.0001      1         50
THETA     1.3240        0.0001      0.1       50
GRT       0.17230       0.00001     1         50
CHZ       0.06841       0.00001     1         50
SNX       1.5420        0.0001      0.1       50
IMX       1.4230        0.0001      1         50
PENDLE    3.4120        0.0001      1         50
BLUR      0.19340       0.00001     1         50
MASK      2.341         0.001       0.1       50
SUSHI     0.6812        0.0001      1         50
1INCH     0.3145        0.0001      1         50
ZEC       38.42         0.01        0.01      50
DASH      25.13         0.01        0.01      50
XMR       158.40        0.01        0.01      50
XTZ       0.6942        0.0001      1         50
VET       0.023140      0.000001    100       50
QTUM      2.412         0.001       0.1       50
KSM       20.14         0.01        0.01      50
BAT       0.18420       0.00001     1         50
ENJ       0.15620       0.00001     1         50
ROSE      0.06942       0.00001     100       50
YFI       5412          1           0.0001    50
KAVA      0.3412        0.0001      1         20
ZIL       0.015420      0.000001    10        20
TWT       0.9824        0.0001      1         20
TRB       71.23         0.01        0.01      20
LUNC      0.00008412    0.00000001  10000     20
"""

_CONSONANTS, _VOWELS = "BCDFGKLMNPRSTVXZ", "AEIOU"


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """One contract of the made-up market and where its price begins."""

    contract: Contract
    price: Decimal


def listings(count: int) -> tuple[Listing, ...]:
    """Return *count* contracts, the most traded first: KuCoin's names, then made-up ones."""
    named = tuple(_named_listings().values())
    return (*named[:count], *_made_up(count - len(named), set(_named_listings())))


def contract_for(base: str, price: Decimal) -> Contract:
    """Return the rules for *base*: the table's, or ones that fit its *price*.

    A tick of the table is kept only while it leaves the price four significant digits.
    """
    base = KUCOIN_BASE.get(base, base)
    known = _named_listings().get(base)
    if known is not None and known.contract.tick_size <= fitting_tick(price) * 10:
        return known.contract
    return make_contract(base, fitting_tick(price), fitting_multiplier(price), 50)


def make_contract(base: str, tick_size: Decimal, multiplier: Decimal, max_leverage: int) -> Contract:
    """Return a contract with KuCoin's margins for *max_leverage*: 1/leverage, and half of it."""
    initial = (1 / Decimal(max_leverage)).quantize(Decimal("0.0001"))
    return Contract(
        symbol=f"{base}USDTM", base=base, multiplier=multiplier, tick_size=tick_size,
        max_leverage=max_leverage, initial_margin=initial, maintain_margin=initial / 2,
    )


def fitting_tick(price: Decimal) -> Decimal:
    """Return the power of ten that leaves *price* five significant digits."""
    return _power_of_ten(price.adjusted() - 4)


def fitting_multiplier(price: Decimal) -> Decimal:
    """Return the power of ten that makes one lot worth between 1 and 100 USDT or so."""
    return _power_of_ten(1 - price.adjusted())


def _power_of_ten(exponent: int) -> Decimal:
    """Return it without an exponent in its text: 100, not 1E+2."""
    return Decimal(10**exponent) if exponent >= 0 else Decimal(1).scaleb(exponent)


@cache
def _named_listings() -> dict[str, Listing]:
    rows = (_named(line.split()) for line in _TABLE.split("\n") if line)
    return {listing.contract.base: listing for listing in rows}


def _named(fields: list[str]) -> Listing:
    base, price, tick, multiplier, leverage = fields
    contract = make_contract(base, Decimal(tick), Decimal(multiplier), int(leverage))
    return Listing(contract=contract, price=Decimal(price))


def _made_up(count: int, taken: set[str]) -> Iterator[Listing]:
    """Yield contracts that exist nowhere, the same ones every time."""
    dice = Random("made-up contracts")
    while count > 0:
        base = "".join(dice.choice(letters) for letters in (_CONSONANTS, _VOWELS) * 2)
        digits = Decimal(dice.randrange(10_000, 100_000))
        if base in taken:
            continue
        taken.add(base)
        price = digits.scaleb(dice.choice((-9, -6, -5, -5, -4, -4, -3)))
        contract = make_contract(base, fitting_tick(price), fitting_multiplier(price), dice.choice((20, 50)))
        yield Listing(contract=contract, price=price)
        count -= 1
