"""Figures in the text format of Prometheus, from families that whoever has the figures makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "rad_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One figure of a family; *suffix* is `_sum` or `_count` of a summary."""

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)
    suffix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Figures of one name, with units last in it; a counter's name is without its `_total`."""

    name: str
    about: str
    samples: tuple[Sample, ...]
    kind: Literal["gauge", "counter", "summary"] = "gauge"


def gauge(name: str, about: str, value: Any) -> Family:
    """A figure that goes up and down; none at all while *value* is None: unknown is not 0."""
    return Family(name=name, about=about, samples=() if value is None else (Sample(value=float(value)),))


def counter(name: str, about: str, value: Any) -> Family:
    """A figure that only grows."""
    return Family(name=name, about=about, samples=(Sample(value=float(value)),), kind="counter")


def by_label(name: str, about: str, label: str, values: Mapping[str, Any], *, counts: bool = False) -> Family:
    """One figure for each value of a label."""
    samples = tuple(
        Sample(value=float(value), labels={label: key}) for key, value in values.items() if value is not None
    )
    return Family(name=name, about=about, samples=samples, kind="counter" if counts else "gauge")


def quantiles(
    count: int, mean: float | None, figures: Mapping[str, float | None], labels: Mapping[str, str]
) -> Iterator[Sample]:
    """Yield the samples of one summary: each known figure by its quantile, and how many there were."""
    for quantile, figure in figures.items():
        if figure is not None:
            yield Sample(value=figure, labels={**labels, "quantile": quantile})
    yield Sample(value=(mean or 0.0) * count, labels=labels, suffix="_sum")
    yield Sample(value=count, labels=labels, suffix="_count")


def render(families: Iterable[Family]) -> bytes:
    """Return the families, and what the process itself uses, as Prometheus reads them."""
    # Imported by the first who asks: most daemons are never scraped.
    from prometheus_client.exposition import generate_latest

    return generate_latest(_Once(tuple(families)))


class _Once:
    """What prometheus-client takes for a registry."""

    def __init__(self, families: tuple[Family, ...]) -> None:
        self._families = families

    def collect(self) -> Iterator[Any]:
        from prometheus_client.metrics_core import Metric
        from prometheus_client.process_collector import ProcessCollector

        for family in self._families:
            metric = Metric(PREFIX + family.name, family.about, family.kind)
            for sample in family.samples:
                suffix = "_total" if family.kind == "counter" else sample.suffix
                metric.add_sample(metric.name + suffix, dict(sample.labels), sample.value)
            yield metric
        yield from ProcessCollector(registry=None).collect()
