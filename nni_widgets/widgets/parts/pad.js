// The pen of DrawingPad: paints at once, tells the kernel what a stroke has grown by.

const SEND_EVERY = 40; // milliseconds
const STYLE = `
.nn-pad { position: relative; display: inline-block; margin: 5px; line-height: 0;
  max-width: calc(100% - 10px); box-sizing: border-box;
  border: 1px solid var(--jp-border-color0, var(--vscode-widget-border, #888));
  touch-action: none; user-select: none; -webkit-user-select: none; cursor: crosshair; }
.nn-pad:focus { outline: 3px solid var(--jp-brand-color1, #1976d2); outline-offset: 2px; }
.nn-pad canvas { max-width: 100%; background: black; }
.nn-pad-cursor { position: absolute; left: 0; top: 0; box-sizing: border-box; pointer-events: none;
  border: 2px solid white; outline: 1px solid black; visibility: hidden; }
.nn-pad:focus .nn-pad-cursor { visibility: visible; }
.nn-pad-cursor.nn-down { background: #f5a623; }
.nn-pad-words { position: absolute; width: 1px; height: 1px; overflow: hidden;
  clip-path: inset(50%); white-space: nowrap; }`;
const KEYS = "Arrow keys move, space lowers and lifts the pen, Delete clears, Z undoes.";
const NO_SHORTCUTS = "data-lm-suppress-shortcuts"; // JupyterLab's
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

let strokesBegun = 0;
const page = Math.random().toString(36).slice(2);

/** The strokes with `points` put at the end of stroke `index`, which may be a new one. */
function grown(strokes, index, points) {
  const longer = strokes.slice();
  longer[index] = [...(strokes[index] ?? []), ...points];
  return longer;
}

/** A stroke on its way: it joins the drawing, and goes to the kernel, in portions. */
class Pen {
  constructor(model) {
    this.model = model;
    this.name = `${page}-${strokesBegun++}`;
    this.stroke = undefined;
    this.drawing = undefined;
    this.unsent = [];
    this.timer = undefined;
  }

  add(point) {
    this.unsent.push(point);
    this.timer ??= setTimeout(() => this.send(false), this.stroke ? SEND_EVERY : 0);
  }

  send(end) {
    clearTimeout(this.timer);
    this.timer = undefined;
    const strokes = this.model.get("strokes");
    const index = this.stroke ? strokes.indexOf(this.stroke) : strokes.length;
    const start = this.stroke?.length ?? 0;
    const points = this.unsent;
    this.unsent = [];
    this.drawing = grown(strokes, index, points);
    this.stroke = this.drawing[index];
    this.model.set("strokes", this.drawing); // never saved: the message is enough
    this.model.send({ type: "stroke", stroke: this.name, start, points, end });
  }

  /** What is not in the drawing yet, with the point it goes on from. */
  get tail() {
    return [...(this.stroke ?? []).slice(-1), ...this.unsent];
  }
}

class View {
  constructor(model, el) {
    this.model = model;
    this.pen = undefined;
    this.last = undefined;
    this.cursor = undefined;
    this.build(el);
    this.listen();
    this.resize();
  }

  build(el) {
    this.root = document.createElement("div");
    this.root.className = "nn-pad";
    this.root.tabIndex = 0;
    this.root.setAttribute("role", "application");
    this.root.toggleAttribute(NO_SHORTCUTS, true);
    this.canvas = document.createElement("canvas");
    this.box = document.createElement("div");
    this.box.className = "nn-pad-cursor";
    this.words = document.createElement("span");
    this.words.className = "nn-pad-words";
    this.words.setAttribute("role", "status");
    this.root.append(this.canvas, this.box, this.words);
    const style = document.createElement("style");
    style.textContent = STYLE;
    el.append(style, this.root);
  }

  listen() {
    const { root, model } = this;
    this.forModel = [
      ["change:strokes", () => this.follow()],
      ["msg:custom", ({ type, stroke }) => type === "lost" && this.lose(stroke)],
      ["change:size change:zoom change:pen change:label", () => this.resize()],
    ];
    for (const [events, callback] of this.forModel) model.on(events, callback);
    root.addEventListener("pointerdown", (event) => this.press(event));
    root.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel", "blur"])
      root.addEventListener(name, () => this.lift());
    root.addEventListener("keydown", (event) => this.key(event));
  }

  remove() {
    this.lift();
    for (const [events, callback] of this.forModel) this.model.off(events, callback);
  }

  resize() {
    const { canvas, model } = this;
    this.size = model.get("size");
    const side = this.size * model.get("zoom");
    canvas.style.width = `${side}px`;
    canvas.width = canvas.height = Math.round(side * (window.devicePixelRatio || 1));
    this.root.setAttribute("aria-label", `${model.get("label")}. ${KEYS}`);
    this.cursor = undefined;
    this.repaint();
  }

  repaint() {
    const { canvas, model } = this;
    const paint = (this.paint = canvas.getContext("2d"));
    const scale = canvas.width / this.size;
    paint.setTransform(scale, 0, 0, scale, 0, 0);
    paint.fillStyle = "black";
    paint.fillRect(0, 0, this.size, this.size);
    paint.strokeStyle = "white";
    paint.lineCap = paint.lineJoin = "round";
    paint.lineWidth = model.get("pen");
    for (const stroke of model.get("strokes")) this.line(stroke);
    if (this.pen) this.line(this.pen.tail);
  }

  line(points) {
    if (points.length === 0) return;
    this.paint.beginPath();
    for (const point of points) this.paint.lineTo(...point);
    if (points.length === 1) this.paint.lineTo(points[0][0] + 0.001, points[0][1]);
    this.paint.stroke();
  }

  /** Paint what this view has not painted itself; a stroke under the pen stays in the drawing. */
  follow() {
    const strokes = this.model.get("strokes");
    const { drawing, stroke } = this.pen ?? {};
    if (this.pen && drawing === strokes) return;
    if (stroke && !strokes.includes(stroke)) this.model.set("strokes", [...strokes, stroke]);
    else this.repaint();
  }

  /** The kernel has removed a stroke that was still growing. */
  lose(name) {
    if (this.pen?.name !== name) return;
    clearTimeout(this.pen.timer);
    this.pen = undefined;
    this.showCursor();
  }

  begin(point) {
    this.lift();
    this.pen = new Pen(this.model);
    this.last = undefined;
    this.draw(point);
  }

  draw(point) {
    if (this.last && this.last[0] === point[0] && this.last[1] === point[1]) return;
    this.line(this.last ? [this.last, point] : [point]);
    this.last = point;
    this.pen.add(point);
  }

  lift() {
    this.pen?.send(true);
    this.pen = undefined;
    this.repaint();
    this.showCursor();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect();
    return [
      this.inside(((event.clientX - box.left) / box.width) * this.size),
      this.inside(((event.clientY - box.top) / box.height) * this.size),
    ];
  }

  inside(value) {
    const margin = this.model.get("pen");
    return Math.round(Math.min(Math.max(value, -margin), this.size + margin) * 10) / 10;
  }

  press(event) {
    if (!event.isPrimary || event.button !== 0) return;
    this.root.setPointerCapture(event.pointerId);
    this.cursor = undefined;
    this.begin(this.at(event));
  }

  move(event) {
    if (!this.pen || this.cursor || !event.isPrimary) return;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) this.draw(this.at(each));
  }

  key(event) {
    const command = event.ctrlKey || event.metaKey;
    const passes = event.key === "Tab" || (command && event.key.toLowerCase() !== "z");
    this.root.toggleAttribute(NO_SHORTCUTS, !passes); // Ctrl+S still saves the notebook
    if (passes) return;
    event.stopPropagation();
    if (this.act(event)) event.preventDefault();
  }

  act(event) {
    if (event.key.toLowerCase() === "z") return this.order("undo");
    if (event.altKey) return false;
    if (event.key === "Escape") return this.order("cancel");
    if (event.key === "Delete" || event.key === "Backspace") return this.order("clear");
    if (event.key === " ") return event.repeat || this.toggle();
    if (event.key in ARROWS) return this.step(...ARROWS[event.key]);
    return false;
  }

  order(type) {
    this.lift();
    this.model.send({ type });
    return true;
  }

  toggle() {
    this.cursor ??= this.middle();
    if (this.pen) this.lift();
    else this.begin(this.centre());
    this.showCursor();
    return true;
  }

  step(dx, dy) {
    const limit = (value) => Math.min(Math.max(value, 0), this.size - 1);
    const [x, y] = this.cursor ?? this.middle();
    this.cursor = [limit(x + dx), limit(y + dy)];
    if (this.pen) this.draw(this.centre());
    this.showCursor();
    return true;
  }

  middle() {
    return [Math.floor(this.size / 2), Math.floor(this.size / 2)];
  }

  centre() {
    return this.cursor.map((value) => value + 0.5);
  }

  showCursor() {
    this.box.hidden = !this.cursor;
    if (!this.cursor) return;
    const cell = this.canvas.clientWidth / this.size;
    const [x, y] = this.cursor;
    this.box.classList.toggle("nn-down", Boolean(this.pen));
    this.box.style.width = this.box.style.height = `${cell}px`;
    this.box.style.transform = `translate(${x * cell}px, ${y * cell}px)`;
    this.words.textContent = `Row ${y + 1}, column ${x + 1}, pen ${this.pen ? "down" : "up"}`;
  }
}

/** Another page drew: the kernel passes the new points on to all pages. */
function initialize({ model }) {
  model.on("msg:custom", ({ type, index, start, points }) => {
    const strokes = model.get("strokes");
    const known = strokes[index]?.length ?? 0;
    if (type !== "stroke" || index > strokes.length || start !== known) return;
    model.set("strokes", grown(strokes, index, points));
  });
}

function render({ model, el }) {
  const view = new View(model, el);
  return () => view.remove();
}

export default { initialize, render };
