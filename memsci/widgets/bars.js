// Bars of a gate: one row per memory, a slider each. Rows are kept by id, so that the focus stays where it is.

const STEP = 0.01;
const LEAP = 0.1;
const clamp = (value) => Math.min(1, Math.max(0, value));
const snap = (value) => Math.round(clamp(value) / STEP) * STEP;

function render({ model, el }) {
  const list = document.createElement("div");
  list.className = "memsci-bars";
  list.setAttribute("role", "group");
  const rest = document.createElement("div");
  rest.className = "memsci-bars-rest";
  const key = document.createElement("div");
  key.className = "memsci-bars-rest";
  el.replaceChildren(list, rest, key);

  const rows = new Map();
  let dragged = null; // the bar under the pointer is not pulled back by what the kernel made of an earlier place of it
  let waiting = 0;

  function move(id, value) {
    const at = model.get("ids").indexOf(id);
    if (at < 0 || !model.get("editable")) return;
    const weights = [...model.get("weights")];
    weights[at] = Number(snap(value).toFixed(2));
    if (dragged) dragged.weight = weights[at];
    model.set("weights", weights);
    model.set("by_hand", { ...model.get("by_hand"), [id]: weights[at] });
    model.set("of", model.get("round"));
    // A pointer moves more often than a kernel answers.
    waiting ||= requestAnimationFrame(() => {
      waiting = 0;
      model.save_changes();
    });
  }

  function row(id) {
    const box = document.createElement("div");
    box.className = "memsci-bar";
    box.dataset.id = id;
    const [label, track, value] = ["label", "track", "value"].map((name) => {
      const part = document.createElement("div");
      part.className = `memsci-bar-${name}`;
      box.append(part);
      return part;
    });
    const fill = document.createElement("div");
    fill.className = "memsci-bar-fill";
    track.append(fill);

    const at = (event) => {
      const { left, width } = track.getBoundingClientRect();
      return (event.clientX - left) / width;
    };
    track.addEventListener("pointerdown", (event) => {
      if (event.button || !model.get("editable")) return;
      event.preventDefault();
      track.focus();
      track.setPointerCapture(event.pointerId);
      dragged = { id };
      move(id, at(event));
    });
    track.addEventListener("pointermove", (event) => {
      if (dragged?.id === id) move(id, at(event));
    });
    for (const end of ["pointerup", "pointercancel"]) {
      track.addEventListener(end, () => {
        dragged = null;
        draw();
      });
    }
    track.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.altKey || event.metaKey) return;
      const steps = {
        ArrowRight: STEP, ArrowUp: STEP, ArrowLeft: -STEP, ArrowDown: -STEP, PageUp: LEAP, PageDown: -LEAP,
        Home: -Infinity, End: Infinity,
      };
      if (!(event.key in steps) || !model.get("editable")) return;
      event.preventDefault();
      event.stopPropagation(); // the notebook has shortcuts of its own for these keys
      move(id, (model.get("weights")[model.get("ids").indexOf(id)] ?? 0) + steps[event.key]);
    });
    return { box, label, track, fill, value };
  }

  // ipywidgets leaves the handles of its sliders without a name, for who listens.
  function nameHandles() {
    for (const handle of document.querySelectorAll(".memsci-panel .noUi-handle:not([aria-label])")) {
      let near = handle; // up to what has a label: several sliders may stand in one row
      while (near && !near.querySelector("label")) near = near.parentElement;
      const name = near?.querySelector("label")?.textContent;
      if (name) handle.setAttribute("aria-label", name);
    }
  }

  function draw() {
    requestAnimationFrame(nameHandles); // they may come after the bars
    const [ids, labels, weights] = ["ids", "labels", "weights"].map((name) => model.get(name));
    const editable = model.get("editable");
    list.setAttribute("aria-label", model.get("title"));
    for (const [id, parts] of rows) {
      if (ids.includes(id)) continue;
      if (dragged?.id === id) dragged = null; // no pointerup comes to what is gone
      parts.box.remove();
      rows.delete(id);
    }
    ids.forEach((id, k) => {
      if (!rows.has(id)) rows.set(id, row(id));
      const { box, label, track, fill, value } = rows.get(id);
      if (list.children[k] !== box) {
        const focused = box.contains(document.activeElement);
        list.insertBefore(box, list.children[k] ?? null);
        if (focused) track.focus(); // moving an element takes the focus from it
      }
      const marked = model.get("marked").includes(id);
      const name = labels[k] ?? id;
      const weight = dragged?.id === id ? dragged.weight : weights[k] ?? 0;
      const written = weight.toFixed(4);
      label.textContent = (marked ? "● " : "") + name;
      label.title = marked ? `${name} (${model.get("mark")})` : name;
      value.textContent = written;
      fill.style.width = `${100 * clamp(weight)}%`;
      const byHand = id in model.get("by_hand");
      box.classList.toggle("memsci-bar-by-hand", byHand);
      const slider = editable ? { role: "slider", tabindex: "0" } : { role: "meter" };
      if (!editable) track.removeAttribute("tabindex");
      const said = {
        ...slider, "aria-label": label.title, "aria-valuemin": 0, "aria-valuemax": Math.max(1, weight),
        "aria-valuenow": written, "aria-valuetext": byHand ? `${written}, set by hand` : written,
      };
      for (const [attribute, content] of Object.entries(said)) track.setAttribute(attribute, content);
      track.classList.toggle("memsci-bar-fixed", !editable);
    });
    rest.textContent = model.get("rest");
    rest.hidden = !model.get("rest");
    key.textContent = `● ${model.get("mark")}`;
    key.hidden = !ids.some((id) => model.get("marked").includes(id));
  }

  model.on("change", draw);
  draw();
  return () => {
    model.off("change", draw);
    cancelAnimationFrame(waiting);
  };
}

export default { render };
