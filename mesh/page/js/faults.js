/** The fifth tab: faults that are in force, one more, and the policies that the sidecars act on. @module */
import { call, toast } from "./actions.js";
import { byId, h, patch } from "./dom.js";
import { model } from "./model.js";
import { source } from "./source.js";

const EVERY_MS = 2000;
const KINDS = /** @type {[string, string][]} */ ([
  ["delay", "Delay"], ["abort", "Answer an error"], ["reset", "Reset the connection"], ["hang", "Never answer"],
]);
const SHOWN = /** @type {Record<string, string>} */ ({ delay: "ms", abort: "status" });
const VALUES = /** @type {Record<string, string>} */ ({ delay: "300", abort: "503" });

/** @type {HTMLFormElement|null} */
let form = null;
/** Hosts whose VirtualService injects faults. @type {Set<string>} */
export const injected = new Set();

export function startFaults() {
  const panel = byId("faults");
  const list = h("div.faults");
  const policies = h("div.policies");
  form = make();
  panel.append(h("h2", null, "Faults"), list, form, h("h3", null, "Policies"), policies);
  const load = async () => {
    if (panel.hidden || document.hidden) return;
    const [faults, set] = await Promise.all([source.faults(), source.policies()]);
    showFaults(list, faults);
    showPolicies(policies, set);
  };
  list.addEventListener("click", async (event) => {
    const button = /** @type {HTMLElement|null} */ (event.target instanceof Element ? event.target.closest("[data-end]") : null);
    if (!button) return;
    const name = button.dataset.end ?? "";
    const found = await call("DELETE", name ? `/api/faults/${encodeURIComponent(name)}` : "/api/faults");
    if (found) toast(found.cleared.length ? `Ended: ${found.cleared.join(", ")}` : "There was no fault.");
    await load();
  });
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const found = await call("POST", "/api/faults", wish(new FormData(/** @type {HTMLFormElement} */ (form))));
    if (found) toast(`${found.fault?.what ?? "fault"} at ${found.fault?.instance ?? found.fault?.host ?? ""}`);
    await load();
  });
  model.on("tab", () => void load());
  model.on("graph", targets);
  model.on("event", (event) => {
    if (!event || event.kind === "policy" || event.kind === "fault") { void load(); void see(); }
  });
  window.setInterval(() => void load(), EVERY_MS);
}

/** Open the tab with this target. @param {string} target a service or an instance */
export function addFault(target) {
  byId("tab-faults").click();
  const select = form?.elements.namedItem("target");
  if (select instanceof HTMLSelectElement) {
    select.value = target;
    select.focus();
  }
}

/** Which hosts have faults by a VirtualService. */
async function see() {
  const set = await source.policies();
  injected.clear();
  for (const { kind, document } of set?.documents ?? []) {
    if (kind === "VirtualService" && document?.spec?.http?.some((/** @type {any} */ rule) => rule.fault)) for (const host of document.spec.hosts ?? []) injected.add(host);
  }
  model.tell("change", {});
}

function make() {
  const kind = /** @type {HTMLSelectElement} */ (h("select", { name: "kind", "aria-label": "What happens" }, KINDS.map(([value, words]) => h("option", { value }, words))));
  const value = /** @type {HTMLInputElement} */ (h("input", { name: "value", type: "number", min: 1, max: 60000, value: VALUES.delay, "aria-label": "Milliseconds or status" }));
  const unit = h("small", null, "ms");
  const amount = h("label", null, h("span", null, "How much"), value, unit);
  kind.addEventListener("change", () => {
    amount.hidden = !(kind.value in SHOWN);
    value.value = VALUES[kind.value] ?? "";
    unit.textContent = SHOWN[kind.value] ?? "";
  });
  const found = h("form.fields.one", { "aria-label": "A new fault" },
    h("label", null, h("span", null, "At"), h("select", { name: "target", "aria-label": "Service or instance" })),
    h("label", null, h("span", null, "What"), kind), amount,
    h("label", null, h("span", null, "Of the requests"), h("input", { name: "percent", type: "number", min: 1, max: 100, value: 100, "aria-label": "Percent of the requests" }), h("small", null, "%")),
    h("label", null, h("span", null, "For"), h("input", { name: "seconds", type: "number", min: 1, max: 3600, value: 60, "aria-label": "Seconds" }), h("small", null, "s")),
    h("p.buttons", null, h("button.primary", { type: "submit" }, "Start the fault")));
  return /** @type {HTMLFormElement} */ (found);
}

function targets() {
  const select = form?.elements.namedItem("target");
  if (!(select instanceof HTMLSelectElement)) return;
  const before = select.value;
  select.replaceChildren(...model.graph.services.map((/** @type {any} */ one) => h("optgroup", { label: one.name }, h("option", { value: one.name }, `${one.name}, every replica`),
    (model.nodes.get(one.name)?.instances ?? []).map((instance) => h("option", { value: instance.name }, instance.name)))));
  if ([...select.options].some((option) => option.value === before)) select.value = before;
}

/** @param {FormData} data @returns {any} what the control API takes */
function wish(data) {
  const kind = String(data.get("kind"));
  const percentage = Number(data.get("percent"));
  const common = { target: data.get("target"), ttl: `${Number(data.get("seconds"))}s` };
  if (kind === "delay") return { ...common, delay: { duration: `${Number(data.get("value"))}ms`, percentage } };
  return { ...common, action: kind, percentage, ...(kind === "abort" ? { status: Number(data.get("value")) } : {}) };
}

/** @param {HTMLElement} list @param {any} found */
function showFaults(list, found) {
  const faults = found?.faults ?? [];
  patch(list, !found ? [h("p.note", null, source.live ? "This mesh has no faults to give." : "Faults are not part of a recording; what they did is.")]
    : faults.length ? [h("table.rows", null, h("tbody", null, faults.map((/** @type {any} */ fault) => h("tr", { "data-key": fault.name, "data-fault": fault.name },
      h("td", null, fault.instance ?? fault.host), h("td", null, fault.what, h("div.quiet", null, fault.which === "all" ? "" : fault.which)), h("td.num", null, fault.ends_in_s === null ? "" : `${Math.round(fault.ends_in_s)} s`),
      h("td", null, h("button", { type: "button", "data-end": fault.name, "aria-label": `End the fault at ${fault.instance ?? fault.host}` }, "End")))))),
    ...(faults.length > 1 ? [h("p.buttons", { "data-key": "all" }, h("button", { type: "button", "data-end": "" }, "End all"))] : [])]
      : [h("p.note", null, "None. A fault ends by itself when its time is over.")]);
  if (form) form.hidden = !found || !source.live;
}

/** @param {HTMLElement} list @param {any} set */
function showPolicies(list, set) {
  const documents = (set?.documents ?? []).filter((/** @type {any} */ one) => one.kind !== "Fault");
  const { sidecars } = set ?? {};
  patch(list, [
    ...(documents.length ? [h("table.rows", null, h("tbody", null, documents.map((/** @type {any} */ one) => h("tr", { "data-key": `${one.kind}/${one.namespace}/${one.name}` }, h("td", null, (one.namespace ?? "default") === "default" ? one.name : `${one.namespace}/${one.name}`), h("td.quiet", null, one.kind)))))]
      : [h("p.note", null, "None. Write one with: mesh apply -f FILE")]),
    ...[...(set?.problems ?? []), ...model.warnings].map((/** @type {any} */ problem) => h("p.note.bad-text", null, String(problem))),
    ...(sidecars && set.version ? [h("p.note", { "data-key": "version" }, `Version ${set.version}${sidecars.total ? `, in force at ${sidecars.current ?? sidecars.acting ?? "?"} of ${sidecars.total} sidecars` : ""}`)] : []),
  ]);
}
