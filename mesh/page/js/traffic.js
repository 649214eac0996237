/** The slider: the open-loop rate, on a logarithmic scale, and the pattern; both take effect at once. @module */
import { call } from "./actions.js";
import { byId } from "./dom.js";
import { rate as words } from "./format.js";
import { model } from "./model.js";

/** The slider's end while nobody knows what the mesh can carry: then it ends a little above what was measured. */
const UNKNOWN = 5000;
const ABOVE = 1.25;
const LEAST = 20;
let highest = UNKNOWN;
const STEPS = 1000;
/** While a person moves it the mesh is told no more often. */
const TELL_MS = 120;
/** The state that comes back lags behind what was just asked for. */
const QUIET_MS = 1500;

/** @param {number} step of the slider @returns {number} requests/s; the first step is 0 */
export function rateAt(step) {
  if (step <= 0) return 0;
  const value = Math.exp(((step - 1) / (STEPS - 1)) * Math.log(highest));
  return value < 10 ? Math.round(value * 10) / 10 : value < 100 ? Math.round(value) : Math.round(value / 5) * 5;
}

/** @param {number} value requests/s @returns {number} step of the slider */
export function stepOf(value) {
  if (value <= 0) return 0;
  return Math.round(1 + ((STEPS - 1) * Math.log(Math.min(highest, Math.max(1, value)))) / Math.log(highest));
}

export function startTraffic() {
  const slider = byId("rate");
  const number = byId("rate-number");
  const pattern = byId("pattern");
  let touched = -Infinity;
  let timer = 0;
  const send = (/** @type {number} */ value) => {
    touched = performance.now();
    window.clearTimeout(timer);
    timer = window.setTimeout(() => void call("PUT", "/api/load", { rate: value }), TELL_MS);
  };
  slider.addEventListener("input", () => {
    const value = rateAt(Number(slider.value));
    number.value = String(value);
    slider.setAttribute("aria-valuetext", `${value} requests per second`);
    send(value);
  });
  number.addEventListener("change", () => {
    const value = Math.max(0, Number(number.value) || 0);
    slider.value = String(stepOf(value));
    send(value);
  });
  pattern.addEventListener("change", () => {
    touched = performance.now();
    void call("PUT", "/api/load", { pattern: pattern.value });
  });
  byId("traffic").addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
  model.on("change", (message) => {
    const { load } = model;
    if (!message.load || performance.now() - touched < QUIET_MS || document.activeElement === number) return;
    const value = load.running ? load.rate ?? 0 : 0;
    highest = load.ceiling ? Math.max(LEAST, value, Math.ceil(load.ceiling * ABOVE)) : UNKNOWN;
    slider.title = load.ceiling ? `Some ${words(load.ceiling)}/s is all that this mesh answered when more was asked of it` : "";
    number.value = String(value);
    if (rateAt(Number(slider.value)) !== value) slider.value = String(stepOf(value));
    slider.setAttribute("aria-valuetext", `${value} requests per second`);
    const name = String(load.pattern ?? "constant").split(":")[0];
    if (pattern.value !== name) pattern.value = name;
    byId("rate-now").textContent = load.running ? `now ${words(load.rate_now)}/s${load.ceiling ? ` of ${words(load.ceiling)}` : ""}` : "no traffic";
    lamp("lamp-generator", load.running, load.generator_ok, load.generator_reason, "The generator sends each request when it is due.");
    lamp("lamp-system", load.running, load.system_ok, load.system_reason, "The mesh answers as fast as requests come in.");
  });
}

/** @param {string} id @param {boolean} running @param {boolean} ok @param {string} reason @param {string} good */
function lamp(id, running, ok, reason, good) {
  const element = byId(id);
  element.classList.toggle("ok", Boolean(running && ok));
  element.classList.toggle("bad", Boolean(running && !ok));
  const said = running ? (ok ? good : reason) : "No traffic.";
  if (element.title !== said) element.title = said;
  element.setAttribute("aria-label", `${element.textContent}: ${said}`);
}
