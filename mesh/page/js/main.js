/** The page: starts every part, and the keys and tabs that belong to none. @module */
import { toast } from "./actions.js";
import { openAdding, save, startAdding } from "./adding.js";
import { startConnect } from "./connect.js";
import { byId } from "./dom.js";
import { startDetection } from "./detection.js";
import { edit } from "./edit.js";
import { startEvents } from "./events.js";
import { startFaults } from "./faults.js";
import { closeMenu, openMenu, startMenu } from "./menu.js";
import { model } from "./model.js";
import { startOverview } from "./overview.js";
import { startPointer } from "./pointer.js";
import { startRecorder, toggleRecording } from "./recorder.js";
import { scene } from "./scene.js";
import { source } from "./source.js";
import { start } from "./stream.js";
import { startTraces } from "./traces.js";
import { startTraffic } from "./traffic.js";

const TABS = ["overview", "detection", "traces", "events", "faults"];
const PAN_PX = 60;

/** @param {string} wanted */
function tab(wanted) {
  for (const name of TABS) {
    const chosen = name === wanted;
    byId(`tab-${name}`).setAttribute("aria-selected", String(chosen));
    byId(`tab-${name}`).tabIndex = chosen ? 0 : -1;
    byId(name).hidden = !chosen;
  }
  model.tell("tab");
}

/** @param {string|null} [wanted] none is the other one */
function theme(wanted) {
  const root = document.documentElement;
  root.dataset.theme = wanted ?? (root.dataset.theme === "light" ? "dark" : "light");
  localStorage.setItem("mesh.theme", root.dataset.theme);
  scene.dress();
  model.tell("theme");
}

function dots() {
  scene.show(!scene.dots);
  model.tell("dots");
}

/** @type {Record<string, () => void>} */
const KEYS = {
  f: () => scene.fit(), d: dots, l: () => theme(), "?": () => byId("keys").showModal(),
  "+": () => scene.camera.zoom(1.2), "=": () => scene.camera.zoom(1.2), "-": () => scene.camera.zoom(1 / 1.2),
  ArrowLeft: () => scene.camera.pan(PAN_PX, 0), ArrowRight: () => scene.camera.pan(-PAN_PX, 0),
  ArrowUp: () => scene.camera.pan(0, PAN_PX), ArrowDown: () => scene.camera.pan(0, -PAN_PX),
  a: openAdding, s: save, r: toggleRecording,
  1: () => tab("overview"), 2: () => tab("detection"), 3: () => tab("traces"), 4: () => tab("events"), 5: () => tab("faults"),
};

/** @param {KeyboardEvent} event */
function key(event) {
  const target = event.target instanceof HTMLElement ? event.target : document.body;
  if (event.key === "Escape") {
    if (!closeMenu() && !document.querySelector("dialog[open]")) model.choose(null);
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || target.closest("input, select, textarea, .menu, dialog")) return;
  if (target.closest("[role=tab]") && event.key.startsWith("Arrow")) {
    const next = (TABS.indexOf(target.id.slice(4)) + (event.key === "ArrowLeft" ? TABS.length - 1 : 1)) % TABS.length;
    tab(TABS[next]);
    byId(`tab-${TABS[next]}`).focus();
    return;
  }
  const row = /** @type {HTMLElement|null} */ (target.closest("[data-instance]"));
  if (row && event.key.toLowerCase() === "m") {
    const box = row.getBoundingClientRect();
    openMenu(row.dataset.instance ?? "", box.left + 12, box.bottom, row);
    event.preventDefault();
    return;
  }
  const card = /** @type {HTMLElement|null} */ (target.closest("[data-service]"));
  if (card && event.key.toLowerCase() === "e") {
    edit(card.dataset.service ?? "");
    event.preventDefault();
    return;
  }
  if (!source.live && "asr".includes(event.key.toLowerCase())) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action && !(event.key.startsWith("Arrow") && target.closest(".panel"))) {
    action();
    event.preventDefault();
  }
}

function startFrame() {
  for (const name of TABS) byId(`tab-${name}`).addEventListener("click", () => tab(name));
  byId("fit").addEventListener("click", () => scene.fit());
  byId("dots").addEventListener("click", dots);
  byId("theme").addEventListener("click", () => theme());
  byId("help").addEventListener("click", () => byId("keys").showModal());
  document.addEventListener("keydown", key);
  // an instance that is reached by keyboard but lies outside the picture comes into view
  scene.layer.addEventListener("focusin", () => { scene.stage.scrollTo(0, 0); });
  model.on("choice", () => { if (model.chosen) tab("overview"); });
  model.on("graph", () => {
    byId("mesh-name").textContent = model.graph.name;
    document.title = `${model.graph.name} · mesh`;
  });
  const phase = byId("phase");
  const health = () => {
    const all = [...model.nodes].filter(([name]) => name !== model.graph?.ingress).flatMap(([, node]) => node.instances.filter((one) => one.state !== "outside"));
    const up = all.filter((one) => one.colour === "green" || one.colour === "grey").length;
    const words = model.phase === "up" ? `${up} of ${all.length} healthy` : model.phase;
    phase.textContent = words;
    phase.classList.toggle("bad", model.phase === "up" && up < all.length);
    const drawn = scene.k > 1.05 ? `1 dot for ${scene.k.toFixed(1)} real requests` : "each dot is a real request";
    byId("scale").textContent = scene.dots ? `${drawn}, some 3 s late` : "dots are off";
  };
  const pressed = () => { byId("dots").setAttribute("aria-pressed", String(scene.dots)); health(); };
  pressed();
  model.on("dots", pressed);
  model.on("change", health);
  model.on("flights", health);
  model.on("link", (on) => {
    if (on) return;
    phase.textContent = "no connection";
    phase.classList.add("bad");
  });
  model.on("locked", () => {
    phase.textContent = "no token";
    const words = "Open this page by its link: mesh dashboard prints it.";
    byId("empty").textContent = words;
    if (model.graph) toast(words, true);
  });
}

const saved = localStorage.getItem("mesh.theme");
document.documentElement.dataset.theme = saved ?? (window.matchMedia("(prefers-color-scheme: light)").matches ? "light" : "dark");
scene.start();
startFrame();
startMenu();
startPointer();
startConnect();
startAdding();
startRecorder();
startTraffic();
startOverview();
startDetection();
startTraces();
startEvents();
startFaults();
start();
// for tests and for the curious
Object.assign(window, { mesh: { model, scene } });
