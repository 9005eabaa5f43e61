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

// Originals that several rows share stand in the page once.
for (const image of document.querySelectorAll("img[data-same]")) {
  image.src = document.querySelector(`img[data-row="${image.dataset.same}"][data-sheet=originals]`).src;
}

// Any two models over each other: tiles cut out of the sheets of the gallery below.
const versus = document.querySelector(".versus");
if (versus) {
  const sets = JSON.parse(document.getElementById("versus").textContent);
  const [set, left, right] = ["set", "left-model", "right-model"].map((name) => versus.querySelector(`.${name}`));
  const tiles = versus.querySelector(".tiles");
  const chosen = () => sets[set.value];

  async function cut(canvas, choice, number) {
    const { tile: [width, height], columns, count, gap } = chosen();
    const sheet = document.querySelector(`img[data-row="${choice.row}"][data-sheet=${choice.sheet}]`);
    const turn = (canvas.turn = (canvas.turn ?? 0) + 1);
    try {
      await sheet.decode();
    } catch {
      return;  // a damaged file
    }
    if (canvas.turn !== turn) return;  // something else was chosen meanwhile
    let [x, y] = [(number % columns) * (width + gap), Math.floor(number / columns) * (height + gap)];
    if (choice.part !== null) {
      [x, y] = [choice.part * (width + gap), sheet.naturalHeight - (count - number) * (height + gap) + gap];
    }
    [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d").drawImage(sheet, x, y, width, height, 0, 0, width, height);
  }

  function show() {
    const number = Number(tiles.querySelector("input:checked").value);
    for (const [side, select] of [["left", left], ["right", right]]) {
      const choice = chosen().choices[select.value];
      const canvas = versus.querySelector(`.${side}-image`);
      canvas.setAttribute("aria-label", `image ${number + 1}, ${choice.label}`);
      versus.querySelector(`.tag.${side}`).textContent = choice.label;
      versus.querySelector(`.${side}-detail`).textContent = choice.detail;
      cut(canvas, choice, number);
    }
  }

  function fill() {
    const { choices, count } = chosen();
    const options = () => choices.map((choice, number) => new Option(choice.label, number));
    left.replaceChildren(...options());
    right.replaceChildren(...options());
    const whole = choices.map((_, number) => number).filter((number) => choices[number].part === null);
    [left.value, right.value] = [whole.length > 2 ? whole[1] : 0, whole[Math.min(2, whole.length - 1)]];
    tiles.replaceChildren(
      ...Array.from({ length: count }, (_, number) => {
        const [label, input, canvas] = ["label", "input", "canvas"].map((tag) => document.createElement(tag));
        Object.assign(input, { type: "radio", name: "versus-image", value: number, checked: number === 0 });
        input.setAttribute("aria-label", `image ${number + 1}`);
        canvas.setAttribute("aria-hidden", "true");
        cut(canvas, choices[0], number);
        label.append(input, canvas);
        return label;
      }),
    );
    show();
  }

  set.addEventListener("change", fill);
  for (const control of [left, right, tiles]) control.addEventListener("change", show);
  fill();
}

// One image against another: the range input is the control; dragging on the image moves it too.
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

// Curves: drawn when they come into view, so that a page with many opens at once, and anew where the page turns dark.
const charts = JSON.parse(document.getElementById("charts").textContent);
const dark = matchMedia("(prefers-color-scheme: dark)");

function look(chosen) {
  const colours = getComputedStyle(document.documentElement);
  const [ink, soft, line, paper] = ["ink", "soft", "line", "paper"].map((name) => colours.getPropertyValue(`--${name}`).trim());
  const { data, layout } = structuredClone(chosen);
  const turned = { "#000000": ink, "#444444": soft };  // black and grey, which nobody sees on a dark page
  for (const trace of dark.matches ? data : []) {
    for (const part of [trace.line, trace.marker]) part.color = turned[part.color] ?? part.color;
  }
  for (const axis of [layout.xaxis, layout.yaxis]) axis.gridcolor = line;
  const common = {
    margin: { l: 10, r: 10, t: 10, b: 10 },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    font: { family: "system-ui, sans-serif", size: 13, color: ink },
    hovermode: "closest",
    paper_bgcolor: paper,
    plot_bgcolor: paper,
  };
  return [data, { ...common, ...layout }];
}

function draw(plot) {
  const select = plot.parentElement.querySelector(".metric");
  const chosen = charts[plot.dataset.chart].options[select.value];
  const settings = {
    responsive: true,
    displaylogo: false,
    displayModeBar: matchMedia("(hover: none)").matches ? false : "hover",
    modeBarButtonsToRemove: ["select2d", "lasso2d"],
  };
  return Plotly.react(plot, ...look(chosen), settings);
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
dark.addEventListener("change", () => document.querySelectorAll(".plot.js-plotly-plot").forEach(draw));
