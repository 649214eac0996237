/** What the pointer does on the picture: hover, click, drag, menu. @module */
import { toggle } from "./actions.js";
import { byId, h } from "./dom.js";
import { ms, percent, rate } from "./format.js";
import { edgeAt } from "./lines.js";
import { openMenu } from "./menu.js";
import { model } from "./model.js";
import { about } from "./nodes.js";
import { scene } from "./scene.js";
import { tip } from "./tip.js";
import { openTrace } from "./waterfall.js";

const DOT_NEAR = 13;
const CLICK_PX = 5;

export function startPointer() {
  const { stage } = scene;
  /** @type {{x: number, y: number, node: string|null, moved: boolean}|null} */
  let press = null;

  stage.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const header = element(event).closest(".node > header");
    press = { x: event.clientX, y: event.clientY, node: header?.parentElement?.dataset.service ?? null, moved: false };
  });
  window.addEventListener("pointermove", (event) => {
    if (!press) return;
    if (!press.moved && Math.hypot(event.clientX - press.x, event.clientY - press.y) < CLICK_PX) return;
    press.moved = true;
    if (!press.node) return;
    scene.drag(press.node, event.clientX - press.x, event.clientY - press.y);
    press.x = event.clientX;
    press.y = event.clientY;
  });
  window.addEventListener("pointerup", () => window.setTimeout(() => { press = null; }));

  stage.addEventListener("click", (event) => {
    if (press?.moved) return;
    const target = element(event);
    const menu = target.closest("[data-menu]");
    const row = /** @type {HTMLElement|null} */ (target.closest("[data-instance]"));
    const name = row?.dataset.instance ?? "";
    if (menu || (row && row.closest(".ingress"))) {
      openMenu(name, event.clientX || (row?.getBoundingClientRect().left ?? 0), event.clientY || (row?.getBoundingClientRect().bottom ?? 0), row);
      return;
    }
    const instance = model.instance(name);
    if (instance) {
      void toggle(instance);
      return;
    }
    const card = /** @type {HTMLElement|null} */ (target.closest(".node"));
    if (card) {
      model.choose({ kind: "node", name: card.dataset.service ?? "" });
      return;
    }
    const { x, y } = scene.world(event.clientX, event.clientY);
    const trace = scene.particles.at(x, y, DOT_NEAR / scene.camera.scale);
    if (trace) {
      void openTrace(trace);
      return;
    }
    const edge = edgeAt(scene.routes, x, y, scene.camera.scale);
    model.choose(edge ? { kind: "edge", name: edge } : null);
  });

  stage.addEventListener("contextmenu", (event) => {
    const row = /** @type {HTMLElement|null} */ (element(event).closest("[data-instance]"));
    if (!row) return;
    event.preventDefault();
    openMenu(row.dataset.instance ?? "", event.clientX, event.clientY, row);
  });

  stage.addEventListener("pointermove", (event) => {
    if (press?.moved) {
      tip(null);
      return;
    }
    hover(event);
  });
  stage.addEventListener("pointerleave", () => { last = null; tip(null); point(null); });
  // what the tip says changes while the pointer rests
  model.on("change", () => { if (last && !press && byId("menu").hidden) hover(last); });
}

/** @type {PointerEvent|null} */
let last = null;

/** @param {PointerEvent} event */
function hover(event) {
  last = event;
  const row = /** @type {HTMLElement|null} */ (element(event).closest("[data-instance]"));
  const instance = row && model.instance(row.dataset.instance ?? "");
  if (instance) {
    point(null);
    tip(about(instance), event.clientX, event.clientY);
    return;
  }
  if (element(event).closest(".node")) {
    point(null);
    tip(null);
    return;
  }
  const { x, y } = scene.world(event.clientX, event.clientY);
  const dot = scene.particles.at(x, y, DOT_NEAR / scene.camera.scale);
  const edge = edgeAt(scene.routes, x, y, scene.camera.scale);
  scene.stage.style.cursor = dot || edge ? "pointer" : "";
  point(edge);
  const found = edge ? model.edges.get(edge) : null;
  if (dot) tip([h("b", null, "A real request"), h("div.num.quiet", null, dot), h("div.quiet", null, "Click for its trace")], event.clientX, event.clientY);
  else if (edge && found) tip(aboutEdge(edge, found), event.clientX, event.clientY);
  else tip(null);
}

/** @param {string|null} edge */
function point(edge) {
  if (edge === scene.hovered) return;
  scene.hovered = edge;
  scene.dirty = true;
}

/** @param {string} name @param {import("./model.js").Edge} edge @returns {Node[]} */
function aboutEdge(name, edge) {
  const line = (/** @type {string} */ key, /** @type {any} */ value) => h("tr", null, h("td.quiet", null, key), h("td", null, value));
  return [h("b", null, name.replace(">", " → ")),
    h("table", null,
      line("requests", `${rate(edge.rps)}/s`), line("p50, p95, p99", [edge.p50_ms, edge.p95_ms, edge.p99_ms].map(ms).join(", ")),
      line("errors", percent(edge.error_rate)), line("retries", String(edge.retries)),
      edge.budget === null ? "" : line("retry budget", percent(edge.budget))),
    h("table", null, edge.endpoints.map((one) => h("tr", null, h("td", null, one.id),
      h("td", null, h(`span.breaker.${one.breaker}`, null, one.breaker), one.left_s !== null ? ` ${one.left_s} s left` : ""), h("td.quiet", null, one.reason))))];
}

/** @param {Event} event @returns {Element} */
function element(event) {
  return event.target instanceof Element ? event.target : document.documentElement;
}
