// Closed trades: filtered, summed up, and taken along as CSV.

import { addressOf } from "./charts.js";
import { byId, h, renew, showFigures, Table } from "./dom.js";
import * as feed from "./feed.js";
import { earned, exact, gainTone, NOTHING, number, percent, price, signed, span, when, words } from "./format.js";

export const SOURCES = ["trades"];

const MOST_SHOWN = 500;
const DAY_MS = 86_400_000;

const TRADES = [
  { title: "Closed, UTC", cell: (row) => when(row.closed_at) },
  { title: "Symbol", main: true, make: (row) => h("a", { href: addressOf(row.symbol) }, row.symbol) },
  { title: "Side", cell: (row) => row.side, tone: (row) => row.side },
  { title: "Lots", num: true, spare: true, cell: (row) => exact(row.quantity) },
  { title: "Entry", num: true, cell: (row) => price(row.entry_price) },
  { title: "Exit", num: true, cell: (row) => price(row.exit_price, row.entry_price) },
  { title: "Reason", cell: (row) => words(row.exit_reason) },
  { title: "Fee", num: true, cell: (row) => number(row.fee) },
  { title: "Funding", num: true, spare: true, cell: (row) => signed(row.funding) },
  { title: "PnL", num: true, hint: "After fees, and after funding where that is known", cell: (row) => earned(row.realised_pnl, row.funding === null),
    tone: (row) => gainTone(row.realised_pnl) },
  { title: "R", num: true, cell: (row) => signed(row.r_multiple), tone: (row) => gainTone(row.r_multiple) },
  { title: "Held", num: true, spare: true, cell: (row) => span((Date.parse(row.closed_at) - Date.parse(row.opened_at)) / 1000) },
];

const CSV = ["closed_at", "opened_at", "symbol", "side", "quantity", "entry_price", "exit_price", "exit_reason", "fee",
  "funding", "realised_pnl", "r_multiple", "strategy", "position_id"];

const FILTERS = {
  symbol: { label: "Symbol", text: true, passes: (row, said) => row.symbol.toLowerCase().includes(said.toLowerCase()) },
  side: { label: "Side", choices: [["long", "long"], ["short", "short"]], passes: (row, said) => row.side === said },
  reason: { label: "Reason", choices: [], passes: (row, said) => row.exit_reason === said },
  result: { label: "Result", choices: [["won", "won"], ["lost", "lost"]],
    passes: (row, said) => (said === "won" ? Number(row.realised_pnl) > 0 : Number(row.realised_pnl) < 0) },
  days: { label: "Closed within", choices: [["1", "24 hours"], ["7", "7 days"], ["30", "30 days"]],
    passes: (row, said) => Date.now() - Date.parse(row.closed_at) <= Number(said) * DAY_MS },
};

let table;
const fields = {};

export function build() {
  for (const [name, filter] of Object.entries(FILTERS)) {
    const id = `filter-${name}`;
    fields[name] = filter.text
      ? h("input", { id, type: "search", placeholder: "any", size: "14", maxlength: "40", spellcheck: "false" })
      : h("select", { id }, h("option", { value: "" }, "any"), ...options(filter.choices));
    fields[name].addEventListener("input", show);
    byId("filters").append(h("label", { for: id }, filter.label, fields[name]));
  }
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("export").addEventListener("click", exportCsv);
  table = new Table(byId("trades"), TRADES, { key: (row) => row.position_id, label: "Closed trades", cards: true, empty: "" });
}

const options = (choices) => choices.map(([value, text]) => h("option", { value }, text));

function chosen() {
  const said = Object.entries(FILTERS).filter(([name]) => fields[name].value.trim() !== "");
  return (feed.value("trades") ?? []).filter((row) => said.every(([name, filter]) => filter.passes(row, fields[name].value.trim())));
}

export function show() {
  const all = feed.value("trades");
  const reasons = [...new Set((all ?? []).map((row) => row.exit_reason))].sort();
  const selected = fields.reason.value;
  renew(fields.reason, reasons.join(" "), () => [h("option", { value: "" }, "any"), ...options(reasons.map((each) => [each, words(each)]))]);
  fields.reason.value = reasons.includes(selected) ? selected : "";
  const rows = chosen();
  table.show(rows.slice(0, MOST_SHOWN), { empty: all === null ? feed.trouble("trades") || "Asking…" : "No trades." });
  showSums(rows);
  byId("export").disabled = rows.length === 0;
}

function showSums(rows) {
  const sum = (name) => rows.reduce((total, row) => total + Number(row[name]), 0);
  const won = rows.filter((row) => Number(row.realised_pnl) > 0).length;
  const pnl = sum("realised_pnl");
  const shown = rows.length > MOST_SHOWN ? `${exact(rows.length)}, the latest ${MOST_SHOWN} below` : exact(rows.length);
  showFigures(byId("trade-sums"), [
    ["Trades", shown],
    ["Won", rows.length ? percent(won / rows.length, 0) : NOTHING],
    [rows.some((row) => row.funding === null) ? "PnL before funding" : "PnL", signed(pnl), gainTone(pnl),
      "After fees, and after funding where that is known"],
    ["Fees", number(sum("fee"))],
    ["Funding", signed(sum("funding"))],
    ["Mean R", rows.length ? signed(sum("r_multiple") / rows.length) : NOTHING],
  ]);
}

function exportCsv() {
  const lines = [CSV, ...chosen().map((row) => CSV.map((name) => row[name]))];
  const text = lines.map((line) => line.map(cell).join(",")).join("\r\n");
  const address = URL.createObjectURL(new Blob([text, "\r\n"], { type: "text/csv" }));
  h("a", { href: address, download: `rad-trades-${new Date().toISOString().slice(0, 10)}.csv` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

/** One cell; text that a spreadsheet would take for a formula is marked as text. */
function cell(value) {
  const text = String(value ?? "");
  const plain = /^[=+\-@\t\r]/.test(text) && !/^-?[\d.]+$/.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(plain) ? `"${plain.replaceAll('"', '""')}"` : plain;
}
