// The document, written in text only: nothing in here or anywhere else on the page takes HTML.

/** Return an element with *props* (class, on: {event: handler}, any attribute) and *children*, text or nodes. */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "on") for (const [event, handler] of Object.entries(value)) element.addEventListener(event, handler);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** Set text only where it changed: a selection in it, and whoever reads it aloud, are left in peace. */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function tone(element, name) {
  if (element.dataset.tone !== name) element.dataset.tone = name;
}

/** Replace the children of *element* unless *key* says that they would be the same. */
export function renew(element, key, make) {
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  element.replaceChildren(...make());
}

/** Label and value pairs; each of *pairs* is [label, text, tone, hint]. */
export function showFigures(list, pairs) {
  renew(list, pairs.map(([label]) => label).join("|"), () =>
    pairs.map(([label, , , hint]) => h("div", { title: hint }, h("dt", {}, label), h("dd"))));
  pairs.forEach(([, text, kind], index) => {
    const value = list.children[index].lastElementChild;
    say(value, text);
    tone(value, kind ?? "");
  });
}

/**
 * A table that is brought up to date cell by cell, so that focus and selection stay where they are.
 *
 * A column: title, cell(row) -> text; of its own choice num (a number), tone(row), hint, spare (hidden where
 * there is little room), main (heads the card a row becomes on a phone), make(row) -> node (made once a row)
 * with update(node, row).
 */
export class Table {
  constructor(place, columns, { key, empty, label, cards = false }) {
    this.columns = columns;
    this.key = key;
    this.rows = new Map();
    this.empty = h("p", { class: "quiet", hidden: true }, empty);
    const heads = columns.map((column) =>
      h("th", { scope: "col", class: classOf(column), title: column.hint }, column.title));
    this.body = h("tbody");
    this.table = h("table", { "aria-label": label, class: cards ? "cards" : null },
      h("thead", {}, h("tr", {}, ...heads)), this.body);
    this.frame = h("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" }, this.table);
    place.append(this.frame, this.empty);
  }

  show(rows, { empty } = {}) {
    if (empty !== undefined) say(this.empty, empty);
    this.frame.hidden = rows.length === 0;
    this.empty.hidden = rows.length > 0;
    const before = this.rows;
    this.rows = new Map();
    let at = this.body.firstElementChild;
    for (const row of rows) {
      const key = String(this.key(row));
      const line = before.get(key) ?? this.#make(row);
      before.delete(key);
      this.rows.set(key, line);
      if (line !== at) this.body.insertBefore(line, at);
      else at = at.nextElementSibling;
      this.#update(line, row);
    }
    for (const line of before.values()) line.remove();
  }

  #make(row) {
    return h("tr", {}, ...this.columns.map((column) =>
      h("td", { class: classOf(column), "data-label": column.title }, column.make ? column.make(row) : null)));
  }

  #update(line, row) {
    this.columns.forEach((column, index) => {
      const cell = line.children[index];
      if (!column.make) say(cell, column.cell(row));
      else column.update?.(cell.firstElementChild, row);
      if (column.tone) tone(cell, column.tone(row) ?? "");
    });
  }
}

function classOf(column) {
  return [column.num && "num", column.spare && "spare", column.main && "main", column.wraps && "wraps"]
    .filter(Boolean).join(" ") || null;
}
