// Tables sort by the columns whose heads say data-sort: the number of the cell in its row.

function sortable(table, number) {
  const body = table.tBodies[0];
  const written = [...body.rows];
  const heads = [...table.querySelectorAll("th[data-sort]")];
  for (const head of heads) {
    const button = element("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      const others = state.getAll("sort").filter((s) => !s.startsWith(number + "."));
      put("sort", ...others, `${number}.${head.dataset.sort}.${down ? "down" : "up"}`);
      restore();
    });
  }

  function restore() {
    const wanted = state.getAll("sort").find((s) => s.startsWith(number + ".")) ?? "";
    const [, column, direction] = wanted.split(".");
    const chosen = heads.find((head) => head.dataset.sort === column);
    heads.forEach((head) => head.setAttribute("aria-sort", "none"));
    if (chosen) {
      chosen.setAttribute("aria-sort", direction === "down" ? "descending" : "ascending");
    }
    body.append(...(chosen ? order(Number(column), direction === "down" ? -1 : 1) : written));
  }

  // Cells without a number come last, either way.
  function order(column, sign) {
    const value = (row) => {
      const text = row.cells[column].dataset.value;
      return text === undefined ? Infinity : sign * Number(text);
    };
    const compare = (a, b) => (value(a) < value(b) ? -1 : value(a) > value(b) ? 1 : 0);
    return [...written].sort(compare);
  }

  restore();
  return restore;
}
