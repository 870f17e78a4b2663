"""Whether a KuCoin WebSocket opens: connect, be welcomed, leave."""

from __future__ import annotations

import asyncio
import time

import aiohttp

from trading.errors import BadResponse, ExchangeUnavailable


def welcome_s(url: str, timeout_s: float) -> float:
    """Return how long it took from here to the welcome of the socket at *url*, in seconds.

    *url* carries a token: no error repeats it.

    Raises:
        ExchangeUnavailable: no welcome within *timeout_s*.
        BadResponse: something else than a welcome came.
    """
    started = time.monotonic()
    try:
        kind = asyncio.run(_first_word(url, timeout_s))
    except TimeoutError:
        raise ExchangeUnavailable(f"no welcome within {timeout_s:g} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ExchangeUnavailable(f"the socket does not open ({type(error).__name__})") from None
    except (ValueError, TypeError, AttributeError):
        raise BadResponse("the socket's first word cannot be read") from None
    if kind != "welcome":
        raise BadResponse(f"the socket answers {kind or 'nothing'} instead of a welcome")
    return time.monotonic() - started


async def _first_word(url: str, timeout_s: float) -> str:
    async with asyncio.timeout(timeout_s), aiohttp.ClientSession() as session, session.ws_connect(url) as socket:
        message = await socket.receive_json()
        return str(message.get("type", ""))
