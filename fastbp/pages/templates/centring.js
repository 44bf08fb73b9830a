"use strict";
/* A drawing as MNIST would show it: the steps of fastbp/centring.py, number for number.

   The ink is cut out, brought to 20/28 of the picture keeping its aspect ratio, and moved so that its centre of mass
   stands in the middle (LeCun, Bottou, Bengio, Haffner 1998, section III). Pictures are {data, height, width}, with
   numbers from 0 to 255, row by row; a drawing here is square, and never so large that it has to be shrunk first. */

const FAINTEST = 0.04; // of the darkest ink
const NOISE = 6; // times the median difference from the ground
const SMALL = 56; // pixels: in smaller pictures a single pixel may be a part of the drawing

/* side * side bytes; null for a blank picture. Without `centre`, the whole picture is shrunk, and nothing is moved. */
function prepare(image, side, centre = true) {
  const { height, width } = image;
  const data = new Float64Array(image.data);
  const low = data.reduce((a, v) => Math.min(a, v), Infinity);
  const high = data.reduce((a, v) => Math.max(a, v), -Infinity);
  if (high <= low) return null;
  const ground = median(border({ data, height, width }, Math.max(1, Math.floor(Math.min(height, width) / 20))));
  const inverted = ground > (low + high) / 2;
  const ink = data.map((v) => Math.max(inverted ? ground - v : v - ground, 0));
  const darkest = ink.reduce((a, v) => Math.max(a, v));
  for (let i = 0; i < ink.length; i++) ink[i] /= darkest;
  if (!centre) return toBytes(resize({ data: ink, height, width }, side, side).data);
  const threshold = otsu(ink);
  const usual = median(data.map((v) => Math.abs(v - ground))) / (high - low);
  const noise = Math.min(threshold / 2, Math.max(FAINTEST, NOISE * usual));
  for (let i = 0; i < ink.length; i++) if (ink[i] <= noise) ink[i] = 0;
  const limit = Math.max(noise, threshold / 4);
  const mask = withoutSpecks({ data: ink.map((v) => (v > limit ? 1 : 0)), height, width });
  const small = fitted(cut({ data: ink, height, width }, boxOf(mask)), Math.max(1, Math.floor((side * 20) / 28)));
  const brightest = small.data.reduce((a, v) => Math.max(a, v));
  small.data = small.data.map((v) => v / brightest);
  return toBytes(centred(small, side));
}

/* A picture in another size: the mean over each new pixel's area where it shrinks, bilinear where it grows. */
function resize({ data, height, width }, newHeight, newWidth) {
  const rows = axisWeights(height, newHeight);
  const columns = axisWeights(width, newWidth);
  const wide = new Float64Array(newHeight * width);
  rows.forEach((weights, i) => {
    for (const [k, weight] of weights) {
      for (let j = 0; j < width; j++) wide[i * width + j] += weight * data[k * width + j];
    }
  });
  const result = new Float64Array(newHeight * newWidth);
  columns.forEach((weights, j) => {
    for (const [k, weight] of weights) {
      for (let i = 0; i < newHeight; i++) result[i * newWidth + j] += weight * wide[i * width + k];
    }
  });
  return { data: result, height: newHeight, width: newWidth };
}

/* For every new place of one axis: [old place, weight] pairs whose weights add up to 1. */
function axisWeights(n, newN) {
  const scale = n / newN;
  return Array.from({ length: newN }, (_, i) => {
    const centre = Math.min(Math.max((i + 0.5) * scale - 0.5, 0), n - 1);
    const weightOf = (k) =>
      scale >= 1 ? Math.min(i * scale + scale, k + 1) - Math.max(i * scale, k) : 1 - Math.abs(k - centre);
    const pairs = Array.from({ length: n }, (_, k) => [k, weightOf(k)]).filter(([, weight]) => weight > 0);
    const total = pairs.reduce((sum, [, weight]) => sum + weight, 0);
    return pairs.map(([k, weight]) => [k, weight / total]);
  });
}

/* All pixels that are less than `margin` away from an edge; those of the corners count twice. */
function border({ data, height, width }, margin) {
  const found = [];
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      const pixel = data[i * width + j];
      if (i < margin) found.push(pixel);
      if (i >= height - margin) found.push(pixel);
      if (j < margin) found.push(pixel);
      if (j >= width - margin) found.push(pixel);
    }
  }
  return found;
}

/* The middle one of the sorted values, or the mean of both. They are few different ones, made of bytes: so they are
   counted, which takes a sixth of the time of sorting them. */
function median(values) {
  const counts = new Map();
  for (const v of values) counts.set(v, (counts.get(v) ?? 0) + 1);
  const different = [...counts.keys()].sort((a, b) => a - b);
  const valueAt = (place) => different.find((v) => (place -= counts.get(v)) < 0);
  return (valueAt((values.length - 1) >> 1) + valueAt(values.length >> 1)) / 2;
}

/* The threshold in (0, 1) that separates two groups of values best (Otsu 1979). */
function otsu(ink) {
  const counts = new Float64Array(256);
  for (const v of ink) counts[Math.min(Math.floor(v * 256), 255)]++;
  const weighted = (i) => (counts[i] * (i + 0.5)) / 256;
  let all = 0;
  for (let i = 0; i < 256; i++) all += weighted(i);
  let [below, sum, best, places] = [0, 0, -1, []];
  for (let i = 0; i < 255; i++) {
    below += counts[i];
    sum += weighted(i);
    const above = ink.length - below;
    if (below === 0 || above === 0) continue;
    const apart = sum / below - (all - sum) / above;
    const between = below * above * (apart * apart);
    if (between > best) [best, places] = [between, []];
    if (between === best) places.push((i + 1) / 256);
  }
  return places.reduce((total, v) => total + v, 0) / places.length;
}

/* mask without the pixels that have no neighbour in it; in a small picture every pixel counts, and all stay. */
function withoutSpecks(mask) {
  const { data, height, width } = mask;
  if (Math.min(height, width) < SMALL) return mask;
  const kept = data.map((set, i) => {
    if (!set) return 0;
    const column = i % width;
    const above = data[i - width] || data[i + width]; // beyond the first and the last row there is nothing
    const beside = (column > 0 && data[i - 1]) || (column < width - 1 && data[i + 1]);
    return above || beside ? 1 : 0;
  });
  return kept.some((set) => set) ? { data: kept, height, width } : mask;
}

/* [top, bottom, left, right] of the part that is not 0; bottom and right are exclusive. */
function boxOf({ data, height, width }) {
  let [top, bottom, left, right] = [height, 0, width, 0];
  data.forEach((set, i) => {
    if (!set) return;
    const row = Math.floor(i / width);
    const column = i % width;
    top = Math.min(top, row);
    bottom = Math.max(bottom, row + 1);
    left = Math.min(left, column);
    right = Math.max(right, column + 1);
  });
  return [top, bottom, left, right];
}

function cut({ data, width }, [top, bottom, left, right]) {
  const result = [];
  for (let i = top; i < bottom; i++) result.push(...data.subarray(i * width + left, i * width + right));
  return { data: Float64Array.from(result), height: bottom - top, width: right - left };
}

/* As large as fits into a box of `side` pixels, keeping the aspect ratio. */
function fitted(ink, side) {
  const scale = Math.min(side / ink.height, side / ink.width);
  const fit = (n) => Math.min(side, Math.max(1, rint(n * scale)));
  return resize(ink, fit(ink.height), fit(ink.width));
}

/* On a black canvas, moved by whole pixels so that the centre of mass stands at half of each side. Where that is just
   between two pixels, in pictures that are symmetric, the rounding of these sums decides, which is not NumPy's. */
function centred({ data, height, width }, side) {
  let [total, rows, columns] = [0, 0, 0];
  data.forEach((v, i) => {
    total += v;
    rows += v * Math.floor(i / width);
    columns += v * (i % width);
  });
  const top = Math.min(Math.max(rint(side / 2 - rows / total), 0), side - height);
  const left = Math.min(Math.max(rint(side / 2 - columns / total), 0), side - width);
  const result = new Float64Array(side * side);
  for (let i = 0; i < height; i++) {
    result.set(data.subarray(i * width, (i + 1) * width), (top + i) * side + left);
  }
  return result;
}

function toBytes(data) {
  return Uint8Array.from(data, (v) => rint(Math.min(Math.max(v, 0), 1) * 255));
}

/* The nearest whole number, of two equally near ones the even one, as Python and NumPy round. */
function rint(v) {
  const below = Math.floor(v);
  if (v - below === 0.5) return below % 2 ? below + 1 : below;
  return Math.round(v);
}
