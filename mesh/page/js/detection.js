/** The second tab: after each kill and healing, when each layer noticed. @module */
import { byId, h, patch } from "./dom.js";
import { after, clock } from "./format.js";
import { model } from "./model.js";

const DOWN = /** @type {Record<string, string>} */ ({
  attempt: "first attempt failed", process: "supervisor saw it", breaker: "first breaker opened",
  health: "its health check failed", registry: "registry told a caller", last: "last attempt routed there",
});
const UP = /** @type {Record<string, string>} */ ({
  process: "healthy again", health: "its health check passed", registry: "registry told a caller", "half-open": "first breaker probes",
  attempt: "first attempt answered", closed: "last breaker closed", full: "full share of the traffic",
});
const VERBS = /** @type {Record<string, string>} */ ({ kill: "killed", pause: "paused", drain: "drained", cut: "cut off", heal: "healed", ended: "went down by itself", back: "came back by itself",
  fault: "has a fault", "fault-over": "is rid of its fault",
});

export function startDetection() {
  const panel = /** @type {HTMLElement} */ (byId("detection"));
  const render = () => {
    const watches = [...model.watches.values()].sort((a, b) => b.id - a.id);
    byId("tab-detection").dataset.count = String(watches.length);
    if (panel.hidden) return;
    patch(panel, watches.length ? watches.map(watch)
      : [h("h2", null, "Detection"), h("p.note", null, "Click an instance to take it offline, or give it a fault. This shows, in milliseconds, when each layer noticed: the callers' attempts, their breakers, the health check, the registry.")]);
  };
  for (const topic of ["watch", "tab"]) model.on(topic, render);
}

/** What a fault is noticed by; the process itself goes on. @type {Record<string, Record<string, string>>} */
const WORDS = {
  fault: { ...DOWN, attempt: "first attempt failed or was slow" },
  "fault-over": { ...UP, attempt: "first attempt answered in time" },
};

/** @param {any} one */
function watch(one) {
  const words = WORDS[one.action] ?? (one.down ? DOWN : UP);
  const rows = one.rows.filter((/** @type {any} */ row) => row.key in words);
  const longest = Math.max(1, ...rows.map((/** @type {any} */ row) => row.ms));
  return h(one.down ? "section.watch" : "section.watch.up", { "data-key": one.id, "data-watch": one.instance },
    h("header", null, h("b", null, one.instance), h("span.verb", null, VERBS[one.action] ?? one.action), one.part && one.part !== "both" ? h("small", null, one.part) : "", h("time", null, clock(one.at))),
    one.note ? h("p.note", null, one.note) : "",
    rows.length ? "" : h("p.note", null, "Nobody noticed yet."),
    h("ol", null, rows.map((/** @type {any} */ row) => h("li", { "data-row": row.key },
      h("span", null, words[row.key], h("small", null, row.who === "supervisor" ? "" : `${row.who}${row.count > 1 ? `, ${row.count}×` : ""}`)),
      h("span.num", null, after(row.ms)), h("i", { style: { width: `${Math.sqrt(row.ms / longest) * 100}%` } })))));
}
