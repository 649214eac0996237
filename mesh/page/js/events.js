/** The fourth tab: what happened, newest first. @module */
import { byId, h, patch } from "./dom.js";
import { clock } from "./format.js";
import { model } from "./model.js";

const SHOWN = 120;
const QUIET = new Set(["ramp"]);
const NEAR_S = 60;
/** What each sidecar says for itself, though it is the same for all. */
const ALIKE = new Set(["policy", "told", "membership"]);
const TOGETHER_S = 3;
/** A hundred sidecars that speak at once are drawn once. */
const SOON_MS = 150;

export function startEvents() {
  const panel = /** @type {HTMLElement} */ (byId("events"));
  let waiting = false;
  const render = () => {
    waiting = false;
    if (panel.hidden) return;
    const found = gather(model.events.filter(worthSaying).sort((a, b) => b.time - a.time)).slice(0, SHOWN);
    patch(panel, [found.length ? h("ol.log", { "data-key": "log" }, found.map(({ event, more }) => h("li", { "data-key": event.id }, h("time", null, clock(event.time)), h("div", null, ...words(event, more)))))
      : h("p.note", { "data-key": "none" }, "Nothing happened yet.")]);
  };
  model.on("tab", render);
  model.on("event", () => {
    if (waiting) return;
    waiting = true;
    window.setTimeout(render, SOON_MS);
  });
}

/** A sidecar that starts hears of everybody: only who was acted on is news. @param {any} event */
function worthSaying(event) {
  if (QUIET.has(event.kind)) return false;
  if (event.kind !== "membership") return true;
  return model.events.some((other) => other.instance === event.endpoint && Math.abs(other.time - event.time) < NEAR_S);
}

/**
 * What many sidecars say at the same time is one line.
 * @param {any[]} events newest first @returns {{event: any, more: number}[]}
 */
function gather(events) {
  /** @type {Map<string, {event: any, more: number}>} */
  const last = new Map();
  /** @type {{event: any, more: number}[]} */
  const found = [];
  for (const event of events) {
    const key = ALIKE.has(event.kind) && !event.document ? [event.kind, event.endpoint, event.after, event.reason].join("\n") : "";
    const before = key ? last.get(key) : undefined;
    if (before && before.event.time - event.time < TOGETHER_S && before.event.source !== event.source) {
      before.more += 1;
      continue;
    }
    const row = { event, more: 0 };
    if (key) last.set(key, row);
    found.push(row);
  }
  return found;
}

/** @param {any} event @param {number} more sidecars that say the same @returns {(Node|string)[]} */
function words(event, more) {
  const why = event.reason ? h("small", null, event.reason) : "";
  const bold = (/** @type {string} */ text) => h("b", null, text);
  const who = [bold(event.source), more ? ` and ${more} more` : ""];
  const toldOf = more ? " were told: " : " was told: ";
  switch (event.kind) {
    case "action": return [bold(`${event.action} ${event.instance}`), event.part === "both" ? "" : ` (${event.part})`, h("small", null, `by the ${event.source}`)];
    case "refused": return [h("span.bad-text", null, `${event.action} ${event.instance} was refused`), why];
    case "load": return [bold("traffic "), event.rate === undefined ? "" : `${event.rate}/s `, event.pattern ? (typeof event.pattern === "string" ? event.pattern : event.pattern.pattern ?? "") : "", h("small", null, `by the ${event.source}`)];
    case "topology": return [bold(`${event.action} ${event.target.replace(">", " → ")}`), h("small", null, [event.settings, `by the ${event.source}`].filter(Boolean).join(" "))];
    case "fault":
      if (!event.target) return [bold(event.source), `: fault ${event.after === "applied" ? "acts" : event.after === "expired" ? "is over" : "is taken away"}`, why];
      return [bold(`fault at ${event.target}`), ` ${event.action}`, h("small", null, `${event.reason}, by the ${event.source}`)];
    case "policy":
      if (!event.document) return [bold("policies "), ...who, h("small", null, event.reason)];
      return [bold(`policy ${event.document}`), ` ${event.action}`, h("small", null, `by the ${event.source}`)];
    case "state": return [bold(event.instance), ` ${event.before} → `, h("span", { class: event.after === "healthy" ? "good-text" : event.after === "down" ? "bad-text" : "warn-text" }, event.after), why];
    case "breaker": return [bold(event.source), " to ", bold(event.endpoint || `all of ${event.upstream ?? "it"}`), ": ", h(`span.breaker.${event.after}`, null, event.after), why];
    case "floor": return [bold(event.source), " to ", bold(event.endpoint ?? ""), event.after === "held" ? ": asked still, too few others are left" : ": asked as usual again", why];
    case "membership": return [...who, toldOf, bold(event.endpoint ?? ""), event.after === "gone" ? " is gone" : " joined"];
    case "told": return [...who, toldOf, bold(event.endpoint ?? ""), ` is ${event.after}`];
    case "health": return [bold(event.source), `: health check ${event.after}`, why];
    default: return [bold(event.source), `: ${event.kind} ${event.endpoint ?? ""} ${event.after ?? ""}`, why];
  }
}
