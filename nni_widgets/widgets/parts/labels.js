// Accessible names for the widgets around this one, by CSS class.

const FIELDS = "input, select, textarea, button";
const ours = new WeakSet();

function nameField(field, name) {
  if (!ours.has(field) && isNamed(field)) return;
  ours.add(field);
  set(field, "aria-label", name);
}

/** In the order of what it costs to know. */
function isNamed(field) {
  if (field.ariaLabel || field.title || field.hasAttribute("aria-labelledby")) return true;
  return Boolean(field.textContent.trim() || field.labels?.length);
}

function nameHandles(host, name) {
  const handles = host.querySelectorAll(".noUi-handle");
  const ends = handles.length === 2 ? [", from", ", to"] : [""];
  handles.forEach((handle, i) => set(handle, "aria-label", name + ends[i]));
}

function set(element, attribute, value) {
  if (element.getAttribute(attribute) !== value) element.setAttribute(attribute, value);
}

function setAs(role, name) {
  return (element) => {
    set(element, "role", role);
    set(element, "aria-label", name);
  };
}

/** The element itself, where it fits, and what fits inside it. */
function within(host, selector) {
  return [host, ...host.querySelectorAll(selector)].filter((element) => element.matches(selector));
}

/** A slider says its own description; ipywidgets shows it and ties it to nothing. */
function nameSliders(root) {
  for (const slider of root.querySelectorAll(".widget-slider")) {
    const label = slider.querySelector(".widget-label")?.textContent.trim();
    if (!label) continue;
    nameHandles(slider, label);
    within(slider, ".widget-readout[contenteditable]").forEach(setAs("textbox", label));
  }
}

/** Which one of a row of buttons is chosen: ipywidgets shows it by its colour alone. */
function pressToggles(root) {
  for (const button of root.querySelectorAll(".widget-toggle-button"))
    set(button, "aria-pressed", String(button.classList.contains("mod-active")));
}

function apply(root, names) {
  nameSliders(root);
  pressToggles(root);
  for (const [className, name] of Object.entries(names))
    for (const host of root.querySelectorAll(`.${CSS.escape(className)}`)) {
      within(host, "img").forEach((picture) => set(picture, "alt", name));
      within(host, "canvas, .bqplot").forEach(setAs("img", name));
      within(host, ".widget-toggle-buttons").forEach(setAs("group", name));
      within(host, ".widget-readout[contenteditable]").forEach(setAs("textbox", name));
      within(host, FIELDS).forEach((field) => nameField(field, name));
      nameHandles(host, name);
    }
}

/** The notebook's output, or the outermost widget where there is no notebook around. */
function outputOf(el) {
  const output = el.closest(".jp-OutputArea-output");
  if (output) return output;
  let outermost = el;
  while (outermost.parentElement?.closest(".jupyter-widgets"))
    outermost = outermost.parentElement.closest(".jupyter-widgets");
  return outermost;
}

function render({ model, el }) {
  el.style.display = "none";
  let frame;
  let root;
  const observer = new MutationObserver(later);

  function now() {
    frame = undefined;
    if (!el.isConnected) return later();
    if (root !== outputOf(el)) {
      root = outputOf(el);
      observer.disconnect();
      observer.observe(root, { childList: true, subtree: true, attributeFilter: ["class"] });
    }
    apply(root, model.get("names"));
  }

  function later() {
    frame ??= requestAnimationFrame(now);
  }

  model.on("change:names", later);
  later();
  return () => {
    model.off("change:names", later);
    observer.disconnect();
    cancelAnimationFrame(frame);
  };
}

export default { render };
