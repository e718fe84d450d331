root.classList.add("scripted");

const restorers = [...document.querySelectorAll("table:has(th[data-sort])")].map(sortable);

function theme() {
  if (state.has("theme")) root.dataset.theme = state.get("theme");
  else delete root.dataset.theme;
}

byId("theme").addEventListener("click", () => {
  const dark = getComputedStyle(root).colorScheme === "dark"
    || (!root.dataset.theme && matchMedia("(prefers-color-scheme: dark)").matches);
  put("theme", dark ? "light" : "dark");
  theme();
});
theme();

sliders();

if (content.panels.length) {
  choices();
  redraw();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) draw(chosen());
    width = innerWidth;
  });
}

// A link to a section leaves in the address what was chosen.
document.querySelectorAll("nav a").forEach((link) => link.addEventListener("click", (event) => {
  if (!String(state)) return;
  event.preventDefault();
  put("section", link.hash.slice(1));
  byId(link.hash.slice(1)).scrollIntoView();
}));
if (state.has("section")) byId(state.get("section"))?.scrollIntoView();

addEventListener("hashchange", () => {
  if (!location.hash.includes("=")) return;
  state = read();
  theme();
  restorers.forEach((restore) => restore());
  if (content.panels.length) redraw();
});

// On paper everything is unfolded.
let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  folded.forEach((details) => (details.open = true));
});
addEventListener("afterprint", () => folded.forEach((details) => (details.open = false)));
