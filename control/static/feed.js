// What the daemon said last, and how long ago: every view shows what is in here and nothing else.
// Status, positions and events are pushed to the page once a second; the rest it asks for.

import { LoggedOut, ask, takeUp } from "./api.js";

export const PERIOD_S = 1;         // of what is pushed
const LATE_S = 4;                  // beyond its period an answer is missing
const MOST_EVENTS = 200;
const AGAIN_MS = 2_000;
const DEAF_S = 10;                 // a stream that says nothing for so long is opened anew

const PUSHED = ["status", "positions", "events"];
const ASKED = {
  opportunities: { everyS: 5, path: () => "api/opportunities" },
  blacklist: { everyS: 15, path: () => "api/blacklist" },
  threads: { everyS: 2, path: () => "api/threads" },
  equity: { everyS: 30, path: ({ since }) => `api/equity?points=600${since ? `&since=${encodeURIComponent(since)}` : ""}` },
  trades: { everyS: 120, path: () => "api/trades?limit=10000" },
  chart: { everyS: 3, path: ({ symbol }) => `api/chart?symbol=${encodeURIComponent(symbol)}` },
};

const now = () => performance.now() / 1000;

class Source {
  constructor(name, { everyS, path = null }) {
    Object.assign(this, { name, everyS, path, query: {}, timer: 0, turn: 0 });
    this.forget();
  }

  forget() {
    Object.assign(this, { value: null, trouble: "", heard: null, since: now() });
  }

  /** Take in an answer, or with *value* undefined that nothing has changed. */
  hear(value) {
    if (value !== undefined) this.value = value;
    Object.assign(this, { trouble: "", heard: now() });
  }

  /** Seconds since it last answered, or since it began to be missed. */
  age() {
    return now() - (this.heard ?? this.since);
  }
}

const sources = new Map([
  ...PUSHED.map((name) => [name, new Source(name, { everyS: PERIOD_S })]),
  ...Object.entries(ASKED).map(([name, settings]) => [name, new Source(name, settings)]),
]);
const wanted = new Set();
let news = () => {};
let loggedOut = () => {};
let stream = null;
let streamTimer = 0;
let openedAt = 0;
let running = false;

// After a machine's sleep a connection may be gone without either end having noticed.
setInterval(() => {
  if (running && !document.hidden && age("status") > DEAF_S && now() - openedAt > DEAF_S) listen();
}, AGAIN_MS);

document.addEventListener("visibilitychange", () => {
  if (!running) return;
  if (document.hidden) return hangUp();   // a page nobody looks at asks for nothing
  for (const name of PUSHED) sources.get(name).since = now();
  listen();
  for (const name of wanted) refresh(name);
});

export function start(onNews, onLoggedOut) {
  [news, loggedOut, running] = [onNews, onLoggedOut, true];
  for (const source of sources.values()) source.forget();
  listen();
}

export function stop() {
  running = false;
  hangUp();
  wanted.clear();
  for (const source of sources.values()) {
    clearTimeout(source.timer);
    source.turn += 1;
    source.forget();
  }
}

/** Ask for these from now on, and for no others; what is pushed comes anyway. */
export function want(names) {
  for (const name of wanted) if (!names.includes(name)) clearTimeout(sources.get(name).timer);
  const added = names.filter((name) => !wanted.has(name));
  wanted.clear();
  for (const name of names) wanted.add(name);
  for (const name of added) {
    Object.assign(sources.get(name), { heard: null, since: now() });
    refresh(name);
  }
}

/** Ask for something else under the same name; what was known of the other is forgotten. */
export function turnTo(name, query) {
  const source = sources.get(name);
  if (JSON.stringify(source.query) === JSON.stringify(query)) return;
  source.query = query;
  source.forget();
  if (wanted.has(name)) refresh(name);
}

export const value = (name) => sources.get(name).value;
export const trouble = (name) => sources.get(name).trouble;
export const age = (name) => sources.get(name).age();
export const isStale = (name) => age(name) > sources.get(name).everyS + LATE_S;

/** What is shown and does not answer: pushed first, then asked for. */
export const silent = () => ["status", "positions", ...wanted].filter(isStale);

export async function refresh(name) {
  const source = sources.get(name);
  clearTimeout(source.timer);
  if (source.path === null || !running) return;
  const turn = ++source.turn;
  try {
    const said = await ask(source.path(source.query));
    if (turn !== source.turn) return;
    source.hear(said);
  } catch (error) {
    if (turn !== source.turn) return;
    if (error instanceof LoggedOut) return void loggedOut(error);
    source.trouble = error.message;
  }
  news(name);
  if (wanted.has(name) && !document.hidden) source.timer = setTimeout(() => refresh(name), source.everyS * 1000);
}

function listen() {
  hangUp();
  openedAt = now();
  stream = new EventSource("api/events");
  const on = (kind, hear) => stream.addEventListener(kind, (event) => hear(JSON.parse(event.data)));
  on("status", (said) => {
    sources.get("status").hear(said);
    // These are told only when they change: they are as old as the latest status.
    sources.get("events").value ??= [];
    for (const name of ["positions", "events"]) if (value(name) !== null) take(name);
    news("status");
  });
  on("positions", (said) => take("positions", said));
  on("event", (said) => {
    const known = (value("events") ?? []).filter((event) => event.number !== said.number);
    take("events", [...known, said].slice(-MOST_EVENTS));
  });
  on("silence", (said) => {
    for (const name of PUSHED) sources.get(name).trouble = said.error;
    news("status");
  });
  stream.onerror = () => {
    for (const name of PUSHED) sources.get(name).trouble ||= "nobody answers at this address";
    if (stream?.readyState === EventSource.CLOSED) askWhy();
  };
}

/** Take in what was pushed beside a status, and is as old as that: they grow old together. */
function take(name, said) {
  const source = sources.get(name);
  source.hear(said);
  source.heard = sources.get("status").heard ?? source.heard;
  if (said !== undefined) news(name);
}

function hangUp() {
  clearTimeout(streamTimer);
  stream?.close();
  stream = null;
}

/** The browser has given up on the stream: because nobody is logged in, or it was refused for now. */
async function askWhy() {
  hangUp();
  try {
    await takeUp();
  } catch (error) {
    if (error instanceof LoggedOut) return void loggedOut(error);
  }
  if (running && !document.hidden) streamTimer = setTimeout(listen, AGAIN_MS);
}
