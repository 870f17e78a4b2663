"""What the thread-safety document promises, each beside the tests that fail when it is broken, and what broke it.

`python tests/test_thread_safety.py` runs them all, or those named: `python tests/test_thread_safety.py do-1`.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.interleavings import blocking as b
from tests.interleavings import gate as g
from tests.interleavings import journal_writer as j
from tests.interleavings import positions as p
from tests.interleavings import records as r
from tests.interleavings import scanner as s
from tests.interleavings.explorer import Scene, tally
from tests.runtime.test_guards import GUARDED
from tests.test_io_under_locks import entries

ROOT = Path(__file__).resolve().parents[1]
HERE = "tests/test_thread_safety.py"
LOCKS = "tests/runtime/test_locks.py"
GUARDS = "tests/runtime/test_guards.py"
IO = "tests/test_io_under_locks.py"
FIGURES = "tests/test_performance_monitor.py"
KNOWN = "tests/client/test_known.py"
EXPLORER = "tests/interleavings/test_explorer.py"
PATTERNS = "tests/interleavings/test_seed_patterns.py"
ORDERS = "tests/interleavings/test_every_order.py::test_it_holds_in_every_order"
WITHOUT = "tests/interleavings/test_every_lock.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee:
    """One promise of the seed document."""

    key: str                       # names it on the command line
    promise: str
    checks: tuple[str, ...]        # tests that hold it
    mutants: tuple[str, ...]       # tests in which it is broken on purpose, and seen to be
    broken_by: str                 # what those change


def orders(*scenes: Callable[[], Scene]) -> tuple[str, ...]:
    """Return the tests that run *scenes* in every order."""
    return tuple(f"{ORDERS}[{scene.__name__}]" for scene in scenes)


def without(lock: str, *scenes: Callable[[], Scene]) -> tuple[str, ...]:
    """Return the tests that run *scenes* with *lock* locking nothing."""
    return tuple(f"{WITHOUT}::test_without_the_lock_it_breaks[{lock}-{scene.__name__}]" for scene in scenes)


def named(file: str, *names: str) -> tuple[str, ...]:
    """Return tests of one file."""
    return tuple(f"{file}::{name}" for name in names)


GUARANTEES = (
    Guarantee(
        key="component-1", promise="PositionManager: of all who open, close, adopt one position at once, one does",
        checks=(
            *orders(p.two_openers, p.three_openers, p.two_closers, p.three_closers, p.opener_and_closer,
                    p.adopter_and_closer, p.two_adopters),
            *named(HERE, "test_many_threads_leave_a_consistent_book"),
        ),
        mutants=without("positions", p.two_openers, p.two_closers, p.opener_and_closer, p.adopter_and_closer),
        broken_by="no positions lock",
    ),
    Guarantee(
        key="component-1-snapshot",
        promise="PositionManager: what is updated may be closed meanwhile, and is sold once",
        checks=orders(p.two_monitors, p.monitor_and_closer, p.trailing_and_closer, p.profit_taker_and_closer,
                      p.opener_and_profit_taker, p.profit_taker_and_comparison, p.restorer_and_monitor),
        mutants=without("positions", p.two_monitors, p.monitor_and_closer), broken_by="no positions lock",
    ),
    Guarantee(
        key="component-1-count",
        promise="PositionManager: what is open or being opened is counted exactly, to the end",
        checks=orders(p.three_openers, p.ending_and_opener, p.flattener_and_opener),
        mutants=(
            *without("positions", p.ending_and_opener),
            *named("tests/interleavings/test_every_order.py",
                   "test_who_asks_before_the_claim_alone_opens_after_the_flatten"),
        ),
        broken_by="no positions lock; a question before the claim alone",
    ),
    Guarantee(
        key="component-2",
        promise="MarketScanner: the cache is read and written whole, by twenty workers and readers",
        checks=named(HERE, "test_twenty_workers_and_readers_share_the_cache"),
        mutants=named(HERE, "test_the_cache_without_its_lock_is_noticed"), broken_by="no cache lock",
    ),
    Guarantee(
        key="component-2-stale", promise="MarketScanner: an older answer does not replace a newer one",
        checks=(*orders(s.two_that_keep),
                *named("tests/test_market_scanner.py", "test_an_older_answer_does_not_replace_a_newer_one")),
        mutants=without("cache", s.two_that_keep), broken_by="no cache lock",
    ),
    Guarantee(
        key="component-2-scans", promise="MarketScanner: workers and the end at any point leave a scan whole",
        checks=orders(s.scan_with_a_worker, s.scan_with_two_workers, s.scan_and_the_end),
        mutants=without("scan pool", s.scan_with_a_worker), broken_by="no scan pool lock",
    ),
    Guarantee(
        key="component-3", promise="KuCoinClient: an order waits for no scan; a scan that finds one stands aside",
        checks=(
            *orders(g.exit_and_scan, g.two_exits, g.two_exits_and_scan),
            *named(HERE, "test_an_exit_passes_twenty_scans_that_never_come_back"),
        ),
        mutants=without("critical calls", g.two_exits), broken_by="no critical call lock",
    ),
    Guarantee(
        key="component-3-rate", promise="KuCoinClient: no pool is overspent, whoever takes, corrects or ends",
        checks=(
            *orders(b.two_takers, b.taker_and_correction, b.two_takers_and_the_end),
            *named("tests/client/test_budget.py", "test_twenty_workers_never_overspend_the_pool"),
        ),
        mutants=without("rate budget", b.two_takers), broken_by="no rate budget lock",
    ),
    Guarantee(
        key="component-3-metadata",
        promise="KuCoinClient: contracts learnt at once are all kept, and read as one list",
        checks=named(KNOWN, "test_two_that_learn_at_once_are_both_kept", "test_readers_see_one_list_or_the_next"),
        mutants=named(KNOWN, "test_two_that_learn_without_the_lock_lose_one"), broken_by="no metadata lock",
    ),
    Guarantee(
        key="component-4", promise="PerformanceMonitor: no update is lost",
        checks=named(FIGURES, "test_two_that_count_at_once_are_both_counted"),
        mutants=named(FIGURES, "test_two_that_count_without_the_lock_lose_one"), broken_by="no performance lock",
    ),
    Guarantee(
        key="component-4-snapshot", promise="PerformanceMonitor: figures are of one moment",
        checks=named(FIGURES, "test_a_snapshot_is_never_torn"),
        mutants=named(FIGURES, "test_a_snapshot_without_the_lock_is_torn"), broken_by="no performance lock",
    ),
    Guarantee(
        key="do-1", promise="Shared state is touched under its lock: each lock in the source is needed",
        checks=(
            *named(GUARDS, "test_a_field_is_read_and_written_under_its_lock_alone[table]",
                   *(f"test_shared_state_is_touched_under_its_lock_alone[{field}]" for field in GUARDED),
                   "test_what_a_scan_shares_with_its_workers_is_guarded",
                   "test_the_queue_of_a_rate_pool_is_guarded",
                   "test_whoever_has_a_lock_says_what_it_guards"),
            *named(WITHOUT, "test_each_lock_in_the_source_has_a_mutant", "test_each_mutant_elsewhere_is_there"),
        ),
        mutants=(
            *named("tests/test_state.py", "test_two_that_report_without_the_lock_both_tell_it",
                   "test_losses_forgiven_without_the_lock_take_it_back"),
            *without("prices", b.publisher_and_waiter, b.price_and_mark),
            *without("lease", b.renewal_and_the_end), *without("connections", b.late_cut_and_next_user),
            *without("deadlines", b.call_and_its_deadline), *without("resolver", b.two_that_ask_for_a_name),
            *without("exit pool", b.submitter_and_the_end, b.two_submitters),
            *without("events", r.two_that_tell_and_a_reader, r.reader_and_the_end),
            *without("redactions", r.two_that_hide), *without("black list", r.two_that_list),
            *without("reload", r.two_that_reload), *without("top", r.two_that_answer),
            *named("tests/test_without_gil.py",
                   "test_a_broken_rule_without_the_lock_is_told_with_anothers_words"),
        ),
        broken_by="each lock, one at a time",
    ),
    Guarantee(
        key="do-2", promise="Iteration goes over a snapshot; what it finds is claimed under the lock",
        checks=named(PATTERNS, "test_pattern_2_by_rad_sells_it_once"),
        mutants=named(PATTERNS, "test_pattern_2_as_printed_sells_one_position_twice"),
        broken_by="a second look instead of a claim",
    ),
    Guarantee(
        key="do-3", promise="Critical sections are small: work, percentiles and disk come after",
        checks=(
            *named(FIGURES, "test_percentiles_are_worked_out_without_the_lock"),
            *named("tests/runtime/test_journal.py", "test_nothing_waits_for_the_disk_under_a_lock[sqlite]"),
        ),
        mutants=named(LOCKS, "test_io_under_a_lock_is_noticed"), broken_by="I/O under a lock",
    ),
    Guarantee(
        key="do-4", promise="Queues lose nothing and wake their reader: journal, exit workers, prices",
        checks=orders(j.two_that_save, j.saver_and_the_end, j.saver_on_a_failing_disk, j.entry_on_a_failing_disk,
                      b.two_submitters, b.submitter_and_the_end, b.publisher_and_waiter),
        mutants=(*without("journal", j.two_that_save), *without("exit pool", b.two_submitters)),
        broken_by="no journal lock, no pool lock",
    ),
    Guarantee(
        key="dont-1", promise="No lock is held during I/O",
        checks=(
            *named(HERE, "test_no_lock_is_held_while_an_order_is_on_the_wire"),
            *named(IO, "test_whatever_can_block_asks_first", "test_no_block_under_a_lock_can_take_long"),
        ),
        mutants=(
            *named(LOCKS, "test_io_under_a_lock_is_noticed"),
            *named(IO, "test_the_reader_of_blocks_sees_what_it_should", "test_a_log_line_under_a_lock_is_refused",
                   *(f"test_what_goes_out_refuses_to_under_a_lock[{way}]" for way in entries(Path()))),
        ),
        broken_by="I/O of each kind under a lock",
    ),
    Guarantee(
        key="dont-2", promise="No lock is taken under another, nor twice",
        checks=named(HERE, "test_no_deadlock_when_everything_happens_at_once"),
        mutants=named(
            LOCKS, "test_second_lock_under_the_first_raises", "test_same_lock_twice_raises_instead_of_hanging",
        ),
        broken_by="a lock under a lock",
    ),
    Guarantee(
        key="dont-3", promise="Nothing relies on += being one step",
        checks=(*orders(g.two_exits, b.two_takers),
                *named("tests/test_without_gil.py", "test_whoever_counts_holds_a_lock_or_is_alone")),
        mutants=(*without("critical calls", g.two_exits), *named(EXPLORER, "test_what_is_found_is_found_again")),
        broken_by="a count without a lock",
    ),
    Guarantee(
        key="pattern-1",
        promise="A scan's result is published whole and consumed once; who waits hears of it, or of the end",
        checks=orders(s.publisher_and_two_consumers, s.consumer_and_the_end),
        mutants=without("scan", s.publisher_and_two_consumers), broken_by="no scan lock",
    ),
    Guarantee(
        key="pattern-2", promise="Of two threads that update one position past its stop, one sells it",
        checks=named(PATTERNS, "test_pattern_2_by_rad_sells_it_once"),
        mutants=named(PATTERNS, "test_pattern_2_as_printed_sells_one_position_twice"),
        broken_by="the pattern as printed",
    ),
    Guarantee(
        key="pattern-3",
        promise="A scan stands aside for an order for a second at most, and no call waits for itself",
        checks=named(PATTERNS, "test_pattern_3_by_rad_holds_it_up_for_a_second",
                     "test_pattern_3_by_rad_refuses_to_wait_for_itself"),
        mutants=named(PATTERNS, "test_pattern_3_as_printed_holds_a_scan_up_without_a_bound",
                      "test_pattern_3_as_printed_waits_for_itself"),
        broken_by="the pattern as printed",
    ),
    Guarantee(
        key="debugging-deadlocks",
        promise="A thread behind a lock is told of with its stack and the lock's holder",
        checks=(*named("tests/test_supervision.py", "test_the_journals_writer_behind_a_lock",
                       "test_exit_workers_behind_a_lock"),
                *named(LOCKS, "test_stats_name_the_holder", "test_release_by_another_thread_raises")),
        mutants=named(
            EXPLORER, "test_a_deadlock_names_who_waits_for_what", "test_a_bell_rung_too_early_is_heard_of",
        ),
        broken_by="two that wait for each other; a bell nobody hears",
    ),
    Guarantee(
        key="debugging-races", promise="A race is found by exploring, told step by step, and replayed",
        checks=named(EXPLORER, "test_no_outcome_is_left_out[0]", "test_no_outcome_is_left_out[1]",
                     "test_independent_threads_need_one_order"),
        mutants=(*named(EXPLORER, "test_what_is_found_is_found_again"),
                 *named(GUARDS, "test_a_field_is_read_and_written_under_its_lock_alone[table]")),
        broken_by="a count without a lock; a field without its lock",
    ),
    Guarantee(
        key="performance",
        promise="Locks count and time themselves; twenty workers scan side by side",
        checks=(*named(LOCKS, "test_lock_excludes_and_counts",
                       "test_the_longest_hold_is_true_though_few_are_kept"),
                *named("tests/test_market_scanner.py", "test_the_work_is_done_by_the_scan_workers")),
        mutants=(*named(EXPLORER, "test_what_is_found_is_found_again"),
                 *named("tests/test_market_scanner.py", "test_one_worker_fewer_does_not_bring_twenty_together")),
        broken_by="a count without a lock; a worker held up by another",
    ),
    Guarantee(
        key="testing", promise="Positions, cache, priorities and everything at once, under load: no deadlock",
        checks=named(
            HERE, "test_many_threads_leave_a_consistent_book", "test_twenty_workers_and_readers_share_the_cache",
            "test_scans_stand_aside_while_an_order_is_under_way", "test_critical_calls_are_counted_exactly",
            "test_no_deadlock_when_everything_happens_at_once",
        ),
        mutants=named(
            HERE, "test_two_openers_without_the_lock_buy_twice", "test_two_closers_without_the_lock_sell_twice",
            "test_the_cache_without_its_lock_is_noticed",
        ),
        broken_by="no positions lock, no cache lock",
    ),
)


def as_markdown(guarantees: Iterable[Guarantee] = GUARANTEES) -> str:
    """Return the table of docs/THREAD_SAFETY.md."""
    rows = ["| guarantee | checked by | the mutants it kills |", "|---|---|---|"]
    rows += [
        f"| {one.promise}<br>`python {HERE} {one.key}` | {_short(one.checks)} "
        f"| {one.broken_by}: {_short(one.mutants)} |"
        for one in guarantees
    ]
    return "\n".join(rows)


def _short(nodes: Iterable[str]) -> str:
    """Return tests by what tells them apart: their scene where they have one."""
    names = []
    for node in nodes:
        name, _, scene = node.partition("::")[2].partition("[")
        is_scene = node.startswith((ORDERS, WITHOUT)) and scene
        names.append(f"`{(scene if is_scene else name).rstrip(']')}`")
    return ", ".join(dict.fromkeys(names))


def is_there(node: str) -> bool:
    """Whether the file of *node* has such a test."""
    file, _, name = node.partition("[")[0].partition("::")
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8")) if (ROOT / file).is_file() else ast.parse("")
    return any(isinstance(each, ast.FunctionDef) and each.name == name for each in tree.body)


# ---- running them ---------------------------------------------------------------------------------


@dataclass(slots=True, eq=False)
class Outcomes:
    """What became of each test; a plugin of pytest's."""

    failed: set[str] = field(default_factory=set)
    passed: set[str] = field(default_factory=set)

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed or (report.skipped and report.when != "teardown"):
            self.failed.add(report.nodeid)
        elif report.when == "call":
            self.passed.add(report.nodeid)

    def holds(self, nodes: Iterable[str]) -> bool:
        """Whether all of *nodes* have run and passed."""
        return all(node in self.passed and node not in self.failed for node in nodes)

    def count(self, nodes: Iterable[str]) -> int:
        """Return how many of *nodes* have run and passed."""
        return sum(self.holds([node]) for node in nodes)


def prove(wishes: Sequence[str]) -> int:
    """Run the guarantees named in *wishes*, or all; print what was proved; return 0 only when everything holds."""
    known = {one.key: one for one in GUARANTEES}
    unknown = [wish for wish in wishes if wish not in known]
    if unknown:
        print(f"no such guarantee: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    chosen = [known[wish] for wish in wishes] or list(GUARANTEES)
    nodes = list(dict.fromkeys(node for one in chosen for node in (*one.checks, *one.mutants)))
    missing = [node for node in nodes if not is_there(node)]
    outcomes = Outcomes()
    there = [node for node in nodes if node not in missing]
    os.chdir(ROOT)                         # from where the tests are named, wherever this was called
    arguments = [*there, "-q", "--no-header", "-p", "no:cacheprovider", f"--rootdir={ROOT}"]
    code = pytest.main(arguments, plugins=[outcomes])
    print("\n" + told(chosen, outcomes), *(f"there is no test {node}" for node in missing), sep="\n")
    return int(code) or int(not all(outcomes.holds((*one.checks, *one.mutants)) for one in chosen))


def told(chosen: Sequence[Guarantee], outcomes: Outcomes) -> str:
    """Return what was proved, as a table with its sums."""
    lines = [f"{'':8}{'guarantee':98}{'checks':>7}{'mutants':>9}", "-" * 122]
    for one in chosen:
        verdict = "holds" if outcomes.holds((*one.checks, *one.mutants)) else "BROKEN"
        lines.append(f"{verdict:8}{one.promise:98}{len(one.checks):7}{len(one.mutants):9}")
    explored = tally.explored.values()
    held = [one for one in chosen if outcomes.holds((*one.checks, *one.mutants))]
    checks = {node for one in chosen for node in one.checks}
    mutants = {node for one in chosen for node in one.mutants}
    lines += [
        "-" * 122,
        f"{len(held)} of {len(chosen)} guarantees hold: {outcomes.count(checks)} of {len(checks)} checks "
        f"passed, {outcomes.count(mutants)} of {len(mutants)} mutants seen to break.",
        f"{len(explored)} scenes explored, {sum(one.bound is None for one in explored)} of them in every order: "
        f"{sum(one.orders for one in explored):,} orders run to their end, "
        f"{sum(one.merged for one in explored):,} until they met one run before.",
        f"{len(tally.killed)} locks taken away in turn, each found out within "
        f"{max(tally.killed.values(), default=0)} orders.",
    ]
    return "\n".join(lines)
