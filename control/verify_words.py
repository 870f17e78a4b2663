"""What each difference between journal and exchange means, and what becomes of it, in words for a person.

RAD's next comparison is its reconciliation: every `reconcile.interval`, and whenever it is started.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from trading.reconciliation import Kind


@dataclass(frozen=True, slots=True)
class Words:
    """One kind of difference, explained."""

    meaning: str
    remedy: str            # what RAD does about it by itself, and what is left for the person


WORDS: Mapping[Kind, Words] = {
    Kind.GONE: Words(
        "RAD holds a position that the exchange no longer has: its resting stop fired, somebody closed it by "
        "hand, or it was liquidated.",
        "RAD looks for the fills that closed it and books them with its next comparison. Should nothing explain "
        "it, entries stay blocked: look at the fills on KuCoin.",
    ),
    Kind.SMALLER: Words(
        "The exchange has less of the position than the journal: a part was closed behind RAD's back.",
        "RAD looks for the fills that explain it and books them with its next comparison. The stop on the "
        "exchange closes whatever is left in any case.",
    ),
    Kind.LARGER: Words(
        "The exchange has more of the position than the journal: somebody else has added to it.",
        "RAD does not sell what it did not buy; entries are blocked, exits and the stop go on. Sell the "
        "surplus by hand, or `./rad close` RAD's part and deal with the rest on KuCoin.",
    ),
    Kind.TURNED: Words(
        "The exchange has the other side: somebody else traded more against the position than there was.",
        "RAD does not follow a turn; entries are blocked. Close the position on KuCoin by hand: RAD then "
        "books what closed its own.",
    ),
    Kind.FOREIGN: Words(
        "The exchange has a position that RAD did not open.",
        "RAD leaves it alone and keeps out of this symbol; only with `positions.adopt` or `--guard` does it "
        "take it over. If it is not wanted, close it on KuCoin.",
    ),
    Kind.UNPROTECTED: Words(
        "The stop that should rest on the exchange for this position is not there: it was cancelled, or could "
        "not be placed.",
        "RAD places a new one with its next comparison and reads it back, and closes the position if that fails. "
        "While RAD does not run nothing else protects it: start RAD, or close it on KuCoin.",
    ),
    Kind.ORPHAN_STOP: Words(
        "A stop of RAD's rests on the exchange without its position, or one too many for it.",
        "RAD cancels it with its next comparison. It can only close, never open.",
    ),
    Kind.STRAY_ORDER: Words(
        "An order with RAD's mark is active on the exchange, and nothing in the journal accounts for it.",
        "RAD cancels it with its next comparison. If it comes back, a second RAD uses this account: stop it.",
    ),
    Kind.MISSING_FILL: Words(
        "An order of RAD's traded on the exchange, and the journal does not have this fill.",
        "RAD books it with its next comparison.",
    ),
    Kind.PHANTOM_FILL: Words(
        "The journal has a fill that the exchange does not list: an older copy of the exchange or a newer one "
        "of the journal, another account, or a list that lags.",
        "RAD changes nothing. Ask again in a few minutes; if it stays, check that key, mode and data folder "
        "belong together.",
    ),
    Kind.UNSETTLED: Words(
        "RAD ended while this entry was under way, and the exchange did something with it.",
        "RAD looks the order up when it is started, takes over what filled and puts a stop on the exchange. "
        "Until then nothing protects it: start RAD, or close it on KuCoin.",
    ),
    Kind.FEE: Words(
        "The fees in the journal's trades are not what their fills cost: the exchange listed fills late and RAD "
        "booked an estimate, or fills are missing.",
        "RAD changes nothing in what is booked, and no position depends on it. KuCoin's figure is the right one.",
    ),
    Kind.REALISED_PNL: Words(
        "The profit in the journal's trades is not what their fills come to: an execution is missing from the "
        "journal, was booked for another position, or at another price.",
        "RAD changes nothing in what is booked. KuCoin's figure is the right one; if no fill is missing either, "
        "this is worth a bug report.",
    ),
    Kind.FUNDING: Words(
        "The funding booked with a closed trade is not what the exchange lists between its opening and its close: "
        "it was listed later than RAD waits for it, or there is no saying whose it is.",
        "RAD changes nothing in what is booked, and no position depends on it. KuCoin's figure is the right one.",
    ),
}
