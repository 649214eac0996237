/** The fourth tab: what happened, newest first. @module */
import { byId, h, patch } from "./dom.js";
import { clock } from "./format.js";
import { model } from "./model.js";

const SHOWN = 120;
const QUIET = new Set(["ramp"]);
const NEAR_S = 60;

export function startEvents() {
  const panel = /** @type {HTMLElement} */ (byId("events"));
  const render = () => {
    if (panel.hidden) return;
    const found = model.events.filter(worthSaying).sort((a, b) => b.time - a.time).slice(0, SHOWN);
    patch(panel, [found.length ? h("ol.log", { "data-key": "log" }, found.map((event) => h("li", { "data-key": event.id }, h("time", null, clock(event.time)), h("div", null, ...words(event)))))
      : h("p.note", { "data-key": "none" }, "Nothing happened yet.")]);
  };
  for (const topic of ["event", "tab"]) model.on(topic, render);
}

/** A sidecar that starts hears of everybody: only who was acted on is news. @param {any} event */
function worthSaying(event) {
  if (QUIET.has(event.kind)) return false;
  if (event.kind !== "membership") return true;
  return model.events.some((other) => other.instance === event.endpoint && Math.abs(other.time - event.time) < NEAR_S);
}

/** @param {any} event @returns {(Node|string)[]} */
function words(event) {
  const why = event.reason ? h("small", null, event.reason) : "";
  const bold = (/** @type {string} */ text) => h("b", null, text);
  switch (event.kind) {
    case "action": return [bold(`${event.action} ${event.instance}`), event.part === "both" ? "" : ` (${event.part})`, h("small", null, `by the ${event.source}`)];
    case "refused": return [h("span.bad-text", null, `${event.action} ${event.instance} was refused`), why];
    case "load": return [bold("traffic "), event.rate === undefined ? "" : `${event.rate}/s `, event.pattern ? (typeof event.pattern === "string" ? event.pattern : event.pattern.pattern ?? "") : "", h("small", null, `by the ${event.source}`)];
    case "topology": return [bold(`${event.action} ${event.target.replace(">", " → ")}`), h("small", null, [event.settings, `by the ${event.source}`].filter(Boolean).join(" "))];
    case "fault":
    case "policy": return [bold(`${event.kind} ${event.name ?? event.policy ?? event.document ?? ""}`), ` ${event.change ?? event.action ?? ""}`, h("small", null, [event.what, event.reason, `by the ${event.source}`].filter(Boolean).join(", "))];
    case "state": return [bold(event.instance), ` ${event.before} → `, h("span", { class: event.after === "healthy" ? "good-text" : event.after === "down" ? "bad-text" : "warn-text" }, event.after), why];
    case "breaker": return [bold(event.source), " to ", bold(event.endpoint ?? ""), ": ", h(`span.breaker.${event.after}`, null, event.after), why];
    case "membership": return [bold(event.source), event.after === "gone" ? " was told: gone, " : " was told: joined, ", bold(event.endpoint ?? "")];
    case "told": return [bold(event.source), " was told: ", bold(event.endpoint ?? ""), ` ${event.after}`];
    case "health": return [bold(event.source), `: health check ${event.after}`, why];
    default: return [bold(event.source), `: ${event.kind} ${event.endpoint ?? ""} ${event.after ?? ""}`, why];
  }
}
