"use strict";
/* Target values: predicted ones against true ones as points, where the line is what would be right, and the largest
   errors as a table. */

const SCATTER_HEIGHT = 380;

function openScatter(answers) {
  const { outputs, errors, split, n } = answers;
  const [part, box] = [byId("scatter"), byId("points")];
  part.hidden = false;
  const which = part.querySelector("select");
  outputs.forEach(({ name }, j) => which.append(new Option(name, j)));
  byId("which").hidden = outputs.length === 1;
  which.addEventListener("change", draw);
  let width = 0;

  function draw() {
    const { truth, predicted, rmse, mae, r2, name } = outputs[Number(which.value)];
    part.querySelector(".hint").textContent =
      `${counted(n, `${split} sample`)}; root mean square error ${format("number", rmse)}, mean absolute error ` +
      `${format("number", mae)}, coefficient of determination ${format("number", r2)}.` +
      (truth.length < n ? ` ${format("count", truth.length)} of them are drawn.` : "");
    width = Math.max(box.clientWidth, 120);
    const [low, high] = limits([...truth, ...predicted], "number", false);
    const x = scale(low, high, MARGIN.left + 6, width - MARGIN.right - 6);
    const y = scale(low, high, SCATTER_HEIGHT - MARGIN.bottom, MARGIN.top);
    const label = `${name}: predicted against true, ${truth.length} points`;
    const drawing = svg("svg", { viewBox: `0 0 ${width} ${SCATTER_HEIGHT}`, role: "img", "aria-label": label });
    const text = (v) => format("number", v);
    axes(
      drawing,
      width,
      SCATTER_HEIGHT,
      { ticks: ticks(low, high, width / 90), place: x, text },
      { ticks: ticks(low, high, 6), place: y, text },
    );
    drawing.append(svg("line", { class: "right", x1: x(low), y1: y(low), x2: x(high), y2: y(high) }));
    truth.forEach((v, i) => {
      const spot = svg("circle", { class: "point", cx: x(v), cy: y(predicted[i]), r: 3 });
      spot.append(svg("title", {}, `true ${text(v)}, predicted ${text(predicted[i])}`));
      drawing.append(spot);
    });
    drawing.append(svg("text", { class: "tick", x: MARGIN.left + 6, y: 11 }, "predicted"));
    const end = { class: "tick", x: width - MARGIN.right, y: SCATTER_HEIGHT - MARGIN.bottom - 6, "text-anchor": "end" };
    drawing.append(svg("text", end, "true"));
    box.replaceChildren(drawing);
  }

  const many = outputs.length > 1;
  const pairs = outputs.flatMap(({ name }) => [many ? `${name}: true` : "true", "predicted"]);
  const rows = errors.rows.map((row, i) => [
    format("count", row),
    ...outputs.flatMap((_, j) => [format("number", errors.truth[i][j]), format("number", errors.predicted[i][j])]),
    ...errors.values[i].map((v) => format("number", v)),
  ]);
  byId("errors").append(table("The largest errors", [`${split} sample`, ...pairs, ...errors.features], rows));
  if (errors.more) byId("errors").append(element("p", "hint", `And ${counted(errors.more, "feature")} more.`));
  new ResizeObserver(() => box.clientWidth !== width && draw()).observe(box);
  draw();
}
