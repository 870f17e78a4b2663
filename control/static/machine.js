// How the machine is doing: exit latency, rate pools, threads and locks.

import { byId, h, renew, say, Table, tone } from "./dom.js";
import * as feed from "./feed.js";
import { NOTHING, exact, milliseconds, number, span, words } from "./format.js";

export const SOURCES = ["threads"];

const time = (title, of, more = {}) => ({ title, num: true, cell: of, ...more });

const EXITS = [
  { title: "Stage", cell: (row) => words(row.name) },
  time("Count", (row) => exact(row.count)),
  time("p50", (row) => milliseconds(row.p50)),
  time("p95", (row) => milliseconds(row.p95), { spare: true }),
  time("p99", (row) => milliseconds(row.p99)),
  time("Max", (row) => milliseconds(row.max)),
];

const count = (value) => (value === null || value === undefined ? NOTHING : exact(value));

const THREADS = [
  { title: "Thread", cell: (row) => row.name },
  { title: "State", cell: (row) => row.state, tone: (row) => (row.state === "dead" || row.state === "stuck" ? "bad" : "quiet") },
  { title: "Steps", num: true, cell: (row) => count(row.steps) },
  { title: "Failures", num: true, cell: (row) => count(row.failures), tone: (row) => (row.failures ? "bad" : "") },
  { title: "Restarts", num: true, cell: (row) => count(row.restarts), tone: (row) => (row.restarts ? "bad" : "") },
  { title: "Last progress", num: true, cell: (row) => (row.idle_s === null ? NOTHING : `${span(row.idle_s)} ago`) },
  { title: "Stuck after", num: true, spare: true, cell: (row) => (row.stuck_after_s ? span(row.stuck_after_s) : NOTHING) },
  { title: "Last error", wraps: true, cell: (row) => row.last_error || NOTHING },
];

const micro = (title, kind, figure, more = {}) => ({
  title, num: true, cell: (row) => number(row[kind]?.[figure], 1), hint: "Microseconds", ...more,
});

const LOCKS = [
  { title: "Lock", cell: (row) => row.name },
  { title: "Taken", num: true, cell: (row) => exact(row.acquisitions) },
  { title: "Contended", num: true, cell: (row) => exact(row.contended) },
  micro("Wait p50", "wait_us", "p50", { spare: true }), micro("Wait p99", "wait_us", "p99"),
  micro("Wait max", "wait_us", "max"),
  micro("Held p50", "hold_us", "p50", { spare: true }), micro("Held p99", "hold_us", "p99"),
  micro("Held max", "hold_us", "max"),
  { title: "Holder", cell: (row) => row.holder || NOTHING },
];

let exits;
let threads;
let locks;

export function build() {
  exits = new Table(byId("exits"), EXITS, { key: (row) => row.name, label: "Exit latency", empty: "No exit yet." });
  threads = new Table(byId("threads"), THREADS, { key: (row) => row.name, label: "Threads", empty: "Asking…" });
  locks = new Table(byId("locks"), LOCKS, { key: (row) => row.name, label: "Locks, microseconds", empty: "Asking…" });
}

export function show() {
  const status = feed.isStale("status") ? null : feed.value("status");
  showExits(status);
  showRates(status?.rate ?? {});
  const said = feed.value("threads");
  for (const id of ["threads", "locks"]) byId(id).classList.toggle("stale", feed.isStale("threads"));
  threads.show(said?.threads ?? []);
  locks.show(merged(said?.locks ?? []));
}

function showExits(status) {
  const latency = status?.exit_latency_ms ?? {};
  const rows = Object.entries(latency.stages ?? {}).map(([name, figures]) => ({ name, ...figures }));
  if (status?.protection_gap_ms) rows.push({ name: "without a stop on the exchange", ...status.protection_gap_ms });
  exits.show(rows, { empty: status ? "No exit yet." : "Not known." });
}

function showRates(pools) {
  const list = byId("rates");
  renew(list, Object.keys(pools).join(" "), () => Object.keys(pools).map((pool) =>
    h("li", {}, h("span", {}, pool), h("meter", { min: "0", max: "1", high: "0.9", "aria-label": `Used of pool ${pool}` }),
      h("span", { class: "num" }), h("span", { class: "quiet" }))));
  Object.values(pools).forEach((use, index) => {
    const [, meter, figures, note] = list.children[index].children;
    meter.value = use.quota ? use.used / use.quota : 0;
    say(figures, `${exact(use.used)} of ${exact(use.quota)}`);
    const held = use.held_s > 0 ? `, held back for ${span(use.held_s)}` : "";
    say(note, `new in ${span(use.resets_in_s)}${use.waiting ? `, ${use.waiting} waiting` : ""}${held}`);
    tone(note, use.held_s > 0 ? "bad" : "");
  });
}

/** Locks of one name as one line would hide the worst: number them instead. */
function merged(rows) {
  const seen = new Map();
  return rows.map((row) => {
    const times = (seen.get(row.name) ?? 0) + 1;
    seen.set(row.name, times);
    return times === 1 ? row : { ...row, name: `${row.name} (${times})` };
  });
}
