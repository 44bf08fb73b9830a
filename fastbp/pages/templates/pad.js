"use strict";
/* The drawing pad: strokes in, ink as bytes out. The ink is an array of our own, and the canvas only shows it: what a
   canvas is asked for is changed by browsers that hide their user's traces. */

const PAD = 280; // pixels of each side
const PEN = 11; // its radius, about what a pen is to a digit of MNIST
const KEY_STEP = 8; // pixels that an arrow key moves the pen

/* `changed(lasting)` is called after every change, with true at the end of a stroke. */
function openPad(canvas, changed) {
  const context = canvas.getContext("2d");
  const shown = context.createImageData(PAD, PAD);
  const pad = { data: new Uint8Array(PAD * PAD), height: PAD, width: PAD, stale: false };
  const pen = { x: PAD / 2, y: PAD / 2, down: false, keys: false };

  function show() {
    for (let i = 0; i < shown.data.length; i++) shown.data[i] = i % 4 === 3 ? 255 : pad.data[i >> 2];
    context.putImageData(shown, 0, 0);
    if (!pen.keys) return;
    context.beginPath();
    context.arc(pen.x, pen.y, PEN, 0, 2 * Math.PI);
    context.strokeStyle = pen.down ? "#ffa23e" : "#8fa3bf";
    context.lineWidth = 2;
    context.stroke();
  }

  /* Ink along the way from where the pen is to (x, y), with an edge that is one pixel soft. */
  function inkTo(x, y) {
    if (pad.stale) pad.data.fill(0); // the first stroke over a picture that is no drawing begins a new one
    pad.stale = false;
    const [dx, dy] = [x - pen.x, y - pen.y];
    const length = dx * dx + dy * dy;
    const inside = (v) => Math.min(Math.max(Math.round(v), 0), PAD - 1);
    const [top, bottom] = [inside(Math.min(y, pen.y) - PEN - 1), inside(Math.max(y, pen.y) + PEN + 1)];
    const [left, right] = [inside(Math.min(x, pen.x) - PEN - 1), inside(Math.max(x, pen.x) + PEN + 1)];
    for (let i = top; i <= bottom; i++) {
      for (let j = left; j <= right; j++) {
        const along = length ? ((j - pen.x) * dx + (i - pen.y) * dy) / length : 0;
        const share = Math.min(Math.max(along, 0), 1);
        const distance = Math.hypot(j - pen.x - share * dx, i - pen.y - share * dy);
        const ink = Math.round(255 * Math.min(Math.max(PEN + 0.5 - distance, 0), 1));
        pad.data[i * PAD + j] = Math.max(pad.data[i * PAD + j], ink);
      }
    }
    [pen.x, pen.y] = [x, y];
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) * PAD) / box.width, ((event.clientY - box.top) * PAD) / box.height];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    Object.assign(pen, { down: true, keys: false });
    [pen.x, pen.y] = place(event);
    inkTo(pen.x, pen.y);
    show();
    changed(false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.isPrimary || !pen.down || pen.keys) return;
    const steps = event.getCoalescedEvents?.() ?? [];
    for (const each of steps.length ? steps : [event]) inkTo(...place(each));
    show();
    changed(false);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, (event) => {
      if (!event.isPrimary || !pen.down || pen.keys) return;
      pen.down = false;
      changed(true);
    });
  }

  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const move = moves[event.key];
    if (!move && event.key !== " ") return;
    event.preventDefault();
    pen.keys = true;
    if (!move) pen.down = !pen.down;
    const within = (v) => Math.min(Math.max(v, PEN), PAD - PEN);
    const [x, y] = (move ?? [0, 0]).map((d, axis) => within([pen.x, pen.y][axis] + d * KEY_STEP));
    if (pen.down) inkTo(x, y);
    else [pen.x, pen.y] = [x, y];
    show();
    if (pen.down) changed(false);
    else if (!move) changed(true);
  });
  canvas.addEventListener("blur", () => {
    Object.assign(pen, { down: false, keys: false });
    show();
  });

  /* Another picture of side * side bytes takes the place of the ink. Its `stale` ones vanish under the next stroke. */
  pad.load = (pixels, side, stale) => {
    const scaled = (v) => Math.floor((v * side) / PAD);
    pad.data = pad.data.map((_, i) => pixels[scaled(Math.floor(i / PAD)) * side + scaled(i % PAD)]);
    pad.stale = stale;
    show();
  };
  pad.clear = () => pad.load([0], 1, false);
  pad.clear();
  return pad;
}
