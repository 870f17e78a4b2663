"""KuCoin's key form in words a person can follow."""

from __future__ import annotations

from typing import Any

HOW_TO_MAKE_A_KEY = """
RAD trades with an API key of your KuCoin account. To make one: kucoin.com, your picture, API management,
Create API, "API-based trading". Give it
  - the permissions General and Futures, and nothing else: never Transfer or Withdrawal;
  - a restriction to this machine's address, so that a stolen key is of no use;
  - a name, which is for you alone, and a passphrase, which RAD needs.
"""

# In the order of runtime.secrets.NAMES.
FIELDS = {
    "key": "API key (KuCoin shows it beside the name, 24 letters and digits):",
    "secret": "API secret (shown once, when the key is made, like 1f2e3d4c-5b6a-…):",
    "passphrase": "API passphrase (the words you chose in that form; not your log-in or trading password):",
}


def said_of_key(facts: Any) -> str:
    """Return what the exchange says of a key that works."""
    lines = [f"The key works: version {facts.version}, of {facts.whose}, "
             f"{facts.balance.equity:.2f} {facts.balance.currency} in the futures account."]
    if facts.addresses:
        lines.append(f"It is bound to {', '.join(facts.addresses)}.")
    else:
        here = f" to {facts.our_address}" if facts.our_address else " to this machine's address"
        lines.append(f"It works from anywhere: bind it{here} at KuCoin, under API management.")
    if facts.refusal:
        lines.append(f"Take care: {facts.refusal}.")
    return "\n".join(lines)
