/** Draws a call: from the handle at the right of a service to another service. The panel has the same for keys. @module */
import { connect } from "./edit.js";
import { scene } from "./scene.js";

const SVG = "http://www.w3.org/2000/svg";

export function startConnect() {
  /** @type {{caller: string, line: SVGLineElement, picture: SVGSVGElement, over: Element|null}|null} */
  let drawing = null;
  const { stage } = scene;
  stage.addEventListener("pointerdown", (event) => {
    const handle = event.target instanceof Element ? /** @type {HTMLElement|null} */ (event.target.closest("[data-connect]")) : null;
    if (!handle || event.button !== 0) return;
    event.stopPropagation();
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    const dot = handle.getBoundingClientRect();
    const picture = document.createElementNS(SVG, "svg");
    picture.classList.add("drawing");
    const line = document.createElementNS(SVG, "line");
    line.setAttribute("x1", String(dot.left + dot.width / 2 - box.left));
    line.setAttribute("y1", String(dot.top + dot.height / 2 - box.top));
    picture.append(line);
    stage.append(picture);
    drawing = { caller: handle.dataset.connect ?? "", line, picture, over: null };
    follow(event);
  }, true);
  const follow = (/** @type {PointerEvent} */ event) => {
    if (!drawing) return;
    const box = stage.getBoundingClientRect();
    drawing.line.setAttribute("x2", String(event.clientX - box.left));
    drawing.line.setAttribute("y2", String(event.clientY - box.top));
    const over = target(event, drawing.caller);
    if (over === drawing.over) return;
    drawing.over?.classList.remove("target");
    over?.classList.add("target");
    drawing.over = over;
  };
  window.addEventListener("pointermove", (event) => {
    if (!drawing) return;
    event.stopPropagation();
    follow(event);
  }, true);
  const end = (/** @type {PointerEvent} */ event) => {
    if (!drawing) return;
    const { caller, picture, over } = drawing;
    drawing = null;
    over?.classList.remove("target");
    picture.remove();
    const found = event.type === "pointerup" ? target(event, caller) : null;
    if (found) void connect(caller, found.dataset.service ?? "");
    // the click that follows is the end of the drawing, not of a service's instance
    stage.addEventListener("click", stop, { capture: true, once: true });
    window.setTimeout(() => stage.removeEventListener("click", stop, true));
  };
  window.addEventListener("pointerup", end, true);
  window.addEventListener("pointercancel", end, true);
}

/** @param {Event} event */
function stop(event) {
  event.stopPropagation();
}

/** @param {PointerEvent} event @param {string} caller @returns {HTMLElement|null} the service under the pointer that may be called */
function target(event, caller) {
  const node = /** @type {HTMLElement|null} */ (document.elementFromPoint(event.clientX, event.clientY)?.closest(".node:not(.ingress)") ?? null);
  return node && node.dataset.service !== caller ? node : null;
}
