"use strict";
/* Elements of the page: found, made, painted. Texts go into them as texts, never as HTML. */

const byId = (id) => document.getElementById(id);

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  made.textContent = text;
  return made;
}

/* A canvas of width * height pixels; colourOf(k) is [red, green, blue, alpha]. */
function picture(width, height, colourOf) {
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const image = new ImageData(width, height);
  for (let k = 0; k < width * height; k++) image.data.set(colourOf(k), 4 * k);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/* The same of bytes from 0, black, to 255. */
function greyPicture(width, height, grey) {
  return picture(width, height, (k) => [grey[k], grey[k], grey[k], 255]);
}

function longest(texts) {
  return Math.max(...texts.map((text) => text.length), 0);
}
