/** The stream of the control API into the model; closed while the tab is hidden, unless it is recorded. @module */
import { model } from "./model.js";
import { ask, take } from "./token.js";

const AGAIN_MS = 1000;
/** The first message of a mesh of hundreds has some megabytes; who sends more without an end is not ours. */
const MOST_CHARACTERS = 64e6;
/** The one that is read. @type {AbortController|null} */
let reading = null;
let timer = 0;

/** Told each message as it came; with one of these the stream goes on in a hidden tab. @type {Set<(topic: string, text: string) => void>} */
export const taps = new Set();

/** Begin, and follow the tab's visibility. */
export function start() {
  take();
  open();
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      if (!reading) open();
    } else if (!taps.size) close();
  });
  // a new link in the same tab: the browser does not load the page again
  window.addEventListener("hashchange", () => { if (take()) open(); });
}

/** Begin anew: the first message is everything. */
export function open() {
  close();
  reading = new AbortController();
  void read(reading);
}

/** @param {AbortController} mine */
async function read(mine) {
  try {
    const answer = await ask("/api/stream", { signal: mine.signal, cache: "no-store" });
    if (answer.status === 401) {
      model.tell("link", false);
      model.tell("locked");
      return;
    }
    if (answer.ok && answer.body) await each(answer.body, (topic, text) => { if (mine === reading) hear(topic, text); });
  } catch {
    // it is over, in one of many ways
  }
  if (mine !== reading) return;
  model.tell("link", false);
  close();
  timer = window.setTimeout(open, AGAIN_MS);
}

/**
 * Server-sent events, which EventSource would read if it could send a header.
 * @param {ReadableStream<Uint8Array>} body @param {(topic: string, text: string) => void} tell
 */
async function each(body, tell) {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  let held = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    let from = Math.max(0, held.length - 1);
    held += decoder.decode(value, { stream: true });
    for (let end = held.indexOf("\n\n", from); end >= 0; end = held.indexOf("\n\n")) {
      const fields = new Map(held.slice(0, end).split("\n").map((line) => /** @type {[string, string]} */ (line.split(/: (.*)/s, 2))));
      held = held.slice(end + 2);
      tell(fields.get("event") ?? "", fields.get("data") ?? "");
      from = 0;
    }
    if (held.length > MOST_CHARACTERS) throw new Error("a message without an end");
  }
}

/** @param {string} topic @param {string} text */
function hear(topic, text) {
  if (topic === "replay") {
    close();
    void import("./replay.js").then(({ replay }) => replay(JSON.parse(text)));
    return;
  }
  try {
    for (const tap of taps) tap(topic, text);
    deliver(topic, JSON.parse(text));
    if (topic === "hello") model.tell("link", true);
  } catch (error) {
    reportError(error); // one message that cannot be shown does not end the stream
  }
}

/** @param {string} topic @param {any} message */
export function deliver(topic, message) {
  if (topic === "flights") model.tell("flights", message);
  else /** @type {any} */ (model)[topic](message);
}

function close() {
  window.clearTimeout(timer);
  reading?.abort();
  reading = null;
}
