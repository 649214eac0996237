/** The menu of an instance: every action, with the part it is done to. @module */
import { act } from "./actions.js";
import { byId, h } from "./dom.js";
import { edit } from "./edit.js";
import { addFault } from "./faults.js";
import { model } from "./model.js";
import { tip } from "./tip.js";

/** @type {HTMLElement|null} */
let opener = null;

/** @param {string} name an instance's @param {number} x @param {number} y @param {HTMLElement|null} [from] takes the focus back */
export function openMenu(name, x, y, from = null) {
  const instance = model.instance(name);
  if (!instance || instance.state === "outside") return;
  const menu = byId("menu");
  const off = ["down", "paused", "draining"].includes(instance.state);
  const down = instance.state === "down";
  const sidecar = "sidecar" in instance.pids && name !== "registry" && name !== "loadgen";
  const app = name !== model.graph?.ingress;
  const item = (/** @type {string} */ words, /** @type {string} */ hint, /** @type {string} */ action, /** @type {string} */ part, /** @type {boolean} */ possible) => {
    const button = h("button", { role: "menuitem", type: "button", disabled: !possible }, words, h("small", null, hint));
    button.addEventListener("click", () => { closeMenu(); void act(name, action, part); });
    return button;
  };
  const service = [...model.nodes].find(([one, node]) => one !== model.graph?.ingress && node.instances.includes(instance))?.[0];
  const extra = (/** @type {string} */ words, /** @type {string} */ hint, /** @type {() => void} */ what) => {
    const button = h("button", { role: "menuitem", type: "button" }, words, h("small", null, hint));
    button.addEventListener("click", () => { opener = null; closeMenu(); what(); });
    return button;
  };
  menu.replaceChildren(
    h("h3", null, name),
    item("Heal", "start, resume", "heal", "both", off || instance.state === "degraded"),
    item("Kill", "SIGKILL", "kill", "both", !down),
    app && sidecar && item("Kill the app only", "SIGKILL", "kill", "app", !down),
    app && sidecar && item("Kill the sidecar only", "SIGKILL", "kill", "sidecar", !down),
    item("Pause", "SIGSTOP, grey failure", "pause", "both", !off),
    app && sidecar && item("Pause the app only", "SIGSTOP", "pause", "app", !off),
    app && sidecar && model.graph?.containers && item("Cut off", "from the network", "cut", "both", !off),
    sidecar && app && item("Drain", "takes nothing new", "drain", "both", !off),
    service && extra("Add a fault", "delay, error, hang", () => addFault(name)),
    service && extra("Edit", service, () => edit(service)),
  );
  for (const node of [...menu.childNodes]) if (!(node instanceof HTMLElement)) node.remove();
  menu.hidden = false;
  tip(null);
  const box = menu.getBoundingClientRect();
  menu.style.left = `${Math.min(x, window.innerWidth - box.width - 8)}px`;
  menu.style.top = `${Math.min(y, window.innerHeight - box.height - 8)}px`;
  opener = from;
  /** @type {HTMLElement|null} */ (menu.querySelector("button:not([disabled])"))?.focus();
}

export function closeMenu() {
  const menu = byId("menu");
  if (menu.hidden) return false;
  menu.hidden = true;
  opener?.focus();
  opener = null;
  return true;
}

export function startMenu() {
  byId("menu").addEventListener("keydown", (/** @type {KeyboardEvent} */ event) => {
    const items = [...byId("menu").querySelectorAll("button:not([disabled])")];
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (!step) return;
    event.preventDefault();
    items[(items.indexOf(document.activeElement) + step + items.length) % items.length].focus();
  });
  document.addEventListener("pointerdown", (event) => {
    if (event.target instanceof Element && !event.target.closest("#menu")) closeMenu();
  });
}
