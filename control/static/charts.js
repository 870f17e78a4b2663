// The account over time, and one market with what was done in it.

import { byId, h, renew, say } from "./dom.js";
import * as feed from "./feed.js";
import { NOTHING, digitsOf, earned, price, signed, span, words } from "./format.js";
import { Plot, layout, thin } from "./plots.js";

export const SOURCES = ["chart", "opportunities", "trades"];

export const addressOf = (symbol) => `#chart=${encodeURIComponent(symbol)}`;

const DAY_MS = 86_400_000;
const RANGES = [["1", "24 h"], ["7", "7 d"], ["30", "30 d"], ["", "all"]];

let equity;
let chart;
let range = "1";
let drawn = { equity: null, chart: null };

export function build() {
  equity = new Plot(byId("equity"), "Equity and drawdown over time");
  chart = new Plot(byId("chart"), "Candles with entry, stop and exits");
  byId("equity-range").append(...RANGES.map(([days, text]) => h("button", {
    type: "button", class: "small", "aria-pressed": String(days === range),
    on: { click: (event) => chooseRange(days, event.currentTarget) },
  }, text)));
  feed.turnTo("equity", since(range));
  byId("chart-symbol").addEventListener("change", (event) => {
    location.hash = addressOf(event.target.value);
  });
}

// To the hour: asking for the same again is then the same question.
const since = (days) => (days === "" ? {} : { since: new Date(Math.floor((Date.now() - days * DAY_MS) / 3.6e6) * 3.6e6).toISOString() });

function chooseRange(days, button) {
  range = days;
  for (const each of byId("equity-range").children) each.setAttribute("aria-pressed", String(each === button));
  feed.turnTo("equity", since(days));
  showEquity();
}

// ---- equity -----------------------------------------------------------------------------------

export function showEquity() {
  const said = feed.value("equity");
  if (said === null) return equity.tell(feed.trouble("equity") || "Asking…");
  if (said.points.length < 2) return equity.tell("There is no history yet; the account is looked at every few seconds.");
  if (drawn.equity === said) return undefined;
  drawn.equity = said;
  return equity.show((colours) => equityPlot(said.points, colours));
}

export function equityPlot(points, colours) {
  const x = points.map((point) => point.at);
  const line = { type: "scatter", mode: "lines", x, hoverinfo: "y+x" };
  return {
    traces: [
      { ...line, y: points.map((point) => Number(point.equity)), line: { color: colours.accent, width: 1.6 },
        hovertemplate: "%{y:,.2f}<extra>equity</extra>" },
      { ...line, y: points.map((point) => -Number(point.drawdown) * 100), yaxis: "y2", fill: "tozeroy", fillcolor: thin(colours.bad, 0.15),
        line: { color: colours.bad, width: 1 }, hovertemplate: "%{y:.2f} %<extra>drawdown</extra>" },
    ],
    arrangement: layout(colours, {
      xaxis: { type: "date", anchor: "y2" },
      yaxis: { domain: [0.36, 1], tickformat: ",.0f", nticks: 6 },
      yaxis2: { domain: [0, 0.28], ticksuffix: " %", rangemode: "tozero", nticks: 3 },
    }),
  };
}

// ---- one market ---------------------------------------------------------------------------------

/** From now on it is *symbol* that is asked about. */
export function choose(symbol) {
  if (symbol) feed.turnTo("chart", { symbol });
}

/** Show the chart of *symbol*; empty: of none yet. */
export function showChart(symbol) {
  const offered = offer(symbol);
  if (!symbol) {
    say(byId("chart-note"), "");
    if (offered.length) location.replace(addressOf(offered[0]));
    return chart.tell("Nothing is open, found or traded lately.");
  }
  say(byId("chart-title"), symbol);
  const said = feed.value("chart");
  if (said === null) {
    say(byId("chart-note"), "");
    return chart.tell(feed.trouble("chart") || "Asking…");
  }
  say(byId("chart-note"), describe(said));
  if (said.at.length === 0) return chart.tell("No candles of this market are in memory; it is scanned only while it passes the filter.");
  if (drawn.chart === said) return undefined;
  drawn.chart = said;
  return chart.show((colours) => candlePlot(said, colours));
}

function offer(symbol) {
  const rows = ["positions", "opportunities", "trades"].flatMap((name) => feed.value(name) ?? []);
  const symbols = [...new Set([...rows.map((row) => row.symbol), ...(symbol ? [symbol] : [])])];
  const select = byId("chart-symbol");
  renew(select, symbols.join(" "), () => symbols.map((each) => h("option", { value: each }, each)));
  select.value = symbol;
  return symbols;
}

function describe({ timeframe, price: last, price_age_s: age, position }) {
  const seen = last == null ? "" : ` · last price ${price(last)}, ${span(age)} old`;
  if (!position) return `${timeframe} candles, UTC${seen}`;
  const like = position.entry_price;
  return `${timeframe} candles, UTC${seen} · ${position.side} from ${price(like)}, stop ${price(position.stop_price, like)}, `
    + `on the exchange ${position.protected ? price(position.exchange_stop_price, like) : NOTHING}`;
}

export function candlePlot(said, colours) {
  const { position } = said;
  const [near, far] = position?.side === "short" ? ["top", "bottom"] : ["bottom", "top"];
  const level = (value, text, colour, dash, anchor) => ({ value: Number(value), text, colour, dash, anchor });
  const levels = position ? [
    level(position.entry_price, "entry", colours.accent, "solid", near),
    level(position.stop_price, "stop", colours.bad, "solid", near),
    // It rests a little behind RAD's own: its label goes to the other side of the two lines.
    ...(position.protected ? [level(position.exchange_stop_price, "on the exchange", colours.bad, "dot", far)] : []),
  ] : [];
  return {
    traces: [
      {
        type: "candlestick", x: said.at, open: said.open, high: said.high, low: said.low, close: said.close, name: "",
        increasing: { line: { color: colours.good, width: 1 }, fillcolor: colours.good },
        decreasing: { line: { color: colours.bad, width: 1 }, fillcolor: colours.bad },
      },
      ...marks(said, colours),
    ],
    arrangement: layout(colours, {
      hovermode: "closest",
      xaxis: { type: "date", rangeslider: { visible: false } },
      yaxis: { nticks: 8, tickformat: `,.${Math.max(0, digitsOf(said.close.at(-1)) - 1)}f` },
      shapes: levels.map(({ value, colour, dash }) => ({
        type: "line", xref: "paper", x0: 0, x1: 1, y0: value, y1: value, line: { color: colour, width: 1, dash },
      })),
      annotations: levels.map(({ value, text, colour, anchor }) => ({
        xref: "paper", x: 0, xanchor: "left", y: value, yanchor: anchor, text: `${text} ${price(value, position.entry_price)}`,
        showarrow: false, font: { color: colour, size: 11 },
      })),
    }),
  };
}

/** Where the position open now and those before it were entered and left. */
function marks(said, colours) {
  const from = Date.parse(said.at[0]);
  const entries = [...said.trades, ...(said.position ? [said.position] : [])]
    .filter((row) => Date.parse(row.opened_at) >= from)
    .map((row) => ({ at: row.opened_at, price: row.entry_price, text: `${row.side} from ${price(row.entry_price)}`,
      symbol: row.side === "long" ? "triangle-up" : "triangle-down" }));
  const exits = said.trades.filter((row) => Date.parse(row.closed_at) >= from)
    .map((row) => ({ at: row.closed_at, price: row.exit_price, symbol: "x",
      text: `${words(row.exit_reason)} at ${price(row.exit_price)}, ${earned(row.realised_pnl, row.funding === null)}` }));
  const trace = (rows, colour) => ({
    type: "scatter", mode: "markers", x: rows.map((row) => row.at), y: rows.map((row) => Number(row.price)),
    text: rows.map((row) => row.text), hovertemplate: "%{text}<extra></extra>",
    marker: { symbol: rows.map((row) => row.symbol), size: 10, color: colour, line: { color: colours.surface, width: 1 } },
  });
  return [trace(entries, colours.accent), trace(exits, colours.text)];
}
