/** The stream of the control API into the model; closed while the tab is hidden, unless it is recorded. @module */
import { model } from "./model.js";

const AGAIN_MS = 1000;
const TOPICS = ["hello", "change", "second", "event", "watch", "flights"];
/** @type {EventSource|null} */
let source = null;
let timer = 0;

/** Told each message as it came; with one of these the stream goes on in a hidden tab. @type {Set<(topic: string, text: string) => void>} */
export const taps = new Set();

/** Begin, and follow the tab's visibility. */
export function start() {
  open();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      if (!source) open();
    } else if (!taps.size) close();
  });
}

/** Begin anew: the first message is everything. */
export function open() {
  close();
  source = new EventSource("/api/stream");
  for (const topic of TOPICS) {
    source.addEventListener(topic, (message) => {
      for (const tap of taps) tap(topic, message.data);
      deliver(topic, JSON.parse(message.data));
      if (topic === "hello") model.tell("link", true);
    });
  }
  source.addEventListener("replay", (message) => {
    close();
    void import("./replay.js").then(({ replay }) => replay(JSON.parse(message.data)));
  });
  source.addEventListener("error", () => {
    model.tell("link", false);
    close();
    timer = window.setTimeout(open, AGAIN_MS);
  });
}

/** @param {string} topic @param {any} message */
export function deliver(topic, message) {
  if (topic === "flights") model.tell("flights", message);
  else /** @type {any} */ (model)[topic](message);
}

function close() {
  window.clearTimeout(timer);
  source?.close();
  source = null;
}
