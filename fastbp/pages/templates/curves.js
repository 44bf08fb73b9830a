"use strict";
/* Learning curves: one chart for costs, one for accuracies, one for the learning rate. An epoch is chosen in all of
   them at once, by pointing at it or with the arrow keys, and its numbers stand below. */

const CHARTS = [
  { name: "Cost", kind: "number", lines: { loss: "training", validation_loss: "validation" } },
  {
    name: "Accuracy",
    kind: "share",
    lines: { train_accuracy: "training", validation_accuracy: "validation", test_accuracy: "test" },
  },
  { name: "Learning rate", kind: "number", lines: { learning_rate: "rate" } },
];
const CHART_HEIGHT = 230;
const FEW = 40; // epochs that are shown as points, too

function openCurves(curves) {
  const { epochs } = curves;
  if (epochs.length === 0) {
    byId("curves-hint").textContent = "No epoch has ended.";
    return;
  }
  const state = { at: Math.max(epochs.indexOf(curves.best), 0) || epochs.length - 1, logarithmic: false };
  const charts = CHARTS.map((chart) => openChart(chart, curves, state, choose)).filter(Boolean);
  const used = new Set(charts.flatMap(({ words }) => words));
  const legend = ["training", "validation", "test"].filter((word) => used.has(word));
  byId("lines").append(...legend.map((word) => element("span", word, word)));

  function choose(at) {
    state.at = Math.min(Math.max(at, 0), epochs.length - 1);
    charts.forEach(({ mark }) => mark());
  }

  const button = byId("logarithm");
  const costs = [...curves.loss ?? [], ...curves.validation_loss ?? []].filter((v) => v !== null);
  button.hidden = costs.length < 2 || costs.some((v) => v <= 0);
  button.addEventListener("click", () => {
    state.logarithmic = !state.logarithmic;
    button.setAttribute("aria-pressed", state.logarithmic);
    charts.forEach(({ draw }) => draw());
  });

  const left = curves.total - epochs.length;
  const of = `${format("count", epochs.length)} of ${counted(curves.total, "epoch")}`;
  const drawn = `${of} are drawn, the extremes of each stretch.`;
  byId("curves-hint").textContent = [...(left ? [drawn] : []), ...curves.notes].join(" ");
  showEpochs(curves);
}

/* A chart, if any of its lines was measured: {words, draw, mark}. */
function openChart({ name, kind, lines }, curves, state, choose) {
  const { epochs, best } = curves;
  const keys = Object.keys(lines).filter((key) => curves[key]);
  if (keys.length === 0) return null;
  const box = element("div", "chart");
  const readout = element("p", "readout number");
  const figure = element("figure", "");
  figure.append(element("figcaption", "", name), box, readout);
  byId("charts").append(figure);
  box.tabIndex = 0;
  box.setAttribute("role", "slider");
  box.setAttribute("aria-label", `${name}, by epoch`);
  box.setAttribute("aria-valuemin", epochs[0]);
  box.setAttribute("aria-valuemax", epochs.at(-1));
  let [placeOf, drawing, width] = [null, null, 0];

  function draw() {
    width = Math.max(box.clientWidth, 120);
    const logarithmic = state.logarithmic && name === "Cost";
    const values = keys.flatMap((key) => curves[key]).filter((v) => v !== null);
    const [low, high] = limits(values, kind, logarithmic);
    const bottom = CHART_HEIGHT - MARGIN.bottom;
    const x = scale(epochs[0], epochs.at(-1), MARGIN.left + 6, width - MARGIN.right - 6);
    const y = scale(low, high, bottom, MARGIN.top, logarithmic);
    placeOf = x;
    drawing = svg("svg", { viewBox: `0 0 ${width} ${CHART_HEIGHT}`, "aria-hidden": "true" });
    const marks = logarithmic ? powers(low, high) : ticks(low, high, 5);
    axes(
      drawing,
      width,
      CHART_HEIGHT,
      { ticks: ticks(epochs[0], epochs.at(-1), width / 60, 1), place: x, text: (v) => format("count", v) },
      { ticks: marks, place: y, text: kind === "share" ? (v) => `${digits(100 * v, 6)}\u00a0%` : FORMATS.number },
    );
    if (best !== null) {
      const at = x(best);
      const anchor = at > width * 0.7 ? "end" : at < width * 0.3 ? "start" : "middle";
      drawing.append(svg("line", { class: "best", x1: at, x2: at, y1: MARGIN.top, y2: bottom }));
      drawing.append(svg("text", { class: "tick", x: at, y: 11, "text-anchor": anchor }, `best: ${best}`));
    }
    for (const key of keys) {
      const path = curves[key].map((v, i) => (v === null ? null : [x(epochs[i]), y(v)]));
      drawing.append(svg("path", { class: `line ${lines[key]}`, d: pathOf(path), "data-series": key }));
      if (epochs.length <= FEW) {
        for (const spot of path.filter(Boolean)) {
          drawing.append(svg("circle", { class: `spot ${lines[key]}`, cx: spot[0], cy: spot[1], r: 2.5 }));
        }
      }
    }
    drawing.append(svg("line", { class: "cursor", y1: MARGIN.top, y2: bottom }));
    box.replaceChildren(drawing);
    mark();
  }

  /* The chosen epoch: a line in the drawing, and its numbers. */
  function mark() {
    const { at } = state;
    const numbers = keys.map((key) => `${lines[key]} ${format(kind, curves[key][at])}`).join(", ");
    readout.textContent = `epoch ${epochs[at]}: ${numbers}`;
    box.setAttribute("aria-valuenow", epochs[at]);
    box.setAttribute("aria-valuetext", readout.textContent);
    const cursor = drawing?.querySelector(".cursor");
    for (const side of cursor ? ["x1", "x2"] : []) cursor.setAttribute(side, placeOf(epochs[at]));
  }

  box.addEventListener("pointermove", (event) => {
    const place = event.clientX - box.getBoundingClientRect().left;
    const distances = epochs.map((epoch) => Math.abs(placeOf(epoch) - place));
    choose(distances.indexOf(Math.min(...distances)));
  });
  box.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10 };
    const ends = { Home: 0, End: epochs.length - 1 };
    const to = ends[event.key] ?? (event.key in steps ? state.at + steps[event.key] : null);
    if (to === null) return;
    event.preventDefault();
    choose(to);
  });
  new ResizeObserver(() => box.clientWidth !== width && draw()).observe(box);
  draw();
  return { words: Object.values(lines).filter((_, i) => curves[Object.keys(lines)[i]]), draw, mark };
}

/* From where to where an axis goes: a little more than the values, and never beyond what a share can be. */
function limits(values, kind, logarithmic) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (logarithmic) return [low / 1.1, high * 1.1];
  const room = (high - low) * 0.06 || Math.abs(high) * 0.1 || 1;
  return [low >= 0 ? Math.max(low - room, 0) : low - room, kind === "share" ? Math.min(high + room, 1) : high + room];
}

/* Points that are null leave a gap. */
function pathOf(points) {
  return points.map((p, i) => (p ? `${points[i - 1] ? "L" : "M"}${p[0].toFixed(2)} ${p[1].toFixed(2)}` : "")).join("");
}

/* The same as a table, for those who do not see the charts, or want the numbers. */
function showEpochs(curves) {
  const columns = CHARTS.flatMap(({ name, kind, lines }) =>
    Object.entries(lines)
      .filter(([key]) => curves[key])
      .map(([key, word]) => ({ key, kind, title: word === "rate" ? name : `${name}, ${word}` })),
  );
  const rows = curves.epochs.map((epoch, i) => [
    format("count", epoch),
    ...columns.map(({ key, kind }) => format(kind, curves[key][i])),
  ]);
  const details = byId("epochs");
  details.hidden = false;
  details.addEventListener(
    "toggle",
    () => details.lastElementChild.append(table("Epochs", ["Epoch", ...columns.map(({ title }) => title)], rows)),
    { once: true },
  );
}
