"use strict";
// Draws the report's charts from the facts beside it, in the colours of the light it is looked at in.
(() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const places = Object.fromEntries(["equity", "days", "latency"].map((id) => [id, document.getElementById(id)]));
  const light = matchMedia("(prefers-color-scheme: dark)");

  function colours() {
    const style = getComputedStyle(document.documentElement);
    return Object.fromEntries(["text", "quiet", "line", "good", "bad", "accent", "surface"]
      .map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  }

  function thin(colour) {
    const [red, green, blue] = [1, 3, 5].map((at) => Number.parseInt(colour.slice(at, at + 2), 16));
    return `rgba(${red},${green},${blue},0.15)`;
  }

  function layout(of, axes) {
    const axis = { gridcolor: of.line, zerolinecolor: of.line, linecolor: of.line, automargin: true };
    const merged = Object.fromEntries(Object.entries(axes).map(([name, more]) => [name, { ...axis, ...more }]));
    return {
      paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", showlegend: false, dragmode: "zoom",
      font: { family: "system-ui, sans-serif", size: 11, color: of.quiet }, margin: { l: 8, r: 8, t: 8, b: 8 },
      hovermode: "x unified", bargap: 0.3,
      hoverlabel: { bgcolor: of.surface, bordercolor: of.line, font: { color: of.text, size: 12 } }, ...merged,
    };
  }

  const drawers = {
    equity: (of) => {
      const { at, equity, drawdown } = facts.equity;
      const line = { type: "scatter", mode: "lines", x: at };
      return [[
        { ...line, y: equity, line: { color: of.accent, width: 1.6 }, hovertemplate: "%{y:,.2f}<extra>equity</extra>" },
        { ...line, y: drawdown, yaxis: "y2", fill: "tozeroy", fillcolor: thin(of.bad), line: { color: of.bad, width: 1 },
          hovertemplate: "%{y:.2f} %<extra>drawdown</extra>" },
      ], layout(of, {
        xaxis: { type: "date", anchor: "y2", showgrid: false },
        yaxis: { domain: [0.36, 1], side: "right", tickformat: ",.0f", nticks: 6 },
        yaxis2: { domain: [0, 0.28], side: "right", ticksuffix: " %", rangemode: "tozero", nticks: 3 },
      })];
    },
    days: (of) => {
      const { day, pnl } = facts.days;
      return [[{ type: "bar", x: day, y: pnl, marker: { color: pnl.map((each) => (each < 0 ? of.bad : of.good)) },
        hovertemplate: "%{y:,.2f}<extra></extra>" }],
      layout(of, { xaxis: { type: "category", showgrid: false, nticks: 12 }, yaxis: { side: "right", tickformat: ",.0f" } })];
    },
    latency: (of) => [[{ type: "histogram", x: facts.latency.sent, marker: { color: of.accent }, nbinsx: 60,
      hovertemplate: "%{x} ms: %{y}<extra></extra>" }],
    layout(of, { xaxis: { ticksuffix: " ms", showgrid: false, rangemode: "tozero" }, yaxis: { side: "right" } })],
  };

  function draw() {
    for (const [name, place] of Object.entries(places)) {
      if (!place) continue;
      if (!globalThis.Plotly) { place.textContent = "Charts need plotly, which was not installed."; continue; }
      const [traces, arrangement] = drawers[name](colours());
      Plotly.react(place, traces, arrangement, { displayModeBar: false, responsive: true });
    }
  }

  light.addEventListener("change", draw);
  draw();
})();
