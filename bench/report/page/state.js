// What was chosen stands in the page's address, so that a link shows the same.

const root = document.documentElement;
const content = JSON.parse(document.getElementById("data").textContent);
let state = read();

function read() {
  return new URLSearchParams(location.hash.includes("=") ? location.hash.slice(1) : "");
}

function put(key, ...values) {
  state.delete(key);
  values.forEach((value) => state.append(key, value));
  history.replaceState(null, "", "#" + state);
}

// A set of names of methods under one key.
function toggle(key, method) {
  const chosen = new Set(state.getAll(key));
  if (!chosen.delete(method)) chosen.add(method);
  put(key, ...chosen);
}

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const MINUS = "\u2212";

function fixed(value, digits) {
  if (value === null || value === undefined) return "–";
  const text = Math.abs(value).toFixed(digits);
  return (value < 0 && Number(text) !== 0 ? MINUS : "") + text;
}

function percent(value) {
  const text = fixed(value, 1);
  return value > 0 && Number(text) !== 0 ? "+" + text : text;
}

// A long name, elided in the middle as everywhere in the page.
function elided(name) {
  const letters = [...name];
  return letters.length <= 48
    ? name : letters.slice(0, 24).join("") + "…" + letters.slice(-24).join("");
}

function named(name) {
  const made = element("bdi", {}, elided(name));
  if (made.textContent !== name) made.title = name;
  return made;
}
