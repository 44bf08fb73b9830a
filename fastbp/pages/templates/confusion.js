"use strict";
/* The confusion matrix: a row for each true class, a column for each answer. The diagonal is what was right; it stays
   grey, and the colour is for the mistakes. A cell that is chosen, in the matrix or in the list, shows its mistakes. */

const MOST_LETTERED = 30; // classes whose cells are large enough for numbers
const MOST_NAMED = 12; // confusions in the list

/* choose(cell): called with {truth, answered, count}, or null for all mistakes. Returns what marks a choice. */
function openConfusion(answers, choose) {
  const { classNames, totals, right, wrong, n, split } = answers;
  const cells = Array.from({ length: answers.cells.length / 3 }, (_, i) => {
    const [truth, answered, count] = answers.cells.slice(3 * i, 3 * i + 3);
    return { truth, answered, count };
  });
  const most = Math.max(...cells.map(({ count }) => count), 1);
  const share = format("share", n ? (n - wrong) / n : 0);
  byId("confusion-hint").textContent =
    `${format("count", n - wrong)} of ${counted(n, `${split} sample`)} are answered rightly, ${share}. ` +
    (answers.matrix ? "Rows: the true class. Columns: the answer." : "");
  const buttons = cells.slice(0, MOST_NAMED).map((found) => {
    const button = element("button", "");
    button.type = "button";
    button.append(element("span", "", `${nameOf(found)}`), element("b", "number", format("count", found.count)));
    button.addEventListener("click", () => choose(found));
    const item = element("li", "");
    item.append(button);
    byId("frequent").append(item);
    return { found, element: button };
  });
  byId("frequent-title").hidden = cells.length === 0;
  const places = answers.matrix ? [...buttons, ...matrix()] : buttons;

  function nameOf({ truth, answered }) {
    return `${classNames[truth]} taken for ${classNames[answered]}`;
  }

  function describe({ truth, answered, count }) {
    const of = `${format("count", count)} of ${format("count", totals[truth])}`;
    return truth === answered
      ? `${classNames[truth]} taken for what it is: ${of}`
      : `${nameOf({ truth, answered })}: ${of}`;
  }

  function matrix() {
    const size = classNames.length;
    const lettered = size <= MOST_LETTERED;
    const made = element("table", `confusion ${lettered ? "lettered" : "dense"}`);
    made.classList.toggle("named", longest(classNames) > 3);
    made.classList.toggle("tilted", longest(classNames) > 3 && size > 5);
    made.style.setProperty("--classes", size);
    if (!lettered) byId("cell").textContent = "Point at a cell, or go through them with the arrow keys.";
    made.setAttribute("role", "grid");
    made.setAttribute("aria-label", "Confusion matrix: rows are true classes, columns are answers");
    const head = made.createTHead().insertRow();
    head.append(element("td", ""), ...classNames.map((name) => cell("th", name, false, "col")));
    if (lettered) head.append(cell("th", "right", false, "col"));
    const body = made.createTBody();
    const grid = classNames.map((name, truth) => {
      const row = body.insertRow();
      row.append(cell("th", name, false, "row"));
      const line = classNames.map((_, answered) => {
        const count = truth === answered ? right[truth] : 0;
        const place = { found: { truth, answered, count }, element: row.insertCell() };
        place.element.tabIndex = -1;
        if (truth === answered) place.element.className = "diagonal";
        return place;
      });
      if (lettered) row.append(cell("td", totals[truth] ? format("share", right[truth] / totals[truth]) : "-", false));
      return line;
    });
    for (const found of cells) grid[found.truth][found.answered].found = found;
    for (const { element: place, found } of grid.flat()) {
      place.textContent = found.count || "";
      if (found.truth !== found.answered && found.count) {
        place.style.setProperty("--share", (found.count / most) ** 0.5);
        place.classList.add("off");
      }
    }
    listen(made, grid);
    byId("matrix").append(made);
    return grid.flat();
  }

  /* One cell of the grid is where Tab stops, and arrow keys go on from there. */
  function listen(made, grid) {
    const start = cells[0] ?? { truth: 0, answered: 0 };
    let here = [start.truth, start.answered];
    const at = ([row, column]) => grid[row][column];
    at(here).element.tabIndex = 0;
    const placeOf = (target) => {
      const found = target.closest("td");
      const [row, column] = [found?.parentElement.sectionRowIndex ?? -1, (found?.cellIndex ?? 0) - 1];
      return found?.closest("tbody") && grid[row]?.[column] ? [row, column] : null;
    };
    const tell = (place) => {
      byId("cell").textContent = describe(at(place).found);
    };
    const go = (place) => {
      at(here).element.tabIndex = -1;
      here = place;
      at(here).element.tabIndex = 0;
    };
    made.addEventListener("focusin", (event) => {
      const place = placeOf(event.target);
      if (!place) return;
      go(place);
      tell(place);
    });
    made.addEventListener("pointerover", (event) => placeOf(event.target) && tell(placeOf(event.target)));
    made.addEventListener("click", (event) => {
      const place = placeOf(event.target);
      if (place) choose(at(place).found);
    });
    made.addEventListener("keydown", (event) => {
      const last = grid.length - 1;
      const [row, column] = here;
      const to = {
        ArrowUp: [row - 1, column], ArrowDown: [row + 1, column], ArrowLeft: [row, column - 1],
        ArrowRight: [row, column + 1], Home: [row, 0], End: [row, last], PageUp: [0, column], PageDown: [last, column],
      }[event.key]; // prettier-ignore
      if (event.key === "Enter" || event.key === " ") choose(at(here).found);
      else if (event.key === "Escape") choose(null);
      else if (!to) return;
      event.preventDefault();
      if (to) at(to.map((v) => Math.min(Math.max(v, 0), last))).element.focus();
    });
  }

  return (chosen) => {
    for (const { found, element: place } of places) {
      const same = chosen !== null && found.truth === chosen.truth && found.answered === chosen.answered;
      place.classList.toggle("chosen", same);
      place.setAttribute(place.tagName === "TD" ? "aria-selected" : "aria-pressed", same);
    }
    if (chosen) byId("cell").textContent = describe(chosen);
  };
}
