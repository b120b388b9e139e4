// Sorting and filtering of table.list. Every header that sorts holds a button; rows carry data-* for the filters.
for (const table of document.querySelectorAll("table.list")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const value = (row, column) => row.cells[column]?.dataset.sort ?? row.cells[column]?.textContent.trim() ?? "";
  const collator = new Intl.Collator(undefined, { numeric: true });
  const compare = (a, b) => (a !== "" && b !== "" && !isNaN(a) && !isNaN(b) ? a - b : collator.compare(a, b));
  heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const keyed = [...body.rows].map((row) => [value(row, column), row]);
    keyed.sort((a, b) => (down ? -1 : 1) * compare(a[0], b[0]));
    body.append(...keyed.map((pair) => pair[1]));
  }));
}
const filters = document.querySelector("form.filters");
if (filters) {
  const rows = [...document.querySelector("table.list").tBodies[0].rows].filter((row) => row.dataset.date !== undefined);
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const fields = [...filters.querySelectorAll("[name]")], count = filters.querySelector("output");
  const apply = () => {
    const wanted = Object.fromEntries(fields.map((field) => [field.name, field.value.trim()]));
    const words = (wanted.text || "").toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const { runbook, result, date } = row.dataset;
      const kept = (!wanted.runbook || runbook === wanted.runbook) && (!wanted.result || result === wanted.result)
        && (!wanted.from || date >= wanted.from) && (!wanted.to || (date && date <= wanted.to))
        && words.every((word) => texts.get(row).includes(word));
      row.hidden = !kept;
      shown += kept;
    }
    count.textContent = `${shown} of ${rows.length} shown`;
    const kept = new URLSearchParams(Object.entries(wanted).filter(([, text]) => text)).toString();
    if (kept !== location.hash.slice(1)) history.replaceState(null, "", kept ? `#${kept}` : location.pathname);
  };
  const recall = () => {
    const asked = new URLSearchParams(location.hash.slice(1));
    for (const field of fields) field.value = asked.get(field.name) ?? "";
    apply();
  };
  filters.addEventListener("input", apply);
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("reset", () => setTimeout(apply));
  addEventListener("hashchange", recall);
  recall();
}
