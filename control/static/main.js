// The page: who is in, which view is shown, what is old.

import { LoggedOut, logIn, logOut, takeUp } from "./api.js";
import * as charts from "./charts.js";
import { announce } from "./dialog.js";
import { byId, h, renew, say, showFigures, tone } from "./dom.js";
import * as feed from "./feed.js";
import { NOTHING, gainTone, milliseconds, number, percent, signed, span, when, words } from "./format.js";
import * as machine from "./machine.js";
import * as now from "./now.js";
import { flatten, pauseOrResume } from "./steer.js";
import * as trades from "./trades.js";

const VIEWS = {
  now: { sources: now.SOURCES, show: () => { now.show(); charts.showEquity(); } },
  chart: { sources: charts.SOURCES, show: () => charts.showChart(route().detail) },
  trades: { sources: trades.SOURCES, show: trades.show },
  machine: { sources: machine.SOURCES, show: machine.show },
};
// Which place shows what: it is dimmed when that is old.
const SHOWS = {
  positions: "positions", opportunities: "opportunities", events: "events", blacklist: "blacklist", equity: "equity",
  chart: "chart", trades: "trades", threads: "threads", locks: "threads", pools: "threads", exits: "status", rates: "status",
};
const LOGIN = "#login=";         // what stands before a code in the address that `./rad page` prints
const TICK_MS = 1_000;
const OLD_S = 60;                // the account is looked at every few seconds; older, its age stands beside it

let within = false;          // logged in
let seenTrades = null;       // how many there were when they were last asked for

function route() {
  const [name, detail = ""] = location.hash.slice(1).split("=");
  return Object.hasOwn(VIEWS, name) ? { name, detail: decoded(detail) } : { name: "now", detail: "" };
}

// An address may be typed, or cut off within a sign.
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return "";
  }
}

// ---- logging in -----------------------------------------------------------------------------------

async function begin() {
  const code = location.hash.startsWith(LOGIN) ? decoded(location.hash.slice(LOGIN.length)) : "";
  if (code) history.replaceState(null, "", location.pathname);   // it is not to be found in the history
  try {
    await (code ? logIn(code) : takeUp());
    enter();
  } catch (error) {
    leave(code || !(error instanceof LoggedOut) ? error.message : "");
  }
}

function enter() {
  within = true;
  for (const id of ["top", "foot"]) byId(id).hidden = false;
  byId("login").hidden = true;
  feed.start(onNews, (error) => leave(`${error.message}: log in again`));
  turn();
}

function leave(why) {
  within = false;
  feed.stop();
  byId("dialog").close();
  for (const id of ["top", "foot", "banner", "problems"]) byId(id).hidden = true;
  for (const name of Object.keys(VIEWS)) byId(`view-${name}`).hidden = true;
  byId("login").hidden = false;
  say(byId("login-error"), why);
  byId("token").focus();
}

async function submitToken(event) {
  event.preventDefault();
  const field = byId("token");
  const token = field.value.trim();
  field.value = "";
  try {
    await logIn(token);
    enter();
  } catch (error) {
    say(byId("login-error"), error.message);
    field.focus();
  }
}

// ---- views ------------------------------------------------------------------------------------------

function turn() {
  if (!within) return;
  const { name, detail } = route();
  for (const each of Object.keys(VIEWS)) byId(`view-${each}`).hidden = each !== name;
  scrollTo(0, 0);                // not to what happens to have the view's name, nor to where the one before was left
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (name === "chart") charts.choose(detail);
  feed.want(VIEWS[name].sources.filter((each) => each !== "chart" || detail !== ""));
  show();
}

/** To the view that is shown already: the browser would look for something of its name. */
function toTop(event) {
  if (event.currentTarget.hash !== location.hash) return;
  event.preventDefault();
  scrollTo(0, 0);
}

function onNews(name) {
  const count = feed.value("status")?.trades;
  if (name === "status" && count !== seenTrades) {
    seenTrades = count;
    for (const each of VIEWS[route().name].sources) if (each === "trades") feed.refresh(each);
  }
  show();
}

function show() {
  if (!within) return;
  showHead();
  showBanner();
  for (const [id, source] of Object.entries(SHOWS)) byId(id).classList.toggle("stale", feed.isStale(source));
  VIEWS[route().name].show();
}

function showHead() {
  const stale = feed.isStale("status");
  const status = feed.value("status");
  const known = stale ? null : status;
  say(byId("mode"), status?.mode ?? "");
  tone(byId("mode"), status?.mode === "live" ? "live" : "");
  const state = stale ? "no answer" : words(status?.state);
  say(byId("state"), state);
  tone(byId("state"), { running: "good", paused: "warn", degraded: "warn" }[known?.state] ?? (known ? "quiet" : "bad"));
  const positions = feed.isStale("positions") ? null : feed.value("positions");
  const open = positions?.every(now.isFresh)
    ? positions.reduce((sum, row) => sum + Number(row.unrealised_pnl), 0) : null;
  const isOld = known?.equity_age_s > OLD_S;
  const naked = known ? known.positions - known.protected : 0;
  showFigures(byId("headline"), [
    [isOld ? `Equity ${span(known.equity_age_s)} ago` : "Equity", number(known?.equity), isOld ? "warn" : ""],
    ["Open PnL", signed(open), gainTone(open), "Of all open positions, before fees"],
    [known?.awaiting_funding ? "Closed PnL before funding" : "Closed PnL", signed(known?.realised_pnl),
      gainTone(known?.realised_pnl), "Of all closed trades, after fees, and after funding where that is known"],
    ["Drawdown", percent(known?.drawdown), isOld ? "warn" : ""],
    ["Open", known ? String(known.positions) : NOTHING],
    ["Protected", known ? String(known.protected) : NOTHING, naked ? "bad" : "", "With a stop that rests on the exchange"],
    ["Exit p99", known?.exit_latency_ms?.p99 == null ? NOTHING : `${milliseconds(known.exit_latency_ms.p99)} ms`, "",
      "From a price's receipt until the exit it caused is on the wire"],
  ]);
  const paused = known?.paused === true;
  const button = byId("pause");
  button.dataset.command = paused ? "resume" : "pause";
  say(button, paused ? "Resume" : "Pause");
  document.title = known ? `${number(known.equity)} · RAD` : "RAD";
  say(byId("foot").firstElementChild, status
    ? `RAD ${status.version} · ${status.market} · started ${when(status.started_at)} · journal and exchange compared `
      + `${when(status.reconciled_at)} · times are UTC`
    : "");
}

function showBanner() {
  const silent = feed.silent();
  const banner = byId("banner");
  banner.hidden = silent.length === 0;
  if (silent.length) {
    const age = silent.includes("status") ? feed.age("status") : Math.max(...silent.map(feed.age));
    const at = when(new Date(Date.now() - age * 1000).toISOString());
    say(banner, silent.includes("status")
      ? `The daemon does not answer: last heard of ${span(age)} ago, at ${at} UTC. Prices and results are not shown, `
        + "what is dimmed is old. Stops that rest on the exchange work without it."
      : `The daemon answers, but has said nothing of ${silent.join(" and ")} for ${span(age)}: what is dimmed is old.`);
  }
  const status = feed.isStale("status") ? null : feed.value("status");
  const problems = [...(status?.problems ?? [])];
  if (status?.entries_blocked && status.state !== "paused") problems.push(`no new positions: ${status.entries_blocked}`);
  const list = byId("problems");
  list.hidden = problems.length === 0;
  renew(list, problems.join("\n"), () => problems.map((problem) => h("li", {}, problem)));
}

// ---- begin --------------------------------------------------------------------------------------------

for (const part of [now, charts, trades, machine]) part.build();
byId("login").addEventListener("submit", submitToken);
byId("pause").addEventListener("click", pauseOrResume);
byId("flatten").addEventListener("click", flatten);
byId("logout").addEventListener("click", () => logOut().catch(() => {}).finally(() => leave("Logged out.")));
for (const link of document.querySelectorAll("nav a")) link.addEventListener("click", toTop);
addEventListener("hashchange", () => (location.hash.startsWith(LOGIN) ? begin() : turn()));
setInterval(show, TICK_MS);
addEventListener("unhandledrejection", () => announce("Something on this page failed; reload it if it looks wrong.", "bad"));
begin();
