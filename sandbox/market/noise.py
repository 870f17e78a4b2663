"""Random numbers that are a function of their place, so that any moment can be asked for."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
_MASK = (1 << 64) - 1
_STEP, _MIX_1, _MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


def scramble(*parts: int) -> int:
    """Return 64 well-mixed bits of *parts* (SplitMix64, chained)."""
    z = 0
    for part in parts:
        z = (z ^ (part & _MASK)) + _STEP & _MASK
        z = (z ^ (z >> 30)) * _MIX_1 & _MASK
        z = (z ^ (z >> 27)) * _MIX_2 & _MASK
        z ^= z >> 31
    return z


def bits(stream: NDArray[np.uint64] | np.uint64, place: Integers) -> NDArray[np.uint64]:
    """Return 64 well-mixed bits for each *place* on its *stream* (SplitMix64)."""
    z = place.astype(np.uint64) * np.uint64(_STEP) + stream
    z ^= z >> np.uint64(30)
    z *= np.uint64(_MIX_1)
    z ^= z >> np.uint64(27)
    z *= np.uint64(_MIX_2)
    z ^= z >> np.uint64(31)
    return z


def uniform(stream: NDArray[np.uint64] | np.uint64, place: Integers) -> Floats:
    """Return a number in [0, 1) for each *place*."""
    return (bits(stream, place) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normal(stream: NDArray[np.uint64] | np.uint64, place: Integers) -> Floats:
    """Return a standard normal number for each *place* (Box-Muller on two halves of the bits)."""
    z = bits(stream, place)
    radius = (z >> np.uint64(32)).astype(np.float64) + 0.5
    angle = (z & np.uint64(0xFFFFFFFF)).astype(np.float64)
    turned: Floats = np.sqrt(-2.0 * np.log(radius * 2.0**-32)) * np.cos(angle * (2 * np.pi * 2.0**-32))
    return turned


def smooth(f: Floats) -> Floats:
    """Return the way from 0 to 1 at *f*, slow at both ends."""
    return f * f * (3.0 - 2.0 * f)


def spread_over(periods: Floats, lag: float) -> Floats:
    """Return the variance of the change over *lag* of unit value noise with each of *periods*."""
    f = (np.arange(128) + 0.5) / 128
    u = f[None, :] + (lag / periods)[:, None]
    cells, s, s_later = np.floor(u), smooth(f)[None, :], smooth(u - np.floor(u))
    same = 2 * (s_later - s) ** 2
    following = (1 - s) ** 2 + (s - 1 + s_later) ** 2 + s_later**2
    later = (1 - s) ** 2 + s**2 + (1 - s_later) ** 2 + s_later**2
    variance: Floats = np.where(cells == 0, same, np.where(cells == 1, following, later)).mean(axis=1)
    return variance
