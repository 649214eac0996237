/** One trace as a waterfall, each attempt with what came of it and why. @module */
import { toast } from "./actions.js";
import { byId, h, link } from "./dom.js";
import { ms } from "./format.js";
import { model } from "./model.js";
import { source } from "./source.js";
import { why } from "./why.js";

/** @typedef {{id: string, parent: string, name: string, start: number, length: number, service: string, instance: string, tags: Record<string, any>, children: Span[]}} Span */

const INDENT_PX = 13;
const KEY = ["sidecar", "attempt", "app", "retry", "error"];

/** @param {string} id */
export async function openTrace(id) {
  const document = await source.trace(id);
  if (!document) {
    toast("This trace is no longer kept.", true);
    return;
  }
  const roots = tree(document);
  const spans = flat(roots);
  const start = Math.min(...spans.map(({ span }) => span.start));
  const total = Math.max(1, ...spans.map(({ span }) => span.start + span.length - start));
  const dialog = byId("waterfall");
  const close = h("button", { type: "button" }, "Close");
  close.addEventListener("click", () => dialog.close());
  dialog.replaceChildren(
    h("header", null, h("h2", null, "Trace"), h("span.num", { id: "trace-id" }, id), h("span", null, `${ms(total / 1000)}, ${spans.length} spans`), jaeger(id), h("span.key", null, KEY.map((kind) => h(`span.span-bar.${kind}`, null, h("i"), kind))), close),
    h("div.spans", null, h("div.corner", null, "service, span"), axis(total), spans.flatMap(({ span, depth }) => line(span, depth, start, total))));
  if (!dialog.open) dialog.showModal();
  void source.explain(id).then((exchanges) => {
    for (const row of /** @type {NodeListOf<HTMLElement>} */ (dialog.querySelectorAll("[data-span]"))) {
      const words = why(exchanges, row.dataset.span ?? "");
      if (words) row.after(words);
    }
  });
  // what went wrong is what one looks for
  dialog.querySelector(".span-why")?.scrollIntoView({ block: "center" });
}

/** The same trace in the Jaeger that the mesh sends its spans to, where there is one. @param {string} id */
function jaeger(id) {
  const address = link(model.graph?.jaeger);
  return address && h("a", { href: `${address}/trace/${encodeURIComponent(id)}`, target: "_blank", rel: "noreferrer" }, "Jaeger");
}

/** @param {any} document as Jaeger gives it @returns {Span[]} the roots */
function tree(document) {
  /** @type {Map<string, Span>} */
  const all = new Map();
  for (const span of document.spans) {
    const tags = Object.fromEntries(span.tags.map((/** @type {any} */ tag) => [tag.key, tag.value]));
    const owner = document.processes[span.processID];
    const of = Object.fromEntries(owner.tags.map((/** @type {any} */ tag) => [tag.key, tag.value]));
    all.set(span.spanID, {
      id: span.spanID, parent: span.references.find((/** @type {any} */ one) => one.refType === "CHILD_OF")?.spanID ?? "", name: span.operationName,
      start: span.startTime, length: span.duration, service: owner.serviceName, instance: of["service.instance.id"] ?? "",
      tags: { ...tags, sidecar: of["mesh.component"] === "sidecar" }, children: [],
    });
  }
  /** @type {Span[]} */
  const roots = [];
  for (const span of all.values()) {
    const above = all.get(span.parent) ?? around(span, all);
    if (above) above.children.push(span);
    else roots.push(span);
  }
  return roots;
}

/** The span between did not come: the narrowest one of the same instance that encloses it. @param {Span} span @param {Map<string, Span>} all */
function around(span, all) {
  /** @type {Span|null} */
  let best = null;
  for (const other of all.values()) {
    const encloses = other !== span && other.instance === span.instance && other.tags["mesh.direction"] === "inbound"
      && other.start <= span.start && other.start + other.length >= span.start;
    if (encloses && (!best || other.length < best.length)) best = other;
  }
  return best;
}

/** @param {Span[]} roots @returns {{span: Span, depth: number}[]} */
function flat(roots) {
  /** @type {{span: Span, depth: number}[]} */
  const found = [];
  const visit = (/** @type {Span} */ span, /** @type {number} */ depth) => {
    found.push({ span, depth });
    for (const child of span.children.sort((a, b) => a.start - b.start)) visit(child, depth + 1);
  };
  for (const root of roots.sort((a, b) => a.start - b.start)) visit(root, 0);
  return found;
}

/** @param {number} total microseconds */
function axis(total) {
  const marks = [0, 0.25, 0.5, 0.75, 1];
  return h("div.axis", null, marks.map((share) => h("span", { style: { left: `${share * 100}%` } }, ms((total * share) / 1000))));
}

/** @param {Span} span @param {number} depth @param {number} start @param {number} total @returns {Node[]} */
function line(span, depth, start, total) {
  const attempt = span.tags["mesh.attempt"];
  const failed = span.tags.error === true;
  const kind = failed ? "error" : attempt > 1 ? "retry" : attempt ? "attempt" : span.tags.sidecar ? "sidecar" : "app";
  const left = ((span.start - start) / total) * 100;
  const width = (span.length / total) * 100;
  const late = left + width > 72;
  const words = explain(span);
  return [
    h("div.span-name", { style: { paddingLeft: `${depth * INDENT_PX}px` }, title: `${span.instance} ${span.name}` },
      h("b", null, span.instance || span.service), h("span", null, span.tags.sidecar ? span.name : `app ${span.name.replace("/{path}", "")}`)),
    h(`div.span-bar.${kind}`, { "data-span": span.id }, h("i", { style: { left: `${left}%`, width: `${width}%` } }),
      h(late ? "em.left" : "em", { style: { left: late ? `${left}%` : `${left + width}%` } }, ms(span.length / 1000))),
    ...(words ? [h(attempt > 1 && !failed ? "div.span-why.retry" : "div.span-why", { style: { paddingLeft: `${depth * INDENT_PX}px` } }, words)] : []),
  ];
}

/** @param {Span} span @returns {string} why an attempt went as it did; empty when there is nothing to say */
function explain(span) {
  const { tags } = span;
  const attempt = tags["mesh.attempt"];
  const status = tags["http.response.status_code"];
  if (attempt) {
    const outcome = String(tags["mesh.outcome"] ?? "").replaceAll("_", " ");
    if (tags.error) return `Attempt ${attempt} at ${tags["mesh.endpoint"]} failed: ${outcome}${status ? ` (${status})` : ""}${tags["mesh.retry_reason"] ? `, ${tags["mesh.retry_reason"]}` : ""}`;
    return attempt > 1 ? `Attempt ${attempt} at ${tags["mesh.endpoint"]}, after the one before it failed${tags["mesh.retry_reason"] ? `: ${tags["mesh.retry_reason"]}` : ""}` : "";
  }
  if (!tags.error) return "";
  const flag = tags.response_flags && tags.response_flags !== "-" ? `${tags.response_flags} ` : "";
  return `${status ?? "No answer"} ${flag}${tags.response_code_details ?? tags["otel.status_description"] ?? ""}`.trim();
}
