// The explorer's hand in the page: pointer over a heatmap, Escape, clipboard, downloads, and the
// picture that stays in a saved notebook.

const HOVER_MS = 40;
const NO_SHORTCUTS = "data-lm-suppress-shortcuts"; // JupyterLab's
const VIEW = "application/vnd.jupyter.widget-view+json";
const STATE = "application/vnd.jupyter.widget-state+json";
const STILL = "nn-still"; // marks the widgets that keepStill has put into a notebook
const HIDDEN = '[style*="display: none"]';
let used; // the explorer that the user touched last: it may be shown twice

function save(name, kind, bytes) {
  const address = URL.createObjectURL(new Blob([bytes], { type: kind }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

function copy(text, root) {
  const fallback = () => root.querySelector(".nn-code textarea")?.select();
  if (!navigator.clipboard) return fallback();
  navigator.clipboard.writeText(text).catch(fallback);
}

/** Tells where the pointer is, not too often, and in any case where it comes to rest. */
function hoverSender(model, root) {
  let place, timer;
  const send = () => {
    timer = undefined;
    model.send(place);
  };
  return (event) => {
    const picture = event.target.closest?.(".nn-heatmap");
    if (!picture) return;
    const box = picture.getBoundingClientRect();
    const pane = [...root.querySelectorAll(".nn-heatmap")].indexOf(picture);
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    place = { type: "hover", pane, x, y };
    timer ??= setTimeout(send, HOVER_MS);
  };
}

/** What a picture shows now, as an image that needs no kernel. */
function copied(picture) {
  const canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth ?? picture.width;
  canvas.height = picture.naturalHeight ?? picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
  const drawn = () => Object.assign(new Image(), { className: picture.className });
  const image = picture.matches("img") ? picture.cloneNode() : drawn();
  image.alt = picture.alt || picture.closest("[aria-label]")?.ariaLabel || "";
  image.style.width = picture.style.width;
  image.src = canvas.toDataURL();
  return image;
}

/** Parts of an explorer as they look now, without what is hidden. */
function frozen(root, parts) {
  const freeze = (part) => {
    if (part.matches("img, canvas")) return copied(part).outerHTML;
    const copy = part.cloneNode(true);
    copy.querySelectorAll(".nn-hover").forEach((each) => each.remove());
    const pictures = part.querySelectorAll("img, canvas");
    copy.querySelectorAll("img, canvas").forEach((each, i) => each.replaceWith(copied(pictures[i])));
    return copy.outerHTML;
  };
  const seen = [...root.querySelectorAll(parts)].filter((part) => !part.closest(HIDDEN));
  return seen.map(freeze).join("");
}

/** The explorer without its controls. */
function stillOf(root) {
  const pictures = frozen(root, ".nn-pad canvas, img.nn-input, .nn-view");
  return `<div class="nn-explorer">${frozen(root, ".nn-hidden style")}
    <div class="nn-row" style="display: flex">${pictures}</div>
    ${frozen(root, ".nn-status p")}<p>A saved picture: run the cell to play with it.</p></div>`;
}

/** Numbers of the widgets that the outputs of a notebook show. */
function shownIn(notebook) {
  const outputs = notebook.toJSON().cells.flatMap((cell) => cell.outputs ?? []);
  return new Set(outputs.map((output) => output.data?.[VIEW]?.model_id));
}

/**
 * JupyterLab, which saves no widgets unless told to, would show an error where the explorer was.
 * So the notebook keeps a widget without controls in its place.
 */
function keepStill(model, root) {
  const notebook = model.widget_manager.context.model;
  const { [STATE]: saved, ...others } = notebook.getMetadata("widgets") ?? {};
  const shown = shownIn(notebook);
  const isStill = (id) => saved.state[id].state._dom_classes?.includes(STILL);
  const kept = Object.keys(saved?.state ?? {}).filter((id) => shown.has(id) || !isStill(id));
  const state = Object.fromEntries(kept.map((id) => [id, saved.state[id]]));
  const id = model.get("explorer");
  if (shown.has(id) && !(id in state && !isStill(id))) state[id] = stillWidget(stillOf(root));
  notebook.setMetadata("widgets", {
    ...others,
    [STATE]: { version_major: 2, version_minor: 0, state },
  });
}

function stillWidget(value) {
  return {
    model_module: "@jupyter-widgets/controls",
    model_module_version: "2.0.0",
    model_name: "HTMLModel",
    state: { _dom_classes: [STILL], value },
  };
}

/** A key pressed here is no shortcut; JupyterLab asks the element that has the focus. */
function hush(event) {
  event.target.toggleAttribute(NO_SHORTCUTS, true);
}

function render({ model, el }) {
  el.style.display = "none";
  const stop = new AbortController();
  const { signal } = stop;

  function receive(message, buffers) {
    const root = el.closest(".nn-explorer");
    if (used && used !== root) return;
    if (message.type === "copy") copy(message.text, root);
    if (message.type === "download") save(message.name, message.kind, buffers[0]);
  }

  function key(event) {
    const command = event.ctrlKey || event.metaKey;
    event.target.toggleAttribute(NO_SHORTCUTS, !command); // Ctrl+S still saves the notebook
    if (event.key === "Escape") model.send({ type: "escape" });
  }

  function attach() {
    if (signal.aborted) return;
    const root = el.closest(".nn-explorer");
    if (!root) return void requestAnimationFrame(attach);
    for (const kind of ["pointerdown", "keydown"])
      root.addEventListener(kind, () => (used = root), { signal, capture: true });
    root.addEventListener("pointermove", hoverSender(model, root), { signal });
    root.addEventListener("keydown", key, { signal });
    root.addEventListener("focusin", hush, { signal });
    keepStillOnSave(root);
  }

  function keepStillOnSave(root) {
    const saves = model.widget_manager.context?.saveState; // only a notebook has it
    const onSave = (_, phase) => phase === "started" && keepStill(model, root);
    saves?.connect(onSave);
    signal.addEventListener("abort", () => saves?.disconnect(onSave));
  }

  model.on("msg:custom", receive);
  attach();
  return () => {
    stop.abort();
    model.off("msg:custom", receive);
  };
}

export default { render };
