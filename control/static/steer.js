// The commands: pause, resume, close, flatten, and the black list.

import { tell } from "./api.js";
import { announce, confirm } from "./dialog.js";
import { byId, h } from "./dom.js";
import * as feed from "./feed.js";
import { earned, gainTone, price, signed, words } from "./format.js";

export async function pauseOrResume() {
  const button = byId("pause");
  const command = button.dataset.command;
  button.disabled = true;
  try {
    const { paused } = await tell(`api/${command}`);
    announce(paused ? "Paused: nothing is opened from scanning; exits go on." : "Resumed: opening from scanning again.");
  } catch (error) {
    announce(`${command} failed: ${error.message}`, "bad");
  } finally {
    button.disabled = false;
  }
}

export function close(position) {
  const { symbol, side, quantity, fresh, unrealised_pnl: pnl } = position;
  confirm({
    title: `Close ${symbol}?`,
    text: [
      `${quantity} lots are ${side === "short" ? "bought back" : "sold"} at the market's price`
      + (fresh ? `: about ${signed(pnl)} before fees, at the last one seen.` : "."),
    ],
    yes: "Close it",
    danger: true,
    perform: async () => {
      const trade = await tell("api/close", { symbol });
      return { summary: `Closed ${symbol} at ${price(trade.exit_price)}: ${earned(trade.realised_pnl, trade.funding === null)}` };
    },
  });
}

/** How many positions are open; undefined while nobody can tell. */
const held = () => (feed.isStale("positions") ? undefined : feed.value("positions")?.length);

export function flatten() {
  const count = held();
  confirm({
    title: "Flatten",
    text: [
      `Everything RAD has open is closed at the market's price${count === undefined ? "" : ` (now ${count})`}, and entries are paused.`,
      "An entry under way is waited for and closed as well. This cannot be undone.",
    ],
    word: "flatten",
    yes: "Close everything",
    danger: true,
    progress: () => {
      const left = held();
      return left === undefined ? "Closing" : `Closing, ${left} still open`;
    },
    perform: async () => {
      const { closed, failed } = await tell("api/flatten");
      return {
        summary: `Flatten: ${closed.length} closed${failed.length ? `, ${failed.length} NOT closed` : ""}.`,
        lines: flattened(closed, failed),
      };
    },
  });
}

function flattened(closed, failed) {
  const lines = [h("p", {}, closed.length ? `Closed ${closed.length}.` : "Nothing was closed.",
    failed.length ? ` Not closed: ${failed.length}. RAD keeps trying; look at Positions.` : "",
    " Entries are paused until you resume.")];
  const row = (symbol, text, kind) => h("tr", {}, h("td", {}, symbol), h("td", { class: "num", "data-tone": kind }, text));
  if (closed.length) {
    lines.push(h("table", { "aria-label": "Closed" }, h("tbody", {}, ...closed.map((trade) =>
      row(trade.symbol, `${earned(trade.realised_pnl, trade.funding === null)} (${words(trade.side)})`, gainTone(trade.realised_pnl))))));
  }
  if (failed.length) lines.push(h("ul", { class: "bad" }, ...failed.map((sentence) => h("li", {}, sentence))));
  return lines;
}

export async function changeBlacklist(action, symbol) {
  try {
    await tell(`api/blacklist/${action}`, { symbol });
    announce(action === "add" ? `${symbol} is not entered any more.` : `${symbol} may be entered again.`);
    feed.refresh("blacklist");
    return true;
  } catch (error) {
    announce(`Black list: ${error.message}`, "bad");
    return false;
  }
}
