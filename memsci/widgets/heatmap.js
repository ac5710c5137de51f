// A grid of coloured cells in which the focus moves by arrow keys; one cell at a time is in the order of Tab.

function render({ model, el }) {
  const [values, rows, columns, colours] = ["values", "rows", "columns", "colours"].map((name) => model.get(name));
  const make = (tag, name, text = "") => {
    const made = document.createElement(tag);
    made.className = `memsci-map-${name}`;
    made.textContent = text;
    return made;
  };
  const clamp = (k, n) => Math.min(n - 1, Math.max(0, k));
  const colour = (value) => colours[clamp(Math.floor(value * colours.length), colours.length)];

  const box = make("div", "box");
  const title = make("div", "title", model.get("title"));
  const scroll = make("div", "scroll");
  const grid = make("div", "grid");
  grid.setAttribute("role", "grid");
  grid.setAttribute("aria-label", model.get("title"));
  grid.setAttribute("aria-readonly", "true");
  grid.style.setProperty("--memsci-columns", columns.length);
  const told = make("div", "told", rows.length && columns.length
    ? "Point at a cell, or move with the arrow keys; click or Enter selects it." : "The map has no cells.");
  told.setAttribute("aria-live", "polite");

  const scale = make("div", "scale");
  const strip = make("span", "strip");
  strip.style.background = `linear-gradient(to right, ${colours.join(",")})`;
  scale.append("g = 0 ", strip, " 1");
  scale.setAttribute("aria-hidden", "true");

  const line = (role = "row") => {
    const made = make("div", "row");
    made.setAttribute("role", role);
    grid.append(made);
    return made;
  };
  const head = (name, text, role) => {
    const made = make("div", name, text);
    made.title = text;
    made.setAttribute("role", role);
    return made;
  };
  const top = line();
  top.append(head("corner", "", "columnheader"));
  const columnHeads = columns.map((text) => head("column", text, "columnheader"));
  top.append(...columnHeads);
  const rowHeads = [];
  const cells = rows.map((text, i) => {
    const row = line();
    rowHeads.push(head("label", text, "rowheader"));
    row.append(rowHeads[i]);
    return columns.map((_, j) => {
      const cell = make("div", "cell");
      Object.assign(cell.dataset, { row: i, column: j });
      cell.setAttribute("role", "gridcell");
      cell.setAttribute("aria-label", values[i][j].toFixed(4));
      cell.tabIndex = -1;
      cell.style.background = colour(values[i][j]);
      row.append(cell);
      return cell;
    });
  });
  scroll.append(grid);
  box.append(title, scroll, told, scale);
  el.replaceChildren(box);

  let current = null; // the cell that Tab comes to, and that the line below tells of
  function tell(i, j, tab = false) {
    if (current) {
      rowHeads[current[0]].classList.remove("memsci-map-on");
      columnHeads[current[1]].classList.remove("memsci-map-on");
      if (tab) for (const cell of grid.querySelectorAll('[tabindex="0"]')) cell.tabIndex = -1;
    }
    current = [i, j];
    if (tab) cells[i][j].tabIndex = 0;
    rowHeads[i].classList.add("memsci-map-on");
    columnHeads[j].classList.add("memsci-map-on");
    told.textContent = `${rows[i]} → ${columns[j]}: g = ${values[i][j].toFixed(4)}`;
  }
  const place = (event) => {
    const cell = event.target.closest?.(".memsci-map-cell");
    return cell && [Number(cell.dataset.row), Number(cell.dataset.column)];
  };
  function select(at) {
    model.set("selected", at);
    model.set("selections", model.get("selections") + 1); // also where the same cell is selected again
    model.save_changes();
  }
  grid.addEventListener("pointerover", (event) => {
    const at = place(event);
    if (at) tell(...at);
  });
  grid.addEventListener("pointerleave", () => {
    const focused = place({ target: document.activeElement });
    if (focused && grid.contains(document.activeElement)) tell(...focused);
  });
  grid.addEventListener("focusin", (event) => {
    const at = place(event);
    if (at) tell(...at, true);
  });
  grid.addEventListener("click", (event) => {
    const at = place(event);
    if (!at) return;
    cells[at[0]][at[1]].focus({ preventScroll: true });
    select(at);
  });
  grid.addEventListener("keydown", (event) => {
    const at = place(event);
    if (!at || event.altKey || event.metaKey) return;
    const [i, j] = at;
    const all = event.ctrlKey;
    const page = 10;
    const targets = {
      ArrowRight: [i, j + 1], ArrowLeft: [i, j - 1], ArrowDown: [i + 1, j], ArrowUp: [i - 1, j],
      Home: [all ? 0 : i, 0], End: [all ? rows.length - 1 : i, columns.length - 1],
      PageUp: [i - page, j], PageDown: [i + page, j],
    };
    const chosen = event.key === "Enter" || event.key === " ";
    if (!chosen && !(event.key in targets)) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has shortcuts of its own for these keys
    if (chosen) return select(at);
    const [k, l] = targets[event.key];
    cells[clamp(k, rows.length)][clamp(l, columns.length)].focus();
  });

  function mark() {
    for (const cell of grid.querySelectorAll('[aria-selected="true"]')) cell.removeAttribute("aria-selected");
    const [i, j] = model.get("selected");
    cells[i]?.[j]?.setAttribute("aria-selected", "true");
  }
  model.on("change:selected", mark);
  if (rows.length && columns.length) cells[0][0].tabIndex = 0;
  mark();
  return () => model.off("change:selected", mark);
}

export default { render };
