"""Whether a request was signed by whom it says: KuCoin's headers, version 2 and 3."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from urllib.parse import unquote, unquote_plus

from sandbox import refusals
from sandbox.accounts import ApiKey
from sandbox.clock import ExchangeClock

LIFE_MS = 5_000                    # a signature older or newer than this is refused
_REQUIRED = ("KC-API-KEY", "KC-API-SIGN", "KC-API-TIMESTAMP", "KC-API-PASSPHRASE")


def sign(secret: str, message: str) -> str:
    """Return base64 of HMAC-SHA256, which signs requests and passphrases alike."""
    return base64.b64encode(hmac.new(secret.encode(), message.encode(), hashlib.sha256).digest()).decode()


def authenticate(
    keys: Mapping[str, ApiKey], clock: ExchangeClock, *, method: str, path: str, raw_query: str,
    body: str, headers: Mapping[str, str],
) -> ApiKey:
    """Return the key that signed this request; *path* is KuCoin's, without any prefix of ours.

    Raises:
        Refusal: 400001 to 400009, in the order KuCoin's gateway looks.
    """
    if any(not headers.get(name) for name in _REQUIRED):
        raise refusals.header_missing()
    stamp = headers["KC-API-TIMESTAMP"]
    if not stamp.isdigit() or abs(int(stamp) - clock.now_ms()) > LIFE_MS:
        raise refusals.timestamp_off()
    key = keys.get(headers["KC-API-KEY"])
    if key is None:
        raise refusals.key_unknown()
    if headers.get("KC-API-KEY-VERSION") not in ("2", "3"):
        raise refusals.version_wrong()
    if not _same(headers["KC-API-PASSPHRASE"], sign(key.secret, key.passphrase)):
        raise refusals.passphrase_wrong()
    # The query is signed as it reads, not as it is encoded for transport.
    readings = {unquote(raw_query), unquote_plus(raw_query)} if raw_query else {""}
    endpoints = (f"{path}?{query}" if query else path for query in readings)
    given = headers["KC-API-SIGN"]
    if not any(_same(given, sign(key.secret, f"{stamp}{method}{e}{body}")) for e in endpoints):
        raise refusals.signature_wrong()
    return key


def require(key: ApiKey, permission: str) -> None:
    """Raises Refusal 400007 when *key* may not do what needs *permission*."""
    if permission not in key.permissions:
        raise refusals.permission_missing()


def require_place(key: ApiKey, remote: str) -> None:
    """Raises Refusal 400006 when *key* is bound to addresses and *remote* is none of them."""
    if key.ip_whitelist and remote not in (address.strip() for address in key.ip_whitelist.split(",")):
        raise refusals.address_refused()


def require_version(headers: Mapping[str, str], least: int) -> None:
    """Raises Refusal 400008 when the request is signed by an older kind of key than *least*."""
    if headers.get("KC-API-KEY-VERSION", "").isdigit() and int(headers["KC-API-KEY-VERSION"]) < least:
        raise refusals.version_old()


def _same(given: str, expected: str) -> bool:
    return hmac.compare_digest(given.encode(), expected.encode())
