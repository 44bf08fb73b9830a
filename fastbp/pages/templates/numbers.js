"use strict";
/* Numbers out of texts: arrays stand in the page as bytes in base64. */

/* {type, base64} -> numbers; the bytes are little-endian, whatever this machine's are. A plain number stays one. */
function decodeNumbers(stored) {
  if (typeof stored === "number") return stored;
  if (stored.type === "uint8") return decodeBytes(stored.base64);
  const view = new DataView(decodeBytes(stored.base64).buffer);
  return stored.type === "float32"
    ? Float32Array.from({ length: view.byteLength / 4 }, (_, i) => view.getFloat32(4 * i, true))
    : Float64Array.from({ length: view.byteLength / 8 }, (_, i) => view.getFloat64(8 * i, true));
}

function decodeBytes(base64) {
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}
