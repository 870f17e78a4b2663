// What is open, what may be opened next, and what has happened.

import { addressOf } from "./charts.js";
import { byId, h, renew, say, Table } from "./dom.js";
import * as feed from "./feed.js";
import {
  NOTHING, exact, gainTone, number, percent, price, short, signed, signedPercent, span, when, words,
} from "./format.js";
import { changeBlacklist, close } from "./steer.js";

export const SOURCES = ["opportunities", "events", "equity", "blacklist"];

const symbolColumn = {
  title: "Symbol", main: true,
  make: (row) => h("a", { href: addressOf(row.symbol) }, row.symbol),
};
const sideColumn = { title: "Side", cell: (row) => row.side, tone: (row) => row.side };

// What hangs on the price is not shown when the price is no price any more.
const valued = (column) => ({
  ...column, num: true,
  cell: (row) => (row.fresh ? column.cell(row) : NOTHING), tone: (row) => (row.fresh ? column.tone?.(row) : ""),
});

const POSITIONS = [
  symbolColumn,
  sideColumn,
  { title: "Quantity", num: true, spare: true, hint: "In base currency", cell: (row) => exact(row.base_qty) },
  { title: "Entry", num: true, cell: (row) => price(row.entry_price) },
  valued({ title: "Price", hint: "Mark price", cell: (row) => price(row.price, row.entry_price) }),
  {
    title: "Age", num: true, hint: "Since the price was received",
    cell: (row) => (row.price_age === null ? "no price" : span(row.price_age)), tone: (row) => (row.fresh ? "quiet" : "bad"),
  },
  { title: "Stop", num: true, hint: "Where RAD itself leaves", cell: (row) => price(row.stop_price, row.entry_price) },
  {
    title: "On exchange", num: true, hint: "The stop order that rests on the exchange; ✓ it was read back",
    cell: (row) => (row.protected ? `✓ ${price(row.exchange_stop_price, row.entry_price)}` : "✗ none"),
    tone: (row) => (row.protected ? "" : "bad"),
  },
  valued({ title: "PnL", hint: "In quote currency, before fees", cell: (row) => signed(row.unrealised_pnl),
    tone: (row) => gainTone(row.unrealised_pnl) }),
  valued({ title: "%", hint: "Of its value at entry, without leverage", cell: (row) => signedPercent(gain(row)),
    tone: (row) => gainTone(row.unrealised_pnl) }),
  valued({ title: "R", hint: "Profit over what was risked: −1 at the first stop", cell: (row) => signed(row.r_multiple),
    tone: (row) => gainTone(row.r_multiple) }),
  { title: "Open for", num: true, spare: true, cell: (row) => span((Date.now() - Date.parse(row.opened_at)) / 1000) },
  {
    title: "", num: true,
    make: (row) => h("button", { type: "button", class: "small", "aria-label": `Close ${row.symbol}` }, "Close"),
    update: (button, row) => {
      button.disabled = row.state === "closing";
      say(button, row.state === "closing" ? "Closing" : "Close");
      button.onclick = () => close(row);
    },
  },
];

const LEVELS = { warning: "warn", critical: "bad" };

const gain = (row) => Number(row.unrealised_pnl) / (Number(row.entry_price) * Number(row.base_qty));

const OPPORTUNITIES = [
  symbolColumn,
  sideColumn,
  { title: "Score", num: true, cell: (row) => number(row.score) },
  { title: "Price", num: true, cell: (row) => price(row.price) },
  { title: "Spread", num: true, spare: true, cell: (row) => percent(row.spread, 3) },
  { title: "Volume 24 h", num: true, spare: true, hint: "In quote currency", cell: (row) => short(row.volume_24h) },
  { title: "Reasons", wraps: true, cell: (row) => (row.reasons ?? []).join(", ") || NOTHING },
];

const EVENTS = [
  { title: "UTC", cell: (row) => when(row.at) },
  { title: "What", cell: (row) => words(row.kind) + (row.over ? ", over" : ""),
    tone: (row) => (row.over ? "good" : LEVELS[row.level] ?? "") },
  { title: "", wraps: true, cell: (row) => row.text },
];

let positions;
let opportunities;
let events;

export function build() {
  positions = new Table(byId("positions"), POSITIONS, {
    key: (row) => row.position_id ?? row.symbol, label: "Open positions", cards: true,
    empty: "Nothing is open.",
  });
  opportunities = new Table(byId("opportunities"), OPPORTUNITIES, {
    key: (row) => `${row.symbol} ${row.side}`, label: "Opportunities", cards: true,
    empty: "The latest scan found none.",
  });
  events = new Table(byId("events"), EVENTS, {
    key: (row) => row.number, label: "Events", empty: "Nothing has happened yet.",
  });
  const input = byId("blacklist-symbol");
  byId("blacklist-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await changeBlacklist("add", input.value.trim())) input.value = "";
  });
}

/** Show what is known; *stale* says of a source whether it is too old. */
export function show() {
  showPositions();
  opportunities.show(feed.value("opportunities") ?? [], emptiness("opportunities", "The latest scan found none."));
  events.show((feed.value("events") ?? []).toReversed(), emptiness("events", "Nothing has happened yet."));
  showBlacklist();
}

function emptiness(name, text) {
  if (feed.value(name) !== null) return { empty: text };
  return { empty: feed.trouble(name) ? `Not known: ${feed.trouble(name)}` : "Asking…" };
}

/** Whether a position's price is one to go by, at the age the daemon gives it and what has passed since. */
export function isFresh(row) {
  const limit = feed.value("status")?.stale_after_s ?? Infinity;
  return row.price !== null && !feed.isStale("positions") && (priceAge(row) ?? Infinity) <= limit + feed.PERIOD_S;
}

function priceAge(row) {
  return row.price_age_s === null || row.price_age_s === undefined ? null : row.price_age_s + feed.age("positions");
}

function showPositions() {
  const rows = (feed.value("positions") ?? []).map((row) => ({ ...row, price_age: priceAge(row), fresh: isFresh(row) }));
  positions.show(rows, emptiness("positions", "Nothing is open."));
}

function showBlacklist() {
  const symbols = feed.value("blacklist")?.symbols ?? [];
  const list = byId("blacklist");
  renew(list, symbols.join(" "), () => symbols.map((symbol) => h("li", {}, symbol, h("button", {
    type: "button", class: "small", "aria-label": `Take ${symbol} off the black list`,
    on: { click: () => changeBlacklist("remove", symbol) },
  }, "×"))));
}
