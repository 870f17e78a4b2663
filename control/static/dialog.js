// Asking before something is done: what it will do, for flatten a word to type, then how it goes.

import { byId, h, say } from "./dom.js";
import { span } from "./format.js";

/**
 * Show what is about to happen and, once confirmed, do it.
 *
 * text: sentences; yes: the button; word: to be typed first; danger; perform() -> promise of lines to show, or of
 * nothing to close at once; progress() -> a sentence while it lasts.
 */
export function confirm({ title, text, yes, word = "", danger = false, perform, progress }) {
  const dialog = byId("dialog");
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
  dialog.oncancel = null;
  byId("dialog-form").onsubmit = async (event) => {
    event.preventDefault();
    if (accept.disabled) return;
    busy = true;
    weigh();
    say(byId("dialog-error"), "");
    say(cancel, "Hide");           // what has been sent goes on whether it is watched or not
    const began = performance.now();
    const tick = () => say(byId("dialog-progress"),
      `${progress?.() ?? "Under way"}, ${span((performance.now() - began) / 1000)}`);
    const timer = setInterval(tick, 500);
    tick();
    try {
      const lines = await perform();
      say(byId("dialog-progress"), "");
      if (!lines) return dialog.close();
      byId("dialog-text").replaceChildren(...lines);
      byId("dialog-type").hidden = true;
      accept.hidden = true;
      say(cancel, "Done");
      cancel.focus();
    } catch (error) {
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
