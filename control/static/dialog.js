// Asking before something is done: what it will do, for flatten a word to type, then how it goes.

import { byId, h, say } from "./dom.js";
import { span } from "./format.js";

const SAID_FOR_MS = 8_000;

let current = null;
let silence = 0;

/** Say in passing how something went. */
export function announce(text, kind = "") {
  const place = byId("said");
  say(place, text);
  place.dataset.tone = kind;
  clearTimeout(silence);
  silence = setTimeout(() => say(place, ""), SAID_FOR_MS);
}

/**
 * Show what is about to happen and, once confirmed, do it.
 *
 * text: sentences; yes: the button; word: to be typed first; danger; progress() -> a sentence while it lasts;
 * perform() -> promise of { summary, lines }: lines to show before the dialog is closed, or none to close it at once.
 * What was sent goes on whether it is watched or not: who has hidden the dialog is told the summary in passing.
 */
export function confirm({ title, text, yes, word = "", danger = false, perform, progress = () => "Under way" }) {
  const dialog = byId("dialog");
  const mine = {};
  current = mine;
  const isWatched = () => dialog.open && current === mine;
  const [accept, cancel, input] = [byId("dialog-yes"), byId("dialog-no"), byId("dialog-word")];
  say(byId("dialog-title"), title);
  byId("dialog-text").replaceChildren(...text.map((line) => h("p", {}, line)));
  for (const id of ["dialog-error", "dialog-progress"]) say(byId(id), "");
  say(accept, yes);
  say(cancel, "Cancel");
  accept.className = danger ? "danger" : "primary";
  accept.hidden = false;
  byId("dialog-type").hidden = !word;
  say(byId("dialog-type").firstElementChild, `Type ${word} to confirm`);
  input.value = "";
  let busy = false;
  const weigh = () => { accept.disabled = busy || (word !== "" && input.value.trim().toLowerCase() !== word); };
  input.oninput = weigh;
  weigh();
  cancel.onclick = () => dialog.close();
  byId("dialog-form").onsubmit = async (event) => {
    event.preventDefault();
    if (accept.disabled) return;
    busy = true;
    weigh();
    say(byId("dialog-error"), "");
    say(cancel, "Hide");
    const began = performance.now();
    const tick = () => {
      if (isWatched()) say(byId("dialog-progress"), `${progress()}, ${span((performance.now() - began) / 1000)}`);
    };
    const timer = setInterval(tick, 500);
    tick();
    try {
      const { summary, lines = null } = await perform();
      if (lines === null || !isWatched()) announce(summary);
      if (!isWatched()) return;
      say(byId("dialog-progress"), "");
      if (lines === null) return void dialog.close();
      byId("dialog-text").replaceChildren(...lines);
      byId("dialog-type").hidden = true;
      accept.hidden = true;
      say(cancel, "Done");
      cancel.focus();
    } catch (error) {
      if (!isWatched()) return void announce(`${title} Not done, or not known to be done: ${error.message}`, "bad");
      say(byId("dialog-progress"), "");
      say(byId("dialog-error"), `Not done, or not known to be done: ${error.message}`);
      busy = false;
      weigh();
      say(cancel, "Cancel");
    } finally {
      clearInterval(timer);
    }
  };
  dialog.showModal();
  (word ? input : accept).focus();
}
