"use strict";
/* The mistakes that the page keeps, the surest first: pictures, or lines of a table. Those of one cell of the confusion
   matrix, or all of them. A picture that is chosen goes through the network, where the page has one. */

const AT_ONCE = window.innerWidth > 640 ? 30 : 12;

/* open(sample): called with a picture that was chosen; null where there is nothing to open it in. Returns the samples,
   and `show`, which shows the mistakes of a cell {truth, answered, count}, or with null all of them. */
function openMistakes(answers, open) {
  const { classNames, mistakes, percent, split, wrong } = answers;
  const samples = mistakes.rows.map((row, i) => ({
    row,
    truth: mistakes.truth[i],
    answered: mistakes.answered[i],
    output: mistakes.outputs[i],
    trueOutput: mistakes.trueOutputs[i],
    values: mistakes.values?.[i],
  }));
  const sure = (v) => (percent ? format("share", v) : format("number", v));
  if (mistakes.pixels) addPictures(samples, mistakes, (sample) => aboutOf(sample));
  const pictures = mistakes.pixels !== undefined;
  const long = longest(classNames) > 3; // such names stand below each other
  let shown = [];
  let limit = AT_ONCE;

  function aboutOf({ row, truth, answered }) {
    const of = (k) => `\u201c${classNames[k]}\u201d`;
    const sample = `${split[0].toUpperCase()}${split.slice(1)} sample ${format("count", row)}`;
    return `${sample} is ${of(truth)} and was taken for ${of(answered)}.`;
  }

  function show(chosen) {
    const all = chosen === null;
    limit = AT_ONCE;
    const belongs = ({ truth, answered }) => all || (truth === chosen.truth && answered === chosen.answered);
    shown = samples.filter(belongs);
    byId("every").hidden = all;
    byId("mistakes-title").textContent = all
      ? "The surest mistakes"
      : `${classNames[chosen.truth]} taken for ${classNames[chosen.answered]}`;
    byId("mistakes-hint").textContent = all ? hintOfAll() : hintOf(chosen);
    draw();
  }

  function hintOfAll() {
    if (wrong === 0) return "There are none.";
    const kept = samples.length < wrong ? `The page keeps ${samples.length} of ${counted(wrong, "mistake")}. ` : "";
    return kept + (pictures && open ? "Choose one to see what the network makes of it." : "");
  }

  function hintOf({ truth, answered, count }) {
    if (truth === answered) return "These are right. Choose a coloured cell.";
    if (count === 0) return "This never happened.";
    if (shown.length === 0) return `${counted(count, "time")}; the page keeps none of them.`;
    return shown.length < count ? `${counted(count, "time")}; the page keeps ${shown.length}.` : counted(count, "time");
  }

  function draw() {
    const part = shown.slice(0, limit);
    byId("gallery").replaceChildren(...(part.length === 0 ? [] : pictures ? [galleryOf(part)] : [tableOf(part)]));
    const left = shown.length - part.length;
    byId("further").hidden = left === 0;
    byId("further").textContent = `${left} more`;
  }

  function galleryOf(part) {
    const list = element("ul", "gallery");
    for (const sample of part) {
      const item = element("li", "");
      const box = element(open ? "button" : "div", "mistake");
      const words = element("span", "words");
      const answered = element("b", "", classNames[sample.answered]);
      words.append(`${classNames[sample.truth]} \u2192${long ? "\n" : " "}`, answered);
      const label = `${aboutOf(sample)} Output ${sure(sample.output)}, of the true class ${sure(sample.trueOutput)}.`;
      const canvas = greyPicture(mistakes.width, mistakes.height, sample.grey);
      box.title = label;
      box.append(canvas, words, element("span", "number", sure(sample.output)));
      if (open) {
        box.type = "button";
        box.setAttribute("aria-label", label);
        box.addEventListener("click", () => open(sample));
      } else {
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", label);
      }
      item.append(box);
      list.append(item);
    }
    return list;
  }

  function tableOf(part) {
    const box = element("div", "wide");
    box.tabIndex = 0;
    box.setAttribute("role", "group");
    box.setAttribute("aria-label", "Table of mistakes");
    const rows = part.map((sample) => [
      format("count", sample.row),
      classNames[sample.truth],
      classNames[sample.answered],
      sure(sample.output),
      sure(sample.trueOutput),
      ...sample.values.map((v) => format("number", v)),
    ]);
    const headers = [`${split} sample`, "true", "answered", "output", "true output", ...mistakes.features];
    box.append(table("Mistakes", headers, rows, [1, 2]));
    if (mistakes.more) box.append(element("p", "hint", `And ${counted(mistakes.more, "feature")} more.`));
    return box;
  }

  byId("further").addEventListener("click", () => {
    const next = limit;
    limit = shown.length;
    draw();
    byId("gallery").querySelectorAll("button")[next]?.focus();
  });
  return { show, samples };
}

/* What each sample looks like: its pixels, and the same in grey from 0 to 255, where pixels are no bytes. */
function addPictures(samples, { pixels, width, height }, aboutOf) {
  const all = decodeNumbers(pixels);
  const bytes = pixels.type === "uint8";
  const low = all.reduce((least, v) => Math.min(least, v), Infinity);
  const high = all.reduce((most, v) => Math.max(most, v), -Infinity);
  samples.forEach((sample, i) => {
    sample.pixels = all.subarray(i * width * height, (i + 1) * width * height);
    sample.grey = bytes ? sample.pixels : Uint8Array.from(sample.pixels, (v) => (255 * (v - low)) / (high - low || 1));
    sample.about = aboutOf(sample);
  });
}
