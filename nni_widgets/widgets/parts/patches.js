// Patches over a picture, to be chosen one after the other: the mark is there before the kernel is.

const NO_SHORTCUTS = "data-lm-suppress-shortcuts"; // JupyterLab's
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const KEYS = "Arrow keys move, space chooses, Z takes back.";

/** The number of the last interval that begins at or before this place. */
function intervalAt(starts, place) {
  return Math.max(0, starts.filter((start) => start <= place).length - 1);
}

function within(place, count) {
  return Math.min(Math.max(place, 0), count - 1);
}

function element(kind, name, parent) {
  const made = document.createElement(kind);
  made.className = name;
  parent.append(made);
  return made;
}

function render({ model, el }) {
  const layer = element("div", "nn-patches", el);
  const marks = element("div", "nn-patch-marks", layer);
  const cursor = element("div", "nn-patch-cursor", layer);
  const words = element("span", "nn-frame-words", layer);
  words.setAttribute("role", "status");
  layer.tabIndex = 0;
  layer.setAttribute("role", "application");
  layer.toggleAttribute(NO_SHORTCUTS, true);
  let [row, column] = [0, 0];

  function put(box, [r, c]) {
    const [tops, lefts] = [model.get("tops"), model.get("lefts")];
    const [rows, columns] = model.get("side");
    const share = (part, whole) => `${(100 * part) / whole}%`;
    box.style.top = share(tops[r], rows);
    box.style.left = share(lefts[c], columns);
    box.style.height = share((tops[r + 1] ?? rows) - tops[r], rows);
    box.style.width = share((lefts[c + 1] ?? columns) - lefts[c], columns);
  }

  const rank = ([r, c]) => model.get("chosen").findIndex(([a, b]) => a === r && b === c);

  function paint() {
    const [tops, lefts] = [model.get("tops"), model.get("lefts")];
    const there = ([r, c]) => r < tops.length && c < lefts.length;
    layer.setAttribute("aria-label", `${model.get("label")}. ${KEYS}`);
    layer.style.display = tops.length && lefts.length ? "" : "none";
    if (!tops.length || !lefts.length) return;
    [row, column] = [within(row, tops.length), within(column, lefts.length)];
    marks.replaceChildren();
    model.get("chosen").forEach((place, number) => {
      if (!there(place)) return;
      const mark = element("div", "nn-patch-mark", marks);
      mark.textContent = number + 1;
      put(mark, place);
    });
    put(cursor, [row, column]);
    words.textContent = told(tops.length, lefts.length);
  }

  function told(rows, columns) {
    const place = `row ${row + 1} of ${rows}, column ${column + 1} of ${columns}`;
    const number = rank([row, column]);
    if (number >= 0) return `${place}, chosen as number ${number + 1}`;
    return isFull() ? `${place}; no more can be chosen` : place;
  }

  const isFull = () => model.get("chosen").length >= model.get("most");

  function choose(chosen) {
    model.set("chosen", chosen);
    model.save_changes();
  }

  /** Choose the patch under the cursor, or take it back. */
  function toggle() {
    const [chosen, number] = [model.get("chosen"), rank([row, column])];
    if (number >= 0) choose(chosen.filter((_, i) => i !== number));
    else if (!isFull()) choose([...chosen, [row, column]]);
  }

  layer.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    const bounds = layer.getBoundingClientRect();
    const [rows, columns] = model.get("side");
    const y = ((event.clientY - bounds.top) / bounds.height) * rows;
    const x = ((event.clientX - bounds.left) / bounds.width) * columns;
    [row, column] = [intervalAt(model.get("tops"), y), intervalAt(model.get("lefts"), x)];
    toggle();
    paint();
  });
  layer.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      const [down, right] = ARROWS[event.key];
      [row, column] = [row + down, column + right];
    } else if (event.key === " ") toggle();
    else if (event.key.toLowerCase() === "z") choose(model.get("chosen").slice(0, -1));
    else return;
    event.preventDefault();
    paint();
  });
  /** ipycanvas would take the focus and keep the Tab key, though nobody can use what is below. */
  function quieten() {
    const drawn = el.parentElement?.querySelector(".nn-drawn");
    if (drawn) drawn.inert = true;
    else frame = requestAnimationFrame(quieten);
  }

  model.on("change", paint);
  paint();
  let frame = requestAnimationFrame(quieten);
  return () => {
    model.off("change", paint);
    cancelAnimationFrame(frame);
  };
}

export default { render };
