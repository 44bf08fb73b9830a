"use strict";
/* The network: numbers in, numbers out. The formulas are those of fastbp/kernels/reference.py, for one sample:

       z = x W + b        a = f(z)

   W has a row for each number that comes in and a column for each net input, stored row by row: W[k * n + j]. */

const LEAKY_SLOPE = 0.01;

/* f of every activation: net inputs of a layer in, activations out. */
const ACTIVATE = {
  identity: (z) => z,
  sigmoid: (z) => z.map((v) => 1 / (1 + Math.exp(-v))),
  tanh: (z) => z.map(Math.tanh),
  relu: (z) => z.map((v) => Math.max(v, 0)),
  leaky_relu: (z) => z.map((v) => (v >= 0 ? v : LEAKY_SLOPE * v)),
  step: (z) => z.map((v) => (v > 0 ? 1 : 0)),
  exponential: (z) => z.map(Math.exp),
  softmax: (z) => {
    const highest = Math.max(...z); // subtracted so that exp cannot overflow
    const e = z.map((v) => Math.exp(v - highest));
    const total = e.reduce((sum, v) => sum + v, 0);
    return e.map((v) => v / total);
  },
  // each unit has two net inputs, and says the larger one: those of piece 0 come first
  maxout: (z) => z.subarray(0, z.length / 2).map((v, j) => Math.max(v, z[z.length / 2 + j])),
};

/* z = x W + b, a = f(z) for one layer {W, b, activation}. */
function forward(x, { W, b, activation }) {
  const n = b.length;
  const z = Float64Array.from(b);
  for (let k = 0; k < x.length; k++) {
    if (x[k] === 0) continue; // most pixels are paper, and add nothing
    for (let j = 0; j < n; j++) z[j] += x[k] * W[k * n + j];
  }
  return ACTIVATE[activation](z);
}

/* The activations of all layers: what the input layer gets, (pixel - shift) * scale, then layer after layer. */
function activations(network, pixels) {
  const { shift, scale } = network.inputs;
  const layers = [Float64Array.from(pixels, (v, k) => (v - at(shift, k)) * at(scale, k))];
  for (const layer of network.layers) layers.push(forward(layers.at(-1), layer));
  return layers;
}

/* The outputs as the user knows them: target values go back into their own units, y = a / scale + shift. */
function outputs(network, a) {
  const { targets } = network;
  return targets ? a.map((v, j) => v / at(targets.scale, j) + at(targets.shift, j)) : a;
}

/* The number of the class that is the answer: the first of the largest outputs. One output tells two classes apart. */
function answer(network, y) {
  if (y.length === 1 && network.classNames.length === 2) {
    return y[0] > (network.layers.at(-1).activation === "tanh" ? 0 : 0.5) ? 1 : 0;
  }
  return y.indexOf(Math.max(...y));
}

/* A scaling is one number for all, or one for each. */
function at(numbers, k) {
  return typeof numbers === "number" ? numbers : numbers[k];
}

/* The network as it stands in the page: texts of base64 become arrays of numbers. */
function decodeNetwork(stored) {
  const scaling = (each) => each && { shift: decodeNumbers(each.shift), scale: decodeNumbers(each.scale) };
  return {
    ...stored,
    inputs: scaling(stored.inputs),
    targets: scaling(stored.targets),
    layers: stored.layers.map((layer) => ({
      W: decodeNumbers(layer.W),
      b: decodeNumbers(layer.b),
      activation: layer.activation,
    })),
    samples: stored.samples.map((sample) => ({ name: sample.name, pixels: decodeBytes(sample.pixels) })),
  };
}
