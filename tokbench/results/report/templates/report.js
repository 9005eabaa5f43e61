"use strict";

// Tables: sort by a column, filter by text and quantizer, show or hide prefixes of residual codes.
for (const box of document.querySelectorAll(".comparison")) {
  const body = box.querySelector("tbody");
  const rows = [...body.rows];
  const filter = box.querySelector(".filter");
  const quantizer = box.querySelector(".quantizer");
  const prefixes = box.querySelector(".prefixes");
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  function show() {
    const wanted = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    let count = 0;
    for (const row of rows) {
      const isPrefix = row.classList.contains("prefix");
      const matches = wanted.every((word) => words.get(row).includes(word));
      const chosen = !quantizer.value || row.dataset.quantizer === quantizer.value;
      row.hidden = !(matches && chosen && (!isPrefix || (prefixes && prefixes.checked)));
      if (!row.hidden) count += 1;
    }
    box.querySelector(".count").textContent = `${count} row${count === 1 ? "" : "s"}`;
  }

  // Numbers before text before what is missing, whichever way the column runs.
  function rank(text) {
    if (text === "") return [2, 0];
    const number = Number(text);
    return Number.isNaN(number) ? [1, text.toLowerCase()] : [0, number];
  }

  box.querySelectorAll("th button").forEach((button, index) => {
    button.addEventListener("click", () => {
      const head = button.parentElement;
      const before = head.getAttribute("aria-sort");
      const first = button.dataset.direction === "higher" ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = before === first ? other : first;
      box.querySelectorAll("th").forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const keyed = rows.map((row, place) => [rank(row.cells[index].dataset.value), place, row]);
      keyed.sort(([a, i], [b, j]) => {
        if (a[0] !== b[0]) return a[0] - b[0];
        if (a[1] < b[1]) return -sign;
        if (a[1] > b[1]) return sign;
        return i - j;
      });
      body.append(...keyed.map((each) => each[2]));
    });
  });
  for (const control of [filter, quantizer, prefixes]) {
    if (control) control.addEventListener(control === filter ? "input" : "change", show);
  }
  show();
}

// Original against reconstruction: the range input is the control; dragging on the image moves it too.
for (const slider of document.querySelectorAll(".slider")) {
  const pair = slider.querySelector(".pair");
  const range = slider.querySelector("input");
  const move = () => pair.style.setProperty("--at", `${range.value}%`);
  range.addEventListener("input", move);
  const drag = (event) => {
    if (event.type === "pointermove" && event.buttons === 0) return;
    const frame = pair.getBoundingClientRect();
    range.value = Math.round((100 * (event.clientX - frame.left)) / frame.width);
    move();
  };
  pair.addEventListener("pointerdown", drag);
  pair.addEventListener("pointermove", drag);
  move();
}

// Curves: drawn when they come into view, so that a page with many opens at once.
const charts = JSON.parse(document.getElementById("charts").textContent);
const common = {
  margin: { l: 10, r: 10, t: 10, b: 10 },
  legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
  font: { family: "system-ui, sans-serif", size: 13, color: "#1b1f24" },
  hovermode: "closest",
  paper_bgcolor: "#fff",
  plot_bgcolor: "#fff",
};

function draw(plot) {
  const select = plot.parentElement.querySelector(".metric");
  const chosen = charts[plot.dataset.chart].options[select.value];
  const settings = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d"],
  };
  return Plotly.react(plot, chosen.data, { ...common, ...chosen.layout }, settings);
}

const seen = new IntersectionObserver(
  (entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      seen.unobserve(entry.target);
      draw(entry.target);
    }
  },
  { rootMargin: "300px" },
);
for (const plot of document.querySelectorAll(".plot")) {
  plot.parentElement.querySelector(".metric").addEventListener("change", () => draw(plot));
  seen.observe(plot);
}
