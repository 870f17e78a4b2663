// Charts by plotly, fetched when the first one is to be drawn.

import { h } from "./dom.js";

let library = null;

function load() {
  library ??= import("./plotly.min.js").then(() => globalThis.Plotly).catch((error) => {
    library = null;
    throw error;
  });
  return library;
}

const CONFIG = { displayModeBar: false, responsive: true, doubleClick: "reset", scrollZoom: false };

/** The page's colours, as they are in this light. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(`--${name}`).trim();
  return Object.fromEntries(["text", "quiet", "line", "good", "bad", "accent", "surface"].map((name) => [name, colour(name)]));
}

/** A colour of the palette, as little of it as *share* says. */
export function thin(colour, share) {
  const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
  return `rgba(${red},${green},${blue},${share})`;
}

export function layout(colours, more = {}) {
  const axis = { gridcolor: colours.line, zerolinecolor: colours.line, linecolor: colours.line, automargin: true, fixedrange: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: false,
    font: { family: "system-ui, sans-serif", size: 11, color: colours.quiet },
    margin: { l: 8, r: 8, t: 8, b: 8 }, hovermode: "x unified",
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { color: colours.text, size: 12 } },
    ...more,
    xaxis: { ...axis, showgrid: false, ...more.xaxis },
    yaxis: { ...axis, side: "right", ...more.yaxis },
    ...(more.yaxis2 ? { yaxis2: { ...axis, side: "right", ...more.yaxis2 } } : {}),
  };
}

/** Draw in *place* what make(colours) returns: traces and layout. Drawn again when the light changes. */
export class Plot {
  constructor(place, label) {
    this.place = place;
    this.canvas = h("div", { class: "canvas", role: "img", "aria-label": label });
    this.note = h("p", { class: "quiet" });
    place.append(this.note, this.canvas);
    this.make = null;
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Show a sentence instead of a chart. */
  tell(text) {
    this.make = null;
    this.note.textContent = text;
    this.note.hidden = false;
    this.canvas.hidden = true;
  }

  show(make) {
    this.make = make;
    return this.#draw();
  }

  async #draw() {
    const make = this.make;
    if (!make || !this.place.checkVisibility()) return;
    try {
      const plotly = await load();
      if (make !== this.make) return;
      this.note.hidden = true;
      this.canvas.hidden = false;
      const { traces, arrangement } = make(palette());
      await plotly.react(this.canvas, traces, arrangement, CONFIG);
    } catch (error) {
      console.error(error);
      this.tell("The chart cannot be drawn: the daemon's charts are not installed, or nobody answers.");
    }
  }
}
