"use strict";
/* The part of a page in which one draws: a picture goes through the network, and the views show what comes of it. */

const network = decodeNetwork(JSON.parse(byId("model").textContent));
const SURE = 0.9; // an answer with this probability is a sure one

const pad = openPad(byId("pad"), (lasting) => (lasting ? look("drawing", null, true) : soon(() => look("drawing"))));
const bars = showBars(byId("outputs"), network);
const frames = showWeights(byId("weights"), network);
const BLANK = new Uint8Array(network.side ** 2);
const state = { kind: "blank", pixels: BLANK, grey: BLANK, about: "", layers: null, y: null };
let waiting = null; // what is done before the next picture on the screen

/* A new picture: a given one as it is, or, without it, the drawing on the pad as MNIST would show it. The answer is
   read out when it is there to stay, not after every movement of the pen. Given are {pixels}, and perhaps a sentence
   `about` them, and `grey`, bytes that show pixels which are none. */
function look(kind, given = null, lasting = false) {
  const found = given ? given.pixels : prepare(pad, network.side, network.centre);
  state.kind = found ? kind : "blank";
  state.pixels = found ?? BLANK;
  state.grey = given?.grey ?? state.pixels;
  state.about = given?.about ?? "";
  state.layers = found && activations(network, found);
  state.y = found && outputs(network, state.layers.at(-1));
  waiting = null;
  show();
  if (lasting) byId("spoken").textContent = found ? `${spoken()} ${state.about}`.trim() : "The pad is empty.";
}

/* A pen may move more often than the screen shows a new picture. */
function soon(task) {
  if (!waiting) requestAnimationFrame(() => waiting?.());
  waiting = task;
}

function show() {
  const { grey, layers, y } = state;
  showNetwork(byId("network"), network, grey, layers);
  lightWeights(frames, network, layers && layers[1]);
  const best = y && network.classNames.length ? answer(network, y) : -1;
  fillBars(bars, y && shown(y), best, network.percent);
  const [name, certainty] = [element("b", "", "?"), element("span", "", "Draw something, or take a sample.")];
  if (y) {
    name.textContent = best < 0 ? "" : network.classNames[best];
    certainty.textContent = best < 0 ? "" : network.percent ? certaintyOf(y, best) : "the largest output";
  }
  name.classList.toggle("long", longest(network.classNames) > 4);
  byId("answer").replaceChildren(name, certainty);
  byId("remark").textContent = remark(y, best);
}

/* What the bars stand for: one output that tells two classes apart is shown as both of them. */
function shown(y) {
  if (network.names.length === y.length) return Array.from(y);
  return network.percent ? [1 - y[0], y[0]] : [-y[0], y[0]];
}

function certaintyOf(y, best) {
  return `${(100 * shown(y)[best]).toFixed(1)} % sure`;
}

function spoken() {
  const { y, kind } = state;
  const what = { drawing: "The drawing", sample: "The sample", noise: "The noise" }[kind];
  if (!network.classNames.length) return `${what} gives ${Array.from(y, (v) => v.toPrecision(4)).join(", ")}.`;
  const best = answer(network, y);
  const certainty = network.percent ? `, ${certaintyOf(y, best)}` : "";
  return `${what} is taken for ${network.classNames[best]}${certainty}.`;
}

function remark(y, best) {
  if (state.kind !== "noise" || best < 0) return state.about;
  const sure = network.percent && shown(y)[best] >= SURE;
  const certain = sure ? ", and yet the network is sure of its answer" : "";
  return `There is nothing in this picture${certain}. No output of the network says \u201cnone of these\u201d.`;
}

function noise() {
  const pixels = new Uint8Array(network.side ** 2).map(() => 256 * Math.random());
  pad.load(pixels, network.side, true);
  look("noise", { pixels }, true);
}

byId("clear").addEventListener("click", () => {
  pad.clear();
  look("drawing", null, true);
});
byId("noise").addEventListener("click", noise);

const take = (sample, lasting) => {
  pad.load(sample.grey ?? sample.pixels, network.side, true);
  look("sample", sample, lasting);
};
for (const sample of network.samples) {
  const button = element("button", "");
  button.type = "button";
  button.setAttribute("aria-label", `Sample of ${sample.name}`);
  button.append(greyPicture(network.side, network.side, sample.pixels));
  button.addEventListener("click", () => take(sample, true));
  byId("samples").append(button);
}

const hidden = network.layers[0].b.length - frames.length;
byId("more").textContent = hidden > 0 ? `And ${hidden} more.` : "";
new ResizeObserver(show).observe(byId("network"));
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
if (network.samples.length) take(network.samples[Math.min(3, network.samples.length - 1)], false);
else look("drawing");
