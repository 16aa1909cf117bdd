// A line over the time since the page was opened, by uPlot; the latest number stands above it as text.

import { el } from "/static/dom.js";

const KEPT_S = 900;
const WINDOW_S = 10; // a rate over less than that is noise
const HEIGHT_PX = 160;

/** Returns a chart of how fast a counter grows, per minute. */
export function rateChart(name) {
  const figure = el("span", { class: "number" }, "–");
  const drawing = el("div", { role: "img", "aria-label": `${name} since this page was opened` });
  const element = el("section", { class: "panel" }, el("h2", {}, `${name}: `, figure), drawing);
  const seen = []; // [time, count]
  const data = [[], []];
  let plot = null;

  function draw() {
    if (!plot) plot = new uPlot({ ...optionsOf(), width: drawing.clientWidth }, data, drawing);
    else plot.setData(data);
  }
  new ResizeObserver(() => plot?.setSize({ width: drawing.clientWidth, height: HEIGHT_PX })).observe(drawing);

  return {
    element,
    add(seconds, total) {
      seen.push([seconds, total]);
      while (seen.length > 2 && seen[1][0] <= seconds - WINDOW_S) seen.shift();
      const [[since, before]] = seen;
      if (seconds <= since) return;
      const rate = Math.max(0, total - before) / (seconds - since) * 60; // a router that was replaced counts from 0
      figure.textContent = rate.toFixed(1);
      data[0].push(seconds);
      data[1].push(rate);
      while (data[0][0] < seconds - KEPT_S) data.forEach((column) => column.shift());
      draw();
    },
  };
}

function optionsOf() {
  const color = (variable) => () => getComputedStyle(document.documentElement).getPropertyValue(variable);
  const axis = { stroke: color("--muted"), grid: { stroke: color("--line"), width: 1 }, ticks: { show: false } };
  return {
    height: HEIGHT_PX,
    cursor: { show: false },
    legend: { show: false },
    scales: { y: { range: (_, low, high) => [0, Math.max(1, high * 1.1)] } },
    axes: [axis, { ...axis, size: 48 }],
    series: [{}, { stroke: color("--accent"), width: 2 }],
  };
}
