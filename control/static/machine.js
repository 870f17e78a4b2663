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

const isWrong = (row) => row.state === "dead" || row.state === "stuck";

// What a worker of a pool is at; the class colours its square.
const DOING = {
  idle: "idle", wire: "on the wire", rate: "waits for the rate budget", working: "computing", disk: "on the disk",
  lock: "waits for a lock", stuck: "stuck", dead: "dead", running: "running",
};
const at = ({ doing, what }) => {
  if (!doing) return NOTHING;
  if (!what) return DOING[doing] ?? doing;
  return { idle: `waits for ${what}`, working: what }[doing] ?? `${DOING[doing] ?? doing}: ${what}`;
};

const THREADS = [
  { title: "Thread", cell: (row) => row.name },
  { title: "State", cell: (row) => row.state, tone: (row) => (isWrong(row) ? "bad" : "quiet") },
  { title: "At", cell: at },
  { title: "For", num: true, spare: true, cell: (row) => span(row.for_s) },
  { title: "Progress", num: true, hint: "Since it last got something done", cell: (row) => span(row.idle_s) },
  { title: "Limit", num: true, spare: true, hint: "Longer at one thing than this, and it is stuck",
    cell: (row) => span(row.stuck_after_s) },
  { title: "Steps", num: true, cell: (row) => count(row.steps) },
  { title: "Failures", num: true, cell: (row) => count(row.failures), tone: (row) => (row.failures ? "bad" : "") },
  { title: "Restarts", num: true, cell: (row) => count(row.restarts), tone: (row) => (row.restarts ? "bad" : "") },
  { title: "Last error", wraps: true, cell: (row) => row.last_error || NOTHING },
];

const MEMBER = /^(.+)-\d+$/;

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
  { title: "Holder", cell: (row) => [row.holder || NOTHING, ...(row.waiting ?? []).map((name) => `${name} waits`)].join(", "),
    tone: (row) => (row.waiting?.length ? "warn" : "quiet") },
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
  showThreads(said?.threads ?? []);
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

/** Pools as one square for each worker, whoever is watched as a line, the others by name. */
function showThreads(rows) {
  const families = Map.groupBy(rows.filter((row) => MEMBER.test(row.name)), (row) => row.name.match(MEMBER)[1]);
  const pools = new Map([...families].filter(([, members]) => members.length > 1)
    .sort(([, some], [, others]) => others.length - some.length));
  const single = rows.filter((row) => !pools.has(row.name.match(MEMBER)?.[1]));
  const isWatched = (row) => row.steps !== null || isWrong(row);
  threads.show(single.filter(isWatched));
  const list = byId("pools");
  renew(list, [...pools].map(([name, members]) => `${name} ${members.length}`).join("|"), () =>
    [...pools].map(([name, members]) => h("li", {}, h("span", {}, name),
      h("span", { class: "strip", role: "img" }, ...members.map(() => h("i"))), h("span", { class: "quiet" }))));
  [...pools.values()].forEach((members, index) => showPool(list.children[index], members));
  const others = Map.groupBy(single.filter((row) => !isWatched(row)), (row) => row.name);
  say(byId("others"), others.size ? `Also alive: ${[...others].map(([name, same]) =>
    name + (same.length > 1 ? ` ×${same.length}` : "")).join(", ")}` : "");
}

function showPool(line, members) {
  const [, strip, note] = line.children;
  const byNumber = members.toSorted((one, other) => one.name.localeCompare(other.name, "en", { numeric: true }));
  const states = byNumber.map((row) => (isWrong(row) ? row.state : row.doing ?? row.state));
  byNumber.forEach((row, index) => {
    const square = strip.children[index];
    square.dataset.at = states[index];
    square.title = `${row.name}: ${at(row)}`;
  });
  const text = [...Map.groupBy(states, (each) => each)].map(([each, same]) => `${same.length} ${DOING[each] ?? each}`).join(", ");
  strip.setAttribute("aria-label", text);
  say(note, text);
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
