"""Figures for Prometheus: what it reads is what was meant, and asking often costs no more."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from control import shared
from control.metrics import Family, by_label, counter, gauge, quantiles, render
from control.server import ControlServer
from tests.control.fake_steering import FakeSteering
from tests.control.visitor import PATIENCE_S, nobody, program, serving
from tests.crowd import all_at_once


def read(text: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Every figure by name and labels, as Prometheus' own reader has them."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text.decode()) for sample in family.samples
    }


def test_each_kind_of_figure_is_read_as_it_was_meant() -> None:
    """Gauges, counters and summaries; what is unknown is left out, for 0 would be a figure."""
    found = read(render([
        gauge("equity", "Worth.", 10_012.5),
        gauge("peak", "Unknown.", None),
        counter("exits_late", "Late ones.", 3),
        by_label("rate_pool_used", "Spent.", "pool", {"public": 12, "futures": None}),
        by_label("trades", "Closed.", "result", {"win": 2}, counts=True),
        Family(name="scan_seconds", about="A scan.", kind="summary", samples=tuple(
            quantiles(4, 0.5, {"0.5": 0.4, "0.99": None}, {"of": 'a "b"\\\n'})
        )),
    ]))
    label = ("of", 'a "b"\\\n')
    assert {key: value for key, value in found.items() if key[0].startswith("rad_")} == {
        ("rad_equity", ()): 10_012.5,
        ("rad_exits_late_total", ()): 3,
        ("rad_rate_pool_used", (("pool", "public"),)): 12,
        ("rad_trades_total", (("result", "win"),)): 2,
        ("rad_scan_seconds", (label, ("quantile", "0.5"))): 0.4,
        ("rad_scan_seconds_sum", (label,)): 2.0,        # 4 × 0.5 s
        ("rad_scan_seconds_count", (label,)): 4,
    }
    assert found[("process_resident_memory_bytes", ())] > 1_000_000


def test_metrics_are_served_to_who_has_the_token(server: ControlServer) -> None:
    """In the text format; they tell what an account is worth, so they are not for everybody."""
    assert nobody(server).get("/metrics").status == 401
    heard = program(server).get("/metrics")
    assert heard.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert read(heard.body)[("rad_equity", ())] == 10_012.3


def test_who_asks_within_a_second_shares_one_rendering(
    steering: FakeSteering, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The figures are worked out once; a second later they are worked out again."""
    steering.on["figures"] = lambda: (gauge("asked", "How often.", len(steering.asked)),)
    with serving(steering, tmp_path) as server:
        visitors = [program(server) for _ in range(8)]
        answers = all_at_once(*(lambda visitor=visitor: visitor.get("/metrics").body for visitor in visitors))
        assert len(set(answers)) == 1
        assert steering.asked == [("figures",)]
    monkeypatch.setattr(shared, "FRESH_S", 0.0)
    with serving(steering, tmp_path) as server:
        assert program(server).get("/metrics").body not in answers


def test_one_rendering_that_hangs_is_not_begun_again(steering: FakeSteering, tmp_path: Path) -> None:
    """A scraper that comes again and again does not use up the threads that closing needs."""
    steering.on["figures"] = steering.hang
    with serving(steering, tmp_path, ask_timeout_s=0.05) as server:
        scraper = program(server)
        assert scraper.get("/metrics").status == 504
        for _ in range(20):
            heard = scraper.get("/metrics")
            assert (heard.status, heard.json["exit_code"]) == (503, 5)
        assert steering.asked == [("figures",)]
        assert scraper.get("/api/positions").status == 200
        steering.on["figures"] = lambda: ()
        steering.released.set()
        for thread in threading.enumerate():
            if thread.name.startswith("control-"):
                thread.join(PATIENCE_S)
        while scraper.get("/metrics").status != 200:      # once the one that hung has come back
            pass


@pytest.mark.parametrize(
    ("answer", "status", "told"),
    [
        (lambda: "", 200, ""),
        (lambda: "the main thread makes no progress", 503, "the main thread makes no progress"),
    ],
)
def test_healthz_says_when_nothing_gets_on(
    server: ControlServer, steering: FakeSteering, answer: Any, status: int, told: str
) -> None:
    """To everybody on the machine, with who is held up."""
    steering.on["held_up"] = answer
    heard = nobody(server).get("/healthz")
    assert heard.status == status
    assert heard.json["ok"] is (status == 200)
    assert heard.json["held_up"] == told


def test_healthz_says_when_it_cannot_be_told(server: ControlServer, steering: FakeSteering) -> None:
    """Whoever does not even answer that is not well; and a flood of the question costs one thread."""
    steering.on["held_up"] = steering.hang
    for _ in range(10):
        heard = nobody(server).get("/healthz")
        assert heard.status == 503
        assert not heard.json["ok"]
    assert steering.asked == [("held_up",)]
