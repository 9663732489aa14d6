"use strict";
// What moves on a page of runs: samples behind a slider, and curves that tell their values. The data are in #data.
const data = JSON.parse(document.getElementById("data").textContent);
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const number = (x) => x === null || x === undefined ? "-" : Math.abs(x) >= 1e5 ? x.toLocaleString("en") : String(+x.toPrecision(4));
const make = (tag, attributes, ...children) => {
  const element = Object.assign(document.createElement(tag), attributes);
  element.append(...children);
  return element;
};

// -- samples: the frame of each run is the last at or before the step of the slider

const steps = [...new Set(data.runs.flatMap((run) => Object.values(run.frames).flat().map((frame) => frame.step)))].sort((a, b) => a - b);
let chosen = steps.length - 1;
const members = data.runs.map((run) => Object.keys(run.frames)[0]);
const charts = [];

function element(file, step) {
  if (file.kind === "img") return make("img", {src: file.src, alt: `samples at step ${step}`});
  if (file.kind === "audio") return make("audio", {src: file.src, controls: true});
  if (file.kind === "text") return make("pre", {textContent: file.src});
  return make("p", {className: "soft", textContent: `too large for this page: ${file.src}`});
}

function show() {
  data.runs.forEach((run, i) => {
    const place = document.getElementById(`samples${i}`);
    if (!place) return;
    const frames = run.frames[members[i]].filter((frame) => frame.step <= steps[chosen]);
    const frame = frames[frames.length - 1] || run.frames[members[i]][0];
    if (!frame) return place.replaceChildren();
    place.replaceChildren(...frame.files.map((file) => element(file, frame.step)),
      make("figcaption", {textContent: `${members[i] ? members[i] + ", " : ""}step ${frame.step.toLocaleString("en")}`}));
  });
  const output = document.querySelector(".slider output");
  if (output) output.value = `step ${steps[chosen].toLocaleString("en")}`;
  for (const chart of charts) chart.redraw(false);
}

function slider() {
  const bar = document.getElementById("slider");
  if (!bar || steps.length < 2) return;
  const range = make("input", {type: "range", min: 0, max: steps.length - 1, value: chosen});
  range.setAttribute("aria-label", "step of the samples");
  range.oninput = () => { chosen = +range.value; show(); };
  let timer = 0;
  const play = make("button", {type: "button", textContent: "▶"});
  play.setAttribute("aria-label", "play");
  const stop = () => { clearInterval(timer); timer = 0; play.textContent = "▶"; };
  play.onclick = () => {
    if (timer) return stop();
    if (chosen === steps.length - 1) chosen = -1;
    play.textContent = "❚❚";
    timer = setInterval(() => {
      chosen += 1; range.value = chosen; show();
      if (chosen >= steps.length - 1) stop();
    }, Math.max(120, Math.min(700, 8000 / steps.length)));
  };
  bar.append(play, range, make("output", {}));
  data.runs.forEach((run, i) => {
    const names = Object.keys(run.frames);
    if (names.length < 2) return;
    const select = make("select", {}, ...names.map((name) => make("option", {textContent: name})));
    select.setAttribute("aria-label", `member of ${run.name}`);
    select.onchange = () => { members[i] = select.value; show(); };
    bar.append(select);
  });
}

// -- curves

// A tenth of room above and below, floors included; a constant is in the middle.
const range = (floors) => (_, least, most) => {
  if (least === null) return [0, 1];
  const low = Math.min(least, ...floors), high = Math.max(most, ...floors);
  return low === high ? [low - (Math.abs(low) / 10 || 1), high + (Math.abs(high) / 10 || 1)] : [low - (high - low) / 10, high + (high - low) / 10];
};

function chart(place, curve) {
  const x = [...new Set(curve.lines.flatMap((line) => line.x))].sort((a, b) => a - b);
  const at = new Map(x.map((step, i) => [step, i]));
  const column = (line, values) => { const full = Array(x.length).fill(null); line.x.forEach((step, i) => { full[at.get(step)] = values[i]; }); return full; };
  const columns = [x], series = [{}], bands = [];
  curve.lines.forEach((line) => {
    const stroke = colour(`--c${line.hue % 6}`);
    if (line.std) {
      columns.push(column(line, line.y.map((y, i) => y + line.std[i])), column(line, line.y.map((y, i) => y - line.std[i])));
      series.push({stroke: "transparent", points: {show: false}, spanGaps: true}, {stroke: "transparent", points: {show: false}, spanGaps: true});
      bands.push({series: [columns.length - 2, columns.length - 1], fill: stroke + "33"});
    }
    columns.push(column(line, line.y));
    series.push({stroke, width: 1.6, spanGaps: true});
  });
  const read = make("div", {className: "read"});
  const tell = (index) => {
    const parts = curve.lines.map((line) => {
      const i = index === null ? line.x.length - 1 : line.x.findLastIndex((step) => step <= x[index]);
      const value = i < 0 ? "-" : number(line.y[i]) + (line.std ? ` ± ${+line.std[i].toPrecision(2)}` : "");
      const floor = line.floor === null ? "" : ` (floor ${number(line.floor)})`;
      return make("span", {className: `hue${line.hue % 6}`, textContent: `${line.name} ${value}${floor}`});
    });
    const step = index === null ? x[x.length - 1] : x[index];
    const near = index === null ? [] : curve.events.filter((event) => event.from <= step && step <= event.to);
    read.replaceChildren(make("span", {textContent: `step ${step.toLocaleString("en")}`}), ...parts.flatMap((part) => [" ", part]),
      ...near.map((event) => make("div", {className: "warn", textContent: event.text})));
  };
  const axis = () => ({stroke: colour("--soft"), grid: {stroke: colour("--line"), width: 1}, ticks: {stroke: colour("--line"), width: 1}, font: "11px system-ui,sans-serif"});
  const marks = (u) => {
    const {left, top, width, height} = u.bbox, context = u.ctx;
    context.save();
    for (const line of curve.lines.filter((one) => one.floor !== null)) {
      const y = u.valToPos(line.floor, "y", true);
      context.strokeStyle = colour(`--c${line.hue % 6}`);
      context.setLineDash([5 * devicePixelRatio, 4 * devicePixelRatio]);
      context.beginPath(); context.moveTo(left, y); context.lineTo(left + width, y); context.stroke();
    }
    context.fillStyle = colour("--warn");
    for (const event of curve.events) {
      const from = Math.max(left, u.valToPos(event.from, "x", true)), to = Math.min(left + width, u.valToPos(event.to, "x", true));
      if (to >= left && from <= left + width) context.fillRect(from - 2, top + height - 4 * devicePixelRatio, Math.max(5, to - from + 4), 4 * devicePixelRatio);
    }
    if (steps.length > 1 && x.length > 1) {
      const now = u.valToPos(steps[chosen], "x", true);
      if (now >= left && now <= left + width) { context.fillStyle = colour("--soft"); context.fillRect(now, top, 1, height); }
    }
    context.restore();
  };
  const options = {
    width: Math.max(200, place.clientWidth), height: 190, legend: {show: false}, scales: {
      x: {time: false, ...(x.length === 1 ? {range: [0, x[0] || 1]} : {})},
      y: {range: range(curve.lines.map((line) => line.floor).filter((floor) => floor !== null))},
    },
    series, bands, cursor: {sync: {key: "step"}, y: false},
    axes: [{...axis(), values: (_, ticks) => ticks.map((step) => step >= 1e4 ? `${step / 1e3}k` : `${step}`)}, {...axis(), size: 58, values: (_, ticks) => ticks.map(number)}],
    hooks: {setCursor: [(u) => tell(u.cursor.left >= 0 ? u.cursor.idx : null)], draw: [marks]},
  };
  const plot = new uPlot(options, columns, place);
  place.append(read);
  tell(null);
  charts.push(plot);
}

// Draws the curves that can be seen and are not there yet.
function draw() {
  data.curves.forEach((curve, i) => {
    const place = document.getElementById(`curve${i}`);
    if (!place.firstChild && !place.closest("details:not([open])")) chart(place, curve);
  });
}

function redraw() {
  for (const plot of charts.splice(0)) plot.destroy();
  data.curves.forEach((_, i) => document.getElementById(`curve${i}`).replaceChildren());
  draw();
}

slider();
draw();
if (steps.length) show();
let waiting = 0;
addEventListener("resize", () => { clearTimeout(waiting); waiting = setTimeout(redraw, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
for (const folded of document.querySelectorAll("details.curvebox")) folded.addEventListener("toggle", draw);
