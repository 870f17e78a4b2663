"""RAD's own classes in every order their threads can take: what is promised holds in each of them.

Two threads, and three where that ends, without a bound. Where there is one, RAD_PREEMPTIONS=all lifts it, a number
sets it: RAD_PREEMPTIONS=all python -m pytest tests/interleavings
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.interleavings import blocking, gate, journal_writer, positions, records, scanner
from tests.interleavings.explorer import Scene, bound_from_environment, explore, find

SCENES: dict[Callable[[], Scene], int | None] = {      # and the most preemptions
    positions.two_openers: None,
    positions.three_openers: None,
    positions.two_closers: None,
    positions.three_closers: None,
    positions.opener_and_closer: None,
    positions.two_monitors: None,
    positions.monitor_and_closer: None,
    positions.profit_taker_and_closer: None,
    positions.opener_and_profit_taker: 1,
    positions.profit_taker_and_comparison: 1,
    positions.trailing_and_closer: None,
    positions.adopter_and_closer: None,
    positions.two_adopters: None,
    positions.ending_and_opener: None,
    positions.flattener_and_opener: None,
    positions.restorer_and_monitor: None,
    gate.exit_and_scan: None,
    gate.two_exits: None,
    gate.two_exits_and_scan: None,
    gate.endless_exit_and_scan: None,
    scanner.publisher_and_two_consumers: None,
    scanner.two_that_keep: None,
    scanner.scan_with_a_worker: None,
    scanner.scan_with_two_workers: 1,
    scanner.scan_and_the_end: None,
    scanner.consumer_and_the_end: None,
    blocking.two_takers: None,
    blocking.taker_and_correction: None,
    blocking.two_takers_and_the_end: None,
    blocking.publisher_and_waiter: None,
    blocking.price_and_mark: None,
    blocking.two_publishers_and_waiter: None,
    blocking.submitter_and_the_end: None,
    blocking.two_submitters: None,
    blocking.call_and_its_deadline: None,
    blocking.call_and_the_end: None,
    blocking.late_cut_and_next_user: None,
    blocking.two_that_ask_for_a_name: None,
    blocking.renewal_and_the_end: None,
    blocking.renewal_and_order: None,
    journal_writer.two_that_save: None,
    journal_writer.saver_and_the_end: None,
    journal_writer.saver_on_a_failing_disk: None,
    journal_writer.entry_on_a_failing_disk: None,
    records.two_that_tell_and_a_reader: None,
    records.reader_and_the_end: None,
    records.two_that_hide: None,
    records.two_that_list: None,
    records.two_that_reload: None,
    records.two_that_answer: None,
}


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.__name__)
def test_it_holds_in_every_order(scene: Callable[[], Scene]) -> None:
    """No order breaks it: see the scene's own sentence."""
    usual = SCENES[scene]
    explore(scene, bound=None if usual is None else bound_from_environment(usual))


def test_who_asks_before_the_claim_alone_opens_after_the_flatten() -> None:
    """Between the question and the claim the pause is said, nothing is found under way, and then it is opened."""
    assert "sets event" in str(find(positions.flattener_and_early_asker))
