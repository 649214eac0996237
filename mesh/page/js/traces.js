/** The third tab: the last traces, by service, outcome and duration. @module */
import { byId, h, link, patch } from "./dom.js";
import { clock, ms } from "./format.js";
import { model } from "./model.js";
import { source } from "./source.js";
import { openTrace } from "./waterfall.js";

const EVERY_MS = 2000;
const SHOWN = 60;

export function startTraces() {
  const panel = /** @type {HTMLElement} */ (byId("traces"));
  const service = h("select", { "aria-label": "Service" });
  const kind = h("select", { "aria-label": "Outcome or status" }, [["all", "any outcome"], ["failed", "failed"], ["retried", "retried"], ["2xx", "2xx"], ["4xx", "4xx"], ["5xx", "5xx"], ["0", "no answer"]].map(([value, words]) => h("option", { value }, words)));
  const least = h("input", { type: "number", min: 0, placeholder: "from ms", "aria-label": "Duration from, in milliseconds" });
  const list = h("ol.trace-list");
  const elsewhere = h("a", { target: "_blank", rel: "noreferrer", hidden: true }, "in Jaeger");
  const none = h("p.note", { hidden: true }, "No trace like this in the last half minute.");
  panel.append(h("h2", null, "Traces", h("small", null, "newest first"), elsewhere), h("div.filters", null, service, kind, least), list, none);
  model.on("graph", () => service.replaceChildren(h("option", { value: "" }, "all services"), ...model.graph.services.map((/** @type {any} */ one) => h("option", { value: one.name }, one.name))));
  model.on("graph", () => {
    const address = link(model.graph.jaeger);
    elsewhere.hidden = !address;
    if (address) elsewhere.setAttribute("href", address);
    else elsewhere.removeAttribute("href");
  });
  let asked = 0;
  const load = async () => {
    if (panel.hidden || document.hidden) return;
    asked += 1;
    const mine = asked;
    const outcome = /** @type {HTMLSelectElement} */ (kind).value;
    const query = new URLSearchParams({ limit: String(SHOWN), [/\d/.test(outcome) ? "status" : "kind"]: outcome });
    if (/** @type {HTMLSelectElement} */ (service).value) query.set("service", /** @type {HTMLSelectElement} */ (service).value);
    const shortest = Math.max(0, Math.round(Number(/** @type {HTMLInputElement} */ (least).value) || 0));
    if (shortest) query.set("min_ms", String(shortest));
    const found = await source.recent(query);
    if (found && mine === asked) show(found);
  };
  const show = (/** @type {any[]} */ traces) => {
    const longest = Math.max(1, ...traces.map((trace) => trace.ms));
    patch(list, traces.map((trace) => h("li", { "data-key": trace.id, class: trace.failed ? "failed" : "" }, h("button", { type: "button", "data-trace": trace.id },
      h("span.mark"), h("span", null, trace.name, " ", h("span.quiet", null, `${trace.status || "no answer"} · ${trace.services.length} services`)),
      h(trace.retries ? "span.when.retried" : "span.when", null, trace.retries ? `${trace.retries} ${trace.retries > 1 ? "retries" : "retry"}` : clock(trace.at)), h("span.num", null, ms(trace.ms)),
      h("span.bar-ms", null, h("i", { style: { width: `${(trace.ms / longest) * 100}%` } }))))));
    none.hidden = traces.length > 0;
  };
  panel.addEventListener("click", (event) => {
    const button = /** @type {HTMLElement|null} */ (event.target instanceof Element ? event.target.closest("[data-trace]") : null);
    if (button) void openTrace(button.dataset.trace ?? "");
  });
  for (const control of [service, kind, least]) control.addEventListener("input", () => void load());
  model.on("tab", () => void load());
  // a list that changes under the pointer cannot be clicked: it stands still while somebody is in it
  window.setInterval(() => { if (!list.matches(":hover, :focus-within")) void load(); }, EVERY_MS);
}
