"use strict";
/* What is seen of the network: the units with the lines between them, pictures of weights, bars of outputs. Every view
   gets the network and its activations, and changes nothing. */

const STRONGEST = 70; // lines between two layers; all of them would be a grey wall
const MOST_PICTURES = 64;
const ENOUGH = 15; // pixels from unit to unit
const BOUNDED = ["sigmoid", "tanh", "softmax", "step"]; // activations that need no larger one to be compared with

function colours() {
  const style = getComputedStyle(document.documentElement);
  const [rest, plus, minus, text, quiet, glow] = ["rest", "plus", "minus", "text", "quiet", "glow"].map((name) =>
    style.getPropertyValue(`--${name}`).trim(),
  );
  return { rest, plus, minus, text, quiet, glows: glow === "1", sign: (v) => (v < 0 ? minus : plus) };
}

/* The activations of a layer between -1 and 1, as they are shown. */
function brightness(a, activation) {
  const highest = BOUNDED.includes(activation) ? 1 : a.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-9);
  return Array.from(a, (v) => v / highest);
}

/* The connections into a layer that add most to its net inputs: [k, j, a_k W_kj], the strongest one first. */
function strongest(a, { W, b, activation }, most = STRONGEST) {
  const n = b.length;
  const units = activation === "maxout" ? n / 2 : n;
  const found = [];
  for (let k = 0; k < a.length; k++) {
    if (a[k] === 0) continue;
    for (let j = 0; j < n; j++) {
      const value = a[k] * W[k * n + j];
      const size = Math.abs(value);
      if (size === 0 || (found.length === most && size <= Math.abs(found.at(-1)[2]))) continue;
      let place = found.length;
      while (place > 0 && Math.abs(found[place - 1][2]) < size) place--;
      found.splice(place, 0, [k, j % units, value]);
      found.length = Math.min(found.length, most);
    }
  }
  return found;
}

/* Where the n units of a layer stand in a box, and how large they are: in one column if they are large enough in it,
   else in as many columns as make them largest. */
function places(n, box) {
  let best = { pitch: 0, columns: 1 };
  for (let columns = 1; columns <= n && best.pitch < ENOUGH; columns++) {
    const pitch = Math.min(box.width / columns, box.height / Math.ceil(n / columns), 44);
    if (pitch > best.pitch) best = { pitch, columns };
  }
  const { pitch, columns } = best;
  const rows = Math.ceil(n / columns);
  const left = box.left + (box.width - (columns - 1) * pitch) / 2;
  const top = box.top + (box.height - (rows - 1) * pitch) / 2;
  const spotOf = (j) => [left + Math.floor(j / rows) * pitch, top + (j % rows) * pitch];
  const spots = Array.from({ length: n }, (_, j) => spotOf(j));
  return { spots, radius: Math.max(pitch * 0.34, 1) };
}

/* The input as a picture of bytes, all units, and the strongest connections between them; layers is null without a
   drawing. */
function showNetwork(canvas, network, grey, layers) {
  const [width, height, fine] = [canvas.clientWidth, canvas.clientHeight, window.devicePixelRatio || 1];
  canvas.width = width * fine;
  canvas.height = height * fine;
  const context = canvas.getContext("2d");
  context.scale(fine, fine);
  const colour = colours();
  const { side } = network;

  const input = Math.min(width * 0.27, height * 0.6);
  const names = network.names.length <= 20 ? Math.min(width * 0.14, 8 + 8 * longest(network.names)) : 4;
  const step = (width - input - names) / network.layers.length;
  const base = height - 24; // where the words below the layers begin
  const top = (base - input) / 2;
  const columns = network.layers.map(({ b, activation }, l) =>
    places(activation === "maxout" ? b.length / 2 : b.length, {
      left: input + l * step + step * 0.36,
      width: step * 0.64,
      top: 6,
      height: base - 8,
    }),
  );
  const dot = input / side;
  const pixelAt = (k) => [((k % side) + 0.5) * dot, top + (Math.floor(k / side) + 0.5) * dot];
  const spotOf = (l, k) => (l ? columns[l - 1].spots[k] : pixelAt(k));

  context.imageSmoothingEnabled = false;
  context.drawImage(greyPicture(side, side, grey), 0, top, input, input);
  context.strokeStyle = colour.quiet;
  context.strokeRect(0.5, top + 0.5, input - 1, input - 1);
  if (layers) {
    network.layers.forEach((layer, l) => {
      const lines = strongest(layers[l], layer);
      for (const [k, j, value] of lines.reverse()) {
        const [[x0, y0], [x1, y1]] = [spotOf(l, k), spotOf(l + 1, j)];
        const share = Math.abs(value / lines.at(-1)[2]);
        context.globalAlpha = 0.08 + 0.62 * share;
        context.lineWidth = 0.5 + 2 * share;
        context.strokeStyle = colour.sign(value);
        context.beginPath();
        context.moveTo(x0, y0);
        context.bezierCurveTo((x0 + x1) / 2, y0, (x0 + x1) / 2, y1, x1, y1);
        context.stroke();
      }
    });
  }
  columns.forEach(({ spots, radius }, l) => {
    const shares = layers ? brightness(layers[l + 1], network.layers[l].activation) : spots.map(() => 0);
    spots.forEach(([x, y], j) => unit(context, x, y, radius, shares[j], colour));
  });
  context.globalAlpha = 1;
  context.textBaseline = "middle";
  context.textAlign = "center";
  context.font = "12px system-ui, sans-serif";
  context.fillStyle = colour.quiet;
  context.fillText(`${side} \u00d7 ${side}`, input / 2, top + input + 14, input);
  columns.forEach(({ spots }, l) => {
    const middle = input + l * step + step * 0.68;
    const [count, words] = [`${spots.length}`, `${spots.length} ${network.layers[l].activation}`];
    context.fillText(context.measureText(words).width > step - 4 ? count : words, middle, height - 8, step - 4);
  });
  context.textAlign = "left";
  context.font = "14px system-ui, sans-serif";
  context.fillStyle = colour.text;
  if (network.names.length <= 20) {
    const { spots, radius } = columns.at(-1);
    if (spots.length === network.names.length) {
      spots.forEach(([x, y], j) => context.fillText(network.names[j], x + radius + 7, y, width - x - radius - 8));
    }
  }
}

/* A unit at rest is dim; one that is active is filled, and glows where it is dark. */
function unit(context, x, y, radius, share, colour) {
  const disc = (style, alpha) => {
    context.globalAlpha = alpha;
    context.fillStyle = style;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.fill();
  };
  disc(colour.rest, 1);
  const strength = Math.min(Math.abs(share), 1);
  if (colour.glows) {
    context.shadowColor = colour.sign(share);
    context.shadowBlur = 18 * strength;
  }
  if (strength > 0.005) disc(colour.sign(share), strength);
  context.shadowBlur = 0;
}

/* A picture for each unit of the first layer (maxout: for each piece), the same scale for all. Returns the frames. */
function showWeights(list, network) {
  const { W, b } = network.layers[0];
  const n = b.length;
  const most = W.reduce((highest, v) => Math.max(highest, Math.abs(v)), 1e-9);
  const plus = [236, 112, 10];
  const minus = [40, 122, 228];
  return Array.from({ length: Math.min(n, MOST_PICTURES) }, (_, j) => {
    const canvas = picture(network.side, network.side, (k) => {
      const weight = W[k * n + j] / most;
      const share = Math.abs(weight) ** 0.6; // so that weak ones are seen, too
      return [...(weight < 0 ? minus : plus), 255 * share];
    });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Weights into net input ${j + 1} of the first layer`);
    const item = element("li", "");
    const label = element("span", "");
    item.append(canvas, label);
    list.append(item);
    return { canvas, label };
  });
}

/* Frames and numbers of the pictures, for the activations of the first layer. */
function lightWeights(frames, network, a) {
  const colour = colours();
  const shares = a && brightness(a, network.layers[0].activation);
  frames.forEach(({ canvas, label }, j) => {
    const k = a ? j % a.length : 0;
    const strength = a ? Math.min(Math.abs(shares[k]), 1) : 0;
    canvas.style.borderColor = strength > 0.3 ? colour.sign(shares[k]) : colour.rest;
    canvas.style.boxShadow = strength > 0.3 ? `0 0 ${14 * strength}px ${colour.sign(shares[k])}` : "none";
    label.textContent = a ? a[k].toFixed(2) : "";
  });
}

/* One row for each output; returns what `fillBars` fills. */
function showBars(list, network) {
  list.classList.toggle("named", longest(network.names) > 2);
  return network.names.map((name) => {
    const item = element("li", "");
    const [track, bar, number] = [element("div", "track"), element("div", "bar"), element("span", "number")];
    const label = element("span", "name", name);
    label.title = name;
    track.append(bar);
    item.append(label, track, number);
    list.append(item);
    return { item, bar, number };
  });
}

/* values: what the bars stand for; `best` is the number of the answer, or -1. null: nothing is drawn yet. */
function fillBars(bars, values, best, percent) {
  const highest = percent || !values ? 1 : Math.max(...values.map(Math.abs), 1e-9);
  bars.forEach(({ item, bar, number }, j) => {
    const value = values ? values[j] : 0;
    item.classList.toggle("best", j === best);
    bar.classList.toggle("below", value < 0);
    bar.style.width = `${100 * Math.min(Math.abs(value) / highest, 1)}%`;
    number.textContent = values ? (percent ? `${(100 * value).toFixed(1)} %` : value.toPrecision(4)) : "";
  });
}
