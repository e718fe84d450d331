// A chart of curves with axes, the nearest point under the pointer or the arrow keys, in plain SVG.

const MARGIN = { left: 62, right: 14, top: 12, bottom: 44 };
const REACH = 40; // pixels to the nearest point

function svg(tag, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function steps(low, high, count) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => s >= rough * 0.999);
  const ticks = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) ticks.push(k * step);
  const digits = Math.min(Math.max(0, -Math.floor(Math.log10(step) + 1e-9) + (step / power === 2.5 ? 1 : 0)), 12);
  return ticks.map((at) => ({ at, text: fixed(at, digits) }));
}

// Doublings around 0.1 bits per pixel, as in the figures.
function doublings(low, high) {
  const first = Math.ceil(Math.log2(low / 0.1)), last = Math.floor(Math.log2(high / 0.1));
  const skip = Math.ceil((last - first + 1) / 9);
  const ticks = [];
  for (let k = first; k <= last; k += skip) ticks.push(0.1 * 2 ** k);
  return ticks.map((at) => ({ at, text: String(Number(at.toPrecision(4))) }));
}

// Changes in percent on an axis on which halving is as far from zero as doubling.
const RATIOS = [-99, -95, -90, -75, -50, -25, 0, 33, 100, 300, 900, 4900];
function changes(low, high) {
  const [from, to] = [low, high].map((ratio) => 100 * (ratio - 1));
  const ticks = to - from > 100
    ? RATIOS.filter((p) => p >= from && p <= to).map((at) => ({ at, text: fixed(at, 0) }))
    : steps(from, to, 6);
  return ticks.map(({ at, text }) => ({ at: 1 + at / 100, text: (at > 0 ? "+" : "") + text }));
}

// axis: {low, high, label, log, ticks: (low, high) → [{at, text}]} → a value's place in pixels.
function scale(axis, from, to) {
  const warp = axis.log ? Math.log : (v) => v;
  const low = warp(axis.low), high = warp(axis.high);
  return (value) => from + (to - from) * (warp(value) - low) / (high - low);
}

function path(points, close = false) {
  const at = points.map(([x, y]) => `${x.toFixed(2)} ${y.toFixed(2)}`);
  return at.length ? `M${at.join("L")}${close ? "Z" : ""}` : "";
}

// Draws axes into `box`; `draw(layer, sx, sy)` draws inside them and returns what can be pointed
// at: [{x, y, series, lines}], x and y in pixels, lines of text.
function chart(box, { label, x, y, height, draw }) {
  const width = Math.max(box.clientWidth, 240);
  const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
  const sx = scale(x, MARGIN.left, right), sy = scale(y, bottom, MARGIN.top);
  const drawing = svg("svg", {
    viewBox: `0 0 ${width} ${height}`, height, tabindex: 0, role: "application",
    "aria-label": `${label}. The arrow keys go from point to point.`,
  });
  for (const { at, text } of y.ticks(y.low, y.high)) {
    drawing.append(
      svg("line", { class: "grid", x1: MARGIN.left, x2: right, y1: sy(at), y2: sy(at) }),
      svg("text", { x: MARGIN.left - 8, y: sy(at) + 4, "text-anchor": "end" }, text));
  }
  let taken = -Infinity;
  for (const { at, text } of x.ticks(x.low, x.high)) {
    drawing.append(svg("line", { class: "grid", y1: MARGIN.top, y2: bottom, x1: sx(at), x2: sx(at) }));
    if (sx(at) - taken < 7 * text.length + 8) continue;
    taken = sx(at);
    drawing.append(svg("text", { x: sx(at), y: bottom + 18, "text-anchor": "middle" }, text));
  }
  const middle = (MARGIN.top + bottom) / 2;
  drawing.append(
    svg("text", { class: "axis", x: (MARGIN.left + right) / 2, y: height - 6, "text-anchor": "middle" }, x.label),
    svg("text", { class: "axis", x: 0, y: 0, "text-anchor": "middle", transform: `translate(14 ${middle}) rotate(-90)` }, y.label));
  // An inner picture cuts off what lies outside of the axes.
  const layer = svg("svg", {
    x: MARGIN.left, y: MARGIN.top, width: right - MARGIN.left, height: bottom - MARGIN.top,
    viewBox: `${MARGIN.left} ${MARGIN.top} ${right - MARGIN.left} ${bottom - MARGIN.top}`,
  });
  drawing.append(layer);
  const marks = draw(layer, sx, sy, right);
  const tip = element("div", { class: "tip", role: "status", hidden: "" });
  box.replaceChildren(drawing, tip);
  pointing(box, drawing, tip, marks, width);
}

function pointing(box, drawing, tip, marks, width) {
  const ring = svg("circle", { class: "ring", r: 7, visibility: "hidden" });
  drawing.append(ring);
  let current = null;

  function show(mark) {
    current = mark;
    tip.hidden = mark === null;
    ring.setAttribute("visibility", mark ? "visible" : "hidden");
    if (!mark) return;
    ring.setAttribute("cx", mark.x);
    ring.setAttribute("cy", mark.y);
    tip.replaceChildren(...mark.lines.map((line) => element("div", {}, line)));
    const left = mark.x > width / 2 ? mark.x - tip.offsetWidth - 14 : mark.x + 14;
    tip.style.left = `${Math.max(0, left)}px`;
    tip.style.top = `${Math.max(0, mark.y - tip.offsetHeight / 2)}px`;
  }

  drawing.addEventListener("pointermove", (event) => {
    const at = drawing.getBoundingClientRect();
    const distance = (m) => Math.hypot(m.x - event.clientX + at.left, m.y - event.clientY + at.top);
    const near = marks.reduce((best, m) => (best && distance(best) <= distance(m) ? best : m), null);
    show(near && distance(near) < REACH ? near : null);
  });
  drawing.addEventListener("pointerleave", () => show(null));
  drawing.addEventListener("blur", () => show(null));
  drawing.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (event.key === "Escape") show(null);
    if (!step || !marks.length) return;
    event.preventDefault();
    if (!current) show(marks[0]);
    else if (event.key === "ArrowRight" || event.key === "ArrowLeft") along(step);
    else across(step);
  });

  function along(step) {
    const own = marks.filter((m) => m.series === current.series);
    show(own[(own.indexOf(current) + step + own.length) % own.length]);
  }

  function across(step) {
    const all = [...new Set(marks.map((m) => m.series))];
    const next = all[(all.indexOf(current.series) + step + all.length) % all.length];
    const gap = (m) => Math.abs(m.x - current.x);
    show(marks.filter((m) => m.series === next).reduce((a, b) => (gap(b) < gap(a) ? b : a)));
  }
}
