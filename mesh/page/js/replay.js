/** Plays a recording in the place of a mesh: pause, speed, and any moment of it. @module */
import { toast } from "./actions.js";
import { byId, h } from "./dom.js";
import { model } from "./model.js";
import { parse, recentAt, seriesOf, stateAt, traceOf } from "./recording.js";
import { scene } from "./scene.js";
import { source } from "./source.js";
import { deliver } from "./stream.js";
import { ask } from "./token.js";

const TICK_MS = 50;
const STEP_S = 5;
const SPEEDS = [0.5, 1, 2, 4, 8];

/** @param {{file: string, name: string}} what */
export async function replay({ file, name }) {
  const answer = await ask(file).catch(() => null);
  const messages = answer?.ok ? parse(await answer.text()) : [];
  if (!messages.length) {
    byId("empty").textContent = "This recording is empty.";
    return;
  }
  const length = messages[messages.length - 1].t;
  let now = messages[0].t;
  let next = 0;
  let playing = true;
  Object.assign(source, {
    live: false,
    history: async (/** @type {string} */ wanted) => seriesOf(messages, now, wanted),
    explain: async () => [],
    faults: async () => null,
    policies: async () => null,
    trace: async (/** @type {string} */ id) => traceOf(messages, id),
    recent: async (/** @type {URLSearchParams} */ query) => recentAt(messages, now, {
      service: query.get("service") ?? "", kind: query.get("kind") ?? "all", least: Number(query.get("min_ms") ?? 0),
    }),
  });

  const button = h("button", { id: "play", type: "button", title: "Pause or play (space)" });
  const bar = /** @type {HTMLInputElement} */ (h("input", { id: "seek", type: "range", min: messages[0].t, max: length, step: 0.1, "aria-label": "Moment of the recording" }));
  const at = h("span.num", { id: "moment" });
  const speed = /** @type {HTMLSelectElement} */ (h("select", { id: "speed", "aria-label": "Speed" }, SPEEDS.map((value) => h("option", { value, selected: value === 1 }, `${value}×`))));
  const player = h("div.player", { id: "player", role: "group", "aria-label": `Recording ${name}` }, h("b", null, "Recording"), button, bar, at, speed);
  // what is done here is not done to the picture below
  for (const kind of ["pointerdown", "pointermove", "click", "wheel"]) player.addEventListener(kind, (event) => event.stopPropagation());
  byId("stage").append(player);
  document.body.classList.add("replay");
  for (const control of byId("traffic").elements) control.disabled = true;

  const show = () => {
    button.textContent = playing ? "Pause" : "Play";
    if (document.activeElement !== bar || playing) bar.value = String(now);
    at.textContent = `${time(now)} / ${time(length)}`;
    bar.setAttribute("aria-valuetext", `${time(now)} of ${time(length)}`);
  };
  const seek = (/** @type {number} */ to) => {
    now = Math.min(length, Math.max(messages[0].t, to));
    const found = stateAt(messages, now);
    next = found.next;
    scene.particles.clear();
    model.hello(found.hello);
    model.tell("link", true);
    show();
  };
  const toggle = () => {
    playing = !playing;
    if (playing && now >= length) seek(messages[0].t);
    show();
  };
  seek(now);
  let last = performance.now();
  window.setInterval(() => {
    const elapsed = (performance.now() - last) / 1000;
    last = performance.now();
    if (!playing || document.hidden) return;
    now = Math.min(length, now + elapsed * Number(speed.value));
    for (; next < messages.length && messages[next].t <= now; next += 1) deliver(messages[next].event, messages[next].data);
    if (now >= length) playing = false;
    show();
  }, TICK_MS);
  button.addEventListener("click", toggle);
  bar.addEventListener("input", () => seek(Number(bar.value)));
  document.addEventListener("keydown", (event) => {
    if (event.target instanceof Element && event.target.closest("input, select, button, dialog")) return;
    if (event.key === " ") toggle();
    else if (event.key === "," || event.key === ".") seek(now + (event.key === "," ? -STEP_S : STEP_S));
    else return;
    event.preventDefault();
  });
  toast(`${name}: nothing of it runs now`);
}

/** @param {number} seconds */
function time(seconds) {
  return `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;
}
