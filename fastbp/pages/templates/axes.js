"use strict";
/* Drawings in SVG: numbers become places, axes get round numbers, and elements are made. */

const MARGIN = { left: 54, right: 14, top: 16, bottom: 26 };

function svg(tag, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

/* Round numbers from low to high, about `wanted` of them: 1, 2 or 5 times a power of ten apart. */
function ticks(low, high, wanted, least = 0) {
  const rough = (high - low) / wanted || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max([1, 2, 5, 10].map((v) => v * power).find((v) => v >= rough * 0.999), least);
  const first = Math.ceil(low / step - 1e-9);
  const last = Math.floor(high / step + 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

/* For a logarithmic axis: powers of ten, with 2 and 5 times these where there are few; else as for any other. */
function powers(low, high) {
  const exponents = Array.from({ length: 640 }, (_, i) => i - 320);
  const within = (factors) =>
    exponents.flatMap((e) => factors.map((f) => Number(`${f}e${e}`))).filter((v) => v >= low && v <= high);
  const chosen = [within([1]), within([1, 2, 5])].find((found) => found.length > 2) ?? ticks(low, high, 4);
  const every = Math.ceil(chosen.length / 7);
  return chosen.filter((_, i) => i % every === 0);
}

/* Where numbers stand between two places; a single number stands in the middle. */
function scale(low, high, from, to, logarithmic = false) {
  const place = logarithmic ? Math.log : (v) => v;
  const [a, b] = [place(low), place(high)];
  return (v) => (a === b ? (from + to) / 2 : from + ((place(v) - a) / (b - a)) * (to - from));
}

/* The lines and the numbers of both axes. x and y: {ticks, place, text} */
function axes(drawing, width, height, x, y) {
  const [right, bottom] = [width - MARGIN.right, height - MARGIN.bottom];
  for (const v of y.ticks) {
    const at = y.place(v);
    drawing.append(svg("line", { class: "rule", x1: MARGIN.left, x2: right, y1: at, y2: at }));
    drawing.append(svg("text", { class: "tick y", x: MARGIN.left - 8, y: at + 4, "text-anchor": "end" }, y.text(v)));
  }
  drawing.append(svg("line", { class: "axis", x1: MARGIN.left, x2: right, y1: bottom, y2: bottom }));
  for (const v of x.ticks) {
    drawing.append(
      svg("text", { class: "tick x", x: x.place(v), y: bottom + 18, "text-anchor": "middle" }, x.text(v)),
    );
  }
}
