"use strict";
/* Numbers as people read them, and tables of them. */

const FORMATS = {
  share: (v) => `${(100 * v).toFixed(2)}\u00a0%`,
  number: (v) => (v !== 0 && (Math.abs(v) < 1e-3 || Math.abs(v) >= 1e6) ? v.toExponential(2) : digits(v, 4)),
  count: (v) => Math.round(v).toLocaleString("en-US"),
};

/* null and undefined are what was not measured. */
function format(kind, value) {
  return value === null || value === undefined ? "-" : FORMATS[kind](value);
}

/* With so many digits that mean something, and no zeros that mean nothing behind them. */
function digits(v, n) {
  return String(Number(v.toPrecision(n)));
}

/* "1 sample", "2 samples". */
function counted(n, word) {
  return `${format("count", n)} ${word}${n === 1 ? "" : "s"}`;
}

/* headers: texts; rows: lists of texts, the first of which is the row's name. Numbers stand to the right. */
function table(caption, headers, rows, texts = []) {
  const made = element("table", "grid");
  made.append(element("caption", "spoken", caption));
  const head = made.createTHead().insertRow();
  headers.forEach((text, column) => head.append(cell("th", text, texts.includes(column), "col")));
  const body = made.createTBody();
  for (const row of rows) {
    const line = body.insertRow();
    row.forEach((text, column) =>
      line.append(cell(column ? "td" : "th", text, texts.includes(column), column ? "" : "row")),
    );
  }
  return made;
}

function cell(tag, text, left, scope) {
  const made = element(tag, left ? "text" : "number", text);
  if (scope) made.scope = scope;
  return made;
}
