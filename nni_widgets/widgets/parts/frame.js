// A frame over a picture: it follows the pointer and the arrow keys from place to place.

const NO_SHORTCUTS = "data-lm-suppress-shortcuts"; // JupyterLab's
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const KEYS = "Arrow keys move it.";

/** The number of the interval of this length whose middle is nearest. */
function nearest(starts, length, place) {
  const distances = starts.map((start) => Math.abs(start + length / 2 - place));
  return distances.indexOf(Math.min(...distances));
}

function within(place, count) {
  return Math.min(Math.max(place, 0), count - 1);
}

function render({ model, el }) {
  const layer = document.createElement("div");
  const box = document.createElement("div");
  const words = document.createElement("span");
  layer.className = "nn-frame";
  box.className = "nn-frame-box";
  words.className = "nn-frame-words";
  words.setAttribute("role", "status");
  layer.tabIndex = 0;
  layer.setAttribute("role", "application");
  layer.toggleAttribute(NO_SHORTCUTS, true);
  layer.append(box, words);
  el.append(layer);

  function paint() {
    const [tops, lefts] = [model.get("tops"), model.get("lefts")];
    const [row, column] = model.get("place");
    const [height, width] = model.get("size");
    const [rows, columns] = model.get("side");
    layer.setAttribute("aria-label", `${model.get("label")}. ${KEYS}`);
    layer.style.display = tops.length && lefts.length ? "" : "none";
    const share = (part, whole) => `${(100 * part) / whole}%`;
    box.style.top = share(tops[row], rows);
    box.style.left = share(lefts[column], columns);
    box.style.height = share(height, rows);
    box.style.width = share(width, columns);
    words.textContent = `row ${row + 1} of ${tops.length}, column ${column + 1} of ${lefts.length}`;
  }

  function go(row, column) {
    const [tops, lefts, now] = [model.get("tops"), model.get("lefts"), model.get("place")];
    const place = [within(row, tops.length), within(column, lefts.length)];
    if (place[0] === now[0] && place[1] === now[1]) return;
    model.set("place", place);
    model.save_changes();
  }

  function point(event) {
    const bounds = layer.getBoundingClientRect();
    const [height, width] = model.get("size");
    const [rows, columns] = model.get("side");
    const y = ((event.clientY - bounds.top) / bounds.height) * rows;
    const x = ((event.clientX - bounds.left) / bounds.width) * columns;
    go(nearest(model.get("tops"), height, y), nearest(model.get("lefts"), width, x));
  }

  layer.addEventListener("pointerdown", (event) => {
    layer.setPointerCapture(event.pointerId);
    point(event);
  });
  layer.addEventListener("pointermove", (event) => {
    if (layer.hasPointerCapture(event.pointerId)) point(event);
  });
  layer.addEventListener("keydown", (event) => {
    if (!(event.key in ARROWS)) return;
    event.preventDefault();
    const [down, right] = ARROWS[event.key];
    const [row, column] = model.get("place");
    go(row + down, column + right);
  });
  model.on("change", paint);
  paint();
  return () => model.off("change", paint);
}

export default { render };
