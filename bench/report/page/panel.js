// The panel of curves: what is chosen, its legend, and the two charts.

const COLOURED = 8; // methods; with more, only those that matter have a colour
const HUES = 7;
const DASHES = ["none", "7 3", "2 3"];
const byId = (id) => document.getElementById(id);

function chosen() {
  const wanted = ["dataset", "model", "metric"].map((key) => state.get(key));
  const fits = (panel) => ["dataset", "model", "metric"].filter((key, i) => panel[key] === wanted[i]);
  return content.panels.find((panel) => fits(panel).length === 3)
    ?? content.panels.find((panel) => fits(panel).includes("dataset") && fits(panel).includes("model"))
    ?? content.panels[0];
}

const methodName = (own) => content.methods[own.method];
const hidden = (own) => state.getAll("hide").includes(methodName(own));

// The hue and dashes of a method are the same in all panels.
function look(panel, own) {
  const order = content.methods.filter((m) => m !== content.methods[panel.anchor]);
  const place = own.method === panel.anchor ? -1 : order.indexOf(methodName(own));
  const coloured = content.methods.length <= COLOURED || place < 0
    || panel.front.includes(own.method) || state.getAll("pin").includes(methodName(own));
  const hue = place < 0 ? 0 : 1 + (place % HUES);
  return {
    kind: coloured ? `k${hue}` : "grey",
    dashes: place < 0 ? "none" : DASHES[Math.floor(place / HUES) % DASHES.length],
    shape: place < 0 ? 0 : 1 + (place % (SHAPES.length - 1)),
  };
}

const SHAPES = [
  (r) => `M${-r} 0A${r} ${r} 0 1 0 ${r} 0A${r} ${r} 0 1 0 ${-r} 0Z`,
  (r) => `M${-r} ${-r}H${r}V${r}H${-r}Z`,
  (r) => `M0 ${-1.2 * r}L${1.2 * r} ${r}H${-1.2 * r}Z`,
  (r) => `M0 ${-1.4 * r}L${1.4 * r} 0L0 ${1.4 * r}L${-1.4 * r} 0Z`,
  (r) => `M0 ${1.2 * r}L${1.2 * r} ${-r}H${-1.2 * r}Z`,
];

function marker(shape, x, y, kind) {
  return svg("path", { class: `point ${kind}`, d: SHAPES[shape](4), transform: `translate(${x} ${y})` });
}

// --- choosing -------------------------------------------------------------------------------------

function choices() {
  const group = byId("group");
  const seen = new Map(content.panels.map((p) => [JSON.stringify([p.dataset, p.model]), p]));
  group.replaceChildren(...[...seen].map(([value, p]) =>
    element("option", { value }, `${elided(p.model)} on ${elided(p.dataset)}`)));
  group.addEventListener("change", () => {
    const [dataset, model] = JSON.parse(group.value);
    put("dataset", dataset);
    put("model", model);
    redraw();
  });
  byId("metric").addEventListener("change", () => choose("metric", byId("metric").value));
  byId("scale").addEventListener("change", () => choose("scale", byId("scale").value));
  byId("controls").addEventListener("submit", (event) => event.preventDefault());
}

function choose(key, value) {
  const panel = chosen();
  if (key === "metric") ["dataset", "model"].forEach((name) => put(name, panel[name]));
  put(key, value);
  redraw();
}

function redraw() {
  const panel = chosen();
  const metrics = content.panels.filter((p) => p.dataset === panel.dataset && p.model === panel.model);
  byId("group").value = JSON.stringify([panel.dataset, panel.model]);
  byId("metric").replaceChildren(...metrics.map((p) => element("option", { value: p.metric }, p.label)));
  byId("metric").value = panel.metric;
  byId("scale").value = logarithmic(panel) ? "log" : "linear";
  legend(panel);
  draw(panel);
}

function draw(panel) {
  curves(panel);
  savings(panel);
  byId("about").textContent = about(panel);
}

// --- the legend -----------------------------------------------------------------------------------

function legend(panel) {
  const many = content.methods.length > COLOURED;
  const heads = ["Method", "Shade", "Acceptable range", "Whole overlap", ...(many ? ["Pin"] : [])];
  const rows = panel.methods.map((own) => {
    const cells = [methodCell(panel, own), shadeCell(panel, own), rateCell(own.near), rateCell(own.whole)];
    if (many) cells.push(pinCell(panel, own));
    return element("tr", {}, ...cells);
  });
  const head = element("tr", {}, ...heads.map((text) => element("th", { scope: "col" }, text)));
  byId("legend").replaceChildren(element("thead", {}, head), element("tbody", {}, ...rows));
}

function input(type, id, checked, label, change) {
  const made = element("input", { type, id, ...(label && { "aria-label": label }) });
  made.checked = checked;
  made.addEventListener("change", () => {
    change();
    draw(chosen());
  });
  return made;
}

function methodCell(panel, own) {
  const { kind, dashes, shape } = look(panel, own);
  const sample = svg("svg", { width: 26, height: 14, "aria-hidden": "true" },
    svg("path", { class: `curve ${kind}`, d: "M1 7H25", "stroke-dasharray": dashes }),
    marker(shape, 13, 7, kind));
  const box = input("checkbox", `show-${own.method}`, !hidden(own), "", () => toggle("hide", methodName(own)));
  return element("th", { scope: "row" }, element("label", {}, box, sample, named(methodName(own))));
}

function shadeCell(panel, own) {
  const cell = element("td");
  if (own.method === panel.anchor || panel.anchor === null) return cell;
  const label = `Shade what BD-rate integrates for ${methodName(own)}`;
  const radio = input("radio", `shade-${own.method}`, shaded(panel) === own, label, () => put("shade", methodName(own)));
  radio.name = "shade";
  cell.append(radio);
  return cell;
}

function pinCell(panel, own) {
  const pinned = state.getAll("pin").includes(methodName(own));
  const box = input("checkbox", `pin-${own.method}`, pinned, `Colour ${methodName(own)}`, () => {
    toggle("pin", methodName(own));
    legend(panel);
    byId(`pin-${own.method}`).focus();
  });
  return element("td", {}, box);
}

function rateCell(rate) {
  const cell = element("td", { class: "n" });
  if (!rate) return cell;
  const [value, low, high, reason] = rate;
  if (reason) cell.title = reason;
  if (value === null) cell.append("undefined");
  else {
    const verdict = high !== null && high < 0 ? "better" : low !== null && low > 0 ? "worse" : "";
    cell.append(element("span", { class: `rate ${verdict}` }, percent(value)));
    if (low !== null && high !== null) cell.append(element("small", {}, `[${percent(low)}, ${percent(high)}]`));
  }
  return cell;
}

// The method whose difference from the anchor is shaded: as chosen, or the first that has one.
function shaded(panel) {
  const others = panel.methods.filter((own) => own.method !== panel.anchor);
  return others.find((own) => methodName(own) === state.get("shade"))
    ?? others.find((own) => own.whole && own.whole[0] !== null) ?? null;
}

// --- accuracy against rate ------------------------------------------------------------------------

function logarithmic(panel) {
  if (state.has("scale")) return state.get("scale") !== "linear";
  const rates = panel.methods.flatMap((own) => own.points.map((p) => p[1]));
  return Math.max(...rates) > 10 * Math.min(...rates);
}

function curves(panel) {
  const shown = panel.methods.filter((own) => !hidden(own));
  const points = (shown.length ? shown : panel.methods).flatMap((own) => own.points);
  const rates = points.map((p) => p[1]);
  const log = logarithmic(panel);
  const x = log
    ? { low: Math.min(...rates) / 1.15, high: Math.max(...rates) * 1.15, log, ticks: doublings }
    : { low: 0, high: Math.max(...rates) * 1.05, log, ticks: (a, b) => steps(a, b, 8) };
  const heights = points.flatMap((p) => [p[2], p[3] ?? p[2], p[4] ?? p[2]]);
  if (panel.clean !== null) heights.push(panel.clean);
  chart(byId("curve"), {
    label: `${panel.label} against rate, ${panel.model} on ${panel.dataset}`,
    x: { ...x, label: "Rate (bits per pixel)" },
    y: { ...padded(heights), label: panel.label, ticks: (a, b) => steps(a, b, 6) },
    height: 420,
    draw: (layer, sx, sy, right) => {
      acceptable(panel, layer, MARGIN.left, right, sy);
      between(panel, layer, sx, sy);
      return [...shown].reverse().flatMap((own) => curve(panel, own, layer, sx, sy)).reverse();
    },
  });
}

function padded(values) {
  const low = Math.min(...values), high = Math.max(...values);
  const room = 0.05 * (high - low) || Math.abs(high) * 0.05 || 1;
  return { low: low - room, high: high + room };
}

function acceptable(panel, layer, left, right, sy) {
  if (panel.clean === null) return;
  const [bottom, top] = panel.near.map(sy);
  const y = Math.min(bottom, top);
  layer.append(
    svg("rect", { class: "near", x: left, width: right - left, y, height: Math.abs(bottom - top) }),
    svg("line", { class: "clean", x1: left, x2: right, y1: sy(panel.clean), y2: sy(panel.clean) }),
    svg("text", { x: left + 6, y: sy(panel.clean) + (panel.up ? -5 : 15) }, `uncompressed ${fixed(panel.clean, 3)}`),
    svg("text", { x: left + 6, y: y + Math.min(15, Math.abs(bottom - top) - 2) }, "acceptable range"));
}

// The area that BD-rate integrates: what lies between two curves over the accuracies of both.
function between(panel, layer, sx, sy) {
  const own = shaded(panel);
  const anchor = panel.methods.find((other) => other.method === panel.anchor);
  if (!own || !anchor || hidden(own) || !own.whole || own.whole[0] === null) return;
  const ends = [own, anchor].map(({ values }) => [Math.min(...values), Math.max(...values)]);
  const low = Math.max(ends[0][0], ends[1][0]), high = Math.min(ends[0][1], ends[1][1]);
  area(low, high, "");
  if (panel.near && own.near[0] !== null) {
    area(Math.max(low, Math.min(...panel.near)), Math.min(high, Math.max(...panel.near)), "inner");
  }

  function area(from, to, kind) {
    if (!(from < to)) return;
    const edges = [cut(own, from, to), cut(anchor, from, to).reverse()].flat();
    const d = path(edges.map(([rate, value]) => [sx(rate), sy(value)]), true);
    layer.append(svg("path", { class: `between ${kind} ${look(panel, own).kind}`, d }));
  }
}

// The part of a curve whose accuracies lie between two, by rising accuracy: [rate, accuracy].
function cut({ rates, values }, from, to) {
  const all = values.map((value, i) => [rates[i], value]).sort((a, b) => a[1] - b[1]);
  const at = (value) => {
    const i = Math.max(1, all.findIndex((p) => p[1] >= value));
    const [r0, v0] = all[i - 1], [r1, v1] = all[i];
    const share = v1 > v0 ? (value - v0) / (v1 - v0) : 0;
    return [Math.exp(Math.log(r0) + share * (Math.log(r1) - Math.log(r0))), value];
  };
  return [at(from), ...all.filter((p) => p[1] > from && p[1] < to), at(to)];
}

function curve(panel, own, layer, sx, sy) {
  const { kind, dashes, shape } = look(panel, own);
  const known = own.points.filter((p) => p[3] !== null && p[4] !== null);
  const band = [...known.map((p) => [sx(p[1]), sy(p[4])]), ...known.map((p) => [sx(p[1]), sy(p[3])]).reverse()];
  faint(layer, kind, band);
  const line = own.rates.map((rate, i) => [sx(rate), sy(own.values[i])]);
  layer.append(svg("path", { class: `curve ${kind}`, d: path(line), "stroke-dasharray": dashes }));
  return own.points.map(([qp, rate, value, low, high, change]) => {
    const x = sx(rate), y = sy(value);
    layer.append(marker(shape, x, y, `${kind}${change ? " hollow" : ""}`));
    const lines = [
      named(methodName(own)), `${qp < 0 ? `${-qp / 1000} bpp wanted` : `QP ${qp}`}: ${fixed(rate, 4)} bpp`,
      `${panel.label} ${fixed(value, 4)}` + (low === null || high === null ? "" : ` [${fixed(low, 3)}, ${fixed(high, 3)}]`),
    ];
    if (change) lines.push(`for BD-rate: ${change}`);
    return { x, y, series: own.method, lines };
  });
}

// Many bands at full strength would turn to mud.
function faint(layer, kind, corners) {
  if (kind === "grey") return;
  const band = svg("path", { class: `band ${kind}`, d: path(corners, true) });
  band.style.fillOpacity = Math.min(0.1, 0.3 / chosen().methods.length);
  layer.append(band);
}

function about(panel) {
  const own = shaded(panel);
  const area = own && !hidden(own) && own.whole && own.whole[0] !== null
    ? ` Shaded: what BD-rate integrates for ${elided(methodName(own))}, darker in the acceptable range.` : "";
  const grey = content.methods.length > COLOURED
    ? " In colour: the anchor, the methods on the Pareto front, and those that are pinned." : "";
  return `Lines are the interpolation that BD-rate integrates; bands are 95 % intervals; hollow points `
    + `were left out of BD-rates or averaged, or are of a published curve. Acceptable range: ${content.range}.${area}${grey}`;
}

// --- saving against accuracy ----------------------------------------------------------------------

function savings(panel) {
  const box = byId("savings");
  const shown = panel.methods.filter((own) => !hidden(own) && own.saving.length);
  if (!shown.length) {
    box.replaceChildren(element("p", {}, "No method reaches the acceptable range here, or none is shown."));
    return;
  }
  const ratio = (change) => Math.max(1 + change / 100, 1e-3);
  const every = shown.flatMap((own) => [
    ...own.saving.map((p) => p[1]), ...own.levels.flatMap((level) => level.slice(2))]);
  const ratios = every.filter((v) => v !== null).map(ratio);
  const room = 0.02 * (content.within.at(-1) - content.within[0]);
  const y = { low: Math.min(0.97, ...ratios) / 1.03, high: Math.max(1.03, ...ratios) * 1.03 };
  chart(box, {
    label: `Bits against the anchor at equal ${panel.label}, ${panel.model} on ${panel.dataset}`,
    x: { low: content.within[0] - room, high: content.within.at(-1) + room, label: "Percent below the uncompressed score", ticks: (a, b) => steps(a, b, 9) },
    y: { ...y, log: true, label: "Bits against the anchor (%)", ticks: changes },
    height: 340,
    draw: (layer, sx, sy, right) => {
      layer.append(svg("line", { class: "zero", x1: MARGIN.left, x2: right, y1: sy(1), y2: sy(1) }));
      return shown.flatMap((own) => saving(panel, own, layer, sx, (change) => sy(ratio(change))));
    },
  });
}

function saving(panel, own, layer, sx, sy) {
  const { kind, dashes, shape } = look(panel, own);
  const known = own.levels.filter((level) => level[3] !== null && level[4] !== null);
  const band = [...known.map((l) => [sx(l[0]), sy(l[4])]), ...known.map((l) => [sx(l[0]), sy(l[3])]).reverse()];
  faint(layer, kind, band);
  layer.append(svg("path", { class: `curve ${kind}`, d: path(own.saving.map(([at, change]) => [sx(at), sy(change)])), "stroke-dasharray": dashes }));
  return own.levels.filter((level) => level[2] !== null).map(([within, bpp, change, low, high]) => {
    const x = sx(within), y = sy(change);
    layer.append(marker(shape, x, y, kind));
    const interval = low === null || high === null ? "" : ` [${percent(low)}, ${percent(high)}]`;
    return { x, y, series: own.method, lines: [
      named(methodName(own)), `${within} % below uncompressed: ${fixed(bpp, 4)} bpp`,
      `${percent(change)} %${interval} against the anchor`] };
  });
}
