/** The stream of the control API into the model; closed while the tab is hidden. @module */
import { model } from "./model.js";

const AGAIN_MS = 1000;
/** @type {EventSource|null} */
let source = null;
let timer = 0;

/** Begin, and follow the tab's visibility. */
export function start() {
  open();
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
}

function open() {
  close();
  source = new EventSource("/api/stream");
  for (const topic of ["hello", "change", "second", "event", "watch"]) {
    source.addEventListener(topic, (message) => {
      /** @type {any} */ (model)[topic](JSON.parse(message.data));
      if (topic === "hello") model.tell("link", true);
    });
  }
  source.addEventListener("flights", (message) => model.tell("flights", JSON.parse(message.data)));
  source.addEventListener("error", () => {
    model.tell("link", false);
    close();
    timer = window.setTimeout(open, AGAIN_MS);
  });
}

function close() {
  window.clearTimeout(timer);
  source?.close();
  source = null;
}
