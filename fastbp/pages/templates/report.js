"use strict";
/* The report of a run: what stands in the page as data goes to the parts that show it. */

const run = JSON.parse(byId("run").textContent);

byId("note").textContent = run.note;
byId("note").hidden = run.note === "";
for (const { name, value, kind } of run.tiles) {
  const tile = element("li", "card");
  tile.append(element("b", "number", format(kind, value)), element("span", "", name));
  byId("tiles").append(tile);
}
for (const [name, text] of run.facts) {
  const pair = element("div", "");
  pair.append(element("dt", "", name), element("dd", "", text));
  byId("run-facts").append(pair);
}
openCurves(run.curves);
if (run.answers) run.answers.outputs ? openScatter(run.answers) : openAnswers(run.answers);
openSettings(run.settings);
byId("command").textContent = run.command;
for (const part of document.querySelectorAll("main section[id]:not([hidden]), #judged:not([hidden]) section")) {
  if (!part.offsetParent || part.closest(".drawing") || document.querySelector(`nav a[href="#${part.id}"]`)) continue;
  const link = element("a", "", part.querySelector("h2").textContent);
  link.href = `#${part.id}`;
  byId("parts").append(link);
}

/* Matrix and mistakes: what is chosen in the one is shown by the other. */
function openAnswers(answers) {
  byId("judged").hidden = false;
  byId("judged").classList.toggle("stacked", !answers.mistakes.pixels);
  const gallery = openMistakes(answers, byId("inside") ? seeInside : null);
  const mark = openConfusion(answers, choose);
  let chosen = null;

  function choose(cell) {
    const same = cell && chosen && cell.truth === chosen.truth && cell.answered === chosen.answered;
    chosen = same ? null : cell;
    mark(chosen);
    gallery.show(chosen);
    if (chosen && !isSeen(byId("mistakes-title"))) byId("mistakes").scrollIntoView({ block: "start" });
  }

  byId("every").addEventListener("click", () => {
    choose(null);
    byId("mistakes-title").focus();
  });
  gallery.show(null);
  if (byId("inside") && gallery.samples.length) take(gallery.samples[0], false);
}

function isSeen(part) {
  const { top, bottom } = part.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight * 0.8;
}

/* A mistake goes into the pad and through the network, as a drawing would. */
function seeInside(sample) {
  take(sample, true);
  byId("inside").scrollIntoView({ block: "start" });
  byId("inside-title").focus({ preventScroll: true });
}

function openSettings(settings) {
  const made = element("table", "grid settings");
  made.append(element("caption", "spoken", "Settings"));
  const head = made.createTHead().insertRow();
  head.append(...["Setting", "Value", "Default", "Meaning"].map((text) => cell("th", text, true, "col")));
  const body = made.createTBody();
  for (const { name, value, standard, changed, about } of settings) {
    const row = body.insertRow();
    row.className = changed ? "changed" : "";
    const said = element("td", "text", value || "-");
    if (changed) said.append(element("span", "tag", "changed"));
    row.append(cell("th", name, true, "row"), said);
    row.append(cell("td", standard || "-", true), cell("td", about, true));
  }
  byId("setting-list").append(made);
  byId("changed").addEventListener("click", () => {
    const only = made.classList.toggle("only-changed");
    byId("changed").setAttribute("aria-pressed", only);
  });
}
