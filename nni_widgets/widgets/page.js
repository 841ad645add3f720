// The explorer's hand in the page: pointer over a heatmap, Escape, clipboard, downloads.

const HOVER_MS = 60;
const NO_SHORTCUTS = "data-lm-suppress-shortcuts"; // JupyterLab's
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

function hoverSender(model, root) {
  let last = 0;
  return (event) => {
    const picture = event.target.closest?.(".nn-heatmap");
    if (!picture || event.timeStamp - last < HOVER_MS) return;
    last = event.timeStamp;
    const box = picture.getBoundingClientRect();
    const pane = [...root.querySelectorAll(".nn-heatmap")].indexOf(picture);
    const x = (event.clientX - box.left) / box.width;
    const y = (event.clientY - box.top) / box.height;
    model.send({ type: "hover", pane, x, y });
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
  }

  model.on("msg:custom", receive);
  attach();
  return () => {
    stop.abort();
    model.off("msg:custom", receive);
  };
}

export default { render };
