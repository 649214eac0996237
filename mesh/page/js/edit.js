/** Changes a service or a call from the panel; the form stays what a person made of it until it is applied. @module */
import { call, toast } from "./actions.js";
import { h } from "./dom.js";
import { model } from "./model.js";
import { changes, formOf } from "./settings.js";
import { ask } from "./token.js";

/** The form of the service that is shown; made once, so that nothing typed is lost when the numbers around it change. @type {{name: string, element: HTMLDetailsElement, load: () => Promise<void>}|null} */
let shown = null;

/** @param {string} name @returns {HTMLElement|null} the ingress has no settings */
export function serviceEditor(name) {
  if (!model.graph || name === model.graph.ingress || !model.graph.services.some((/** @type {any} */ one) => one.name === name)) return null;
  if (shown?.name !== name) {
    const element = /** @type {HTMLDetailsElement} */ (h("details.editor", { "data-key": `edit-${name}` }, h("summary", null, "Edit")));
    shown = { name, element, load: fill(name, element) };
    element.addEventListener("toggle", () => { if (element.open) void shown?.load(); });
  }
  return shown.element;
}

/** Choose a service and open its form. @param {string} name */
export function edit(name) {
  model.choose({ kind: "node", name });
  window.setTimeout(() => {
    if (shown?.name !== name) return;
    shown.element.open = true;
    shown.element.querySelector("summary")?.focus();
    shown.element.scrollIntoView({ block: "nearest" });
  });
}

/** @param {string} edge */
export function callEditor(edge) {
  const [caller, callee] = edge.split(">");
  if (caller === model.graph?.ingress || (model.graph?.outside ?? []).includes(callee)) return null;
  return h("p.buttons", { "data-key": "edit-call" }, h("button.danger", { type: "button", "data-disconnect": edge }, `Stop ${caller} from calling ${callee}`));
}

/** @param {string} caller @param {string} callee */
export async function connect(caller, callee) {
  if (await call("PUT", path("calls", caller, callee), {})) toast(`${caller} calls ${callee}`);
}

/** @param {string} edge */
export async function disconnect(edge) {
  const [caller, callee] = edge.split(">");
  if (!await call("DELETE", path("calls", caller, callee))) return;
  toast(`${caller} no longer calls ${callee}`);
  model.choose({ kind: "node", name: caller });
}

/** @param {...string} words */
function path(...words) {
  return `/api/${words.map(encodeURIComponent).join("/")}`;
}

/** @param {string} name @param {HTMLElement} element @returns {() => Promise<void>} reads the settings anew */
function fill(name, element) {
  const number = (/** @type {string} */ label, /** @type {string} */ unit, /** @type {Record<string, any>} */ limits) => {
    const input = /** @type {HTMLInputElement} */ (h("input", { type: "number", ...limits, "aria-label": unit ? `${label}, ${unit}` : label }));
    return { input, row: h("label", { title: label }, h("span", null, label.replace("Latency ", "")), input, h("small", null, unit)) };
  };
  const replicas = number("Replicas", "", { min: 1, max: 50, step: 1 });
  const p50 = number("Latency p50", "ms", { min: 0, max: 60000, step: "any" });
  const p99 = number("Latency p99", "ms", { min: 0, max: 60000, step: "any" });
  const errors = number("Errors", "%", { min: 0, max: 100, step: "any" });
  const apply = /** @type {HTMLButtonElement} */ (h("button.primary", { type: "submit" }, "Apply"));
  const remove = h("button.danger", { type: "button" }, "Remove service");
  const form = h("form.fields", { "aria-label": `Settings of ${name}` }, replicas.row, p50.row, p99.row, errors.row, h("p.buttons", null, apply, remove));
  const callee = /** @type {HTMLSelectElement} */ (h("select", { "aria-label": `Service that ${name} shall call` }));
  const calls = h("form.calls-to", { "aria-label": `Calls of ${name}` }, h("span", null, "Call"), callee, h("button", { type: "submit" }, "Connect"));
  const note = h("p.note", { hidden: true });
  element.append(form, calls, note);

  /** @type {import("./settings.js").Form|null} */
  let before = null;
  const load = async () => {
    const answer = await ask(path("services", name)).catch(() => null);
    if (!answer?.ok) return;
    const service = await answer.json();
    before = formOf(service);
    replicas.input.value = String(before.replicas);
    p50.input.value = before.p50 === null ? "" : String(before.p50);
    p99.input.value = before.p99 === null ? "" : String(before.p99);
    errors.input.value = String(before.errors);
    for (const one of [p50, p99, errors]) one.input.disabled = service.command;
    calls.hidden = service.command;
    /** @type {HTMLButtonElement} */ (remove).disabled = service.isEntrypoint;
    const already = new Set([name, ...service.calls.map((/** @type {any} */ one) => one.service)]);
    callee.replaceChildren(...model.graph.services.filter((/** @type {any} */ one) => !already.has(one.name)).map((/** @type {any} */ one) => h("option", { value: one.name }, one.name)));
    const words = service.command ? "It runs a program of its own: only its replicas can be changed."
      : service.isEntrypoint ? "The entrypoint cannot be removed." : before.kind !== "none" && before.p50 === null ? `Its latency is ${before.kind}; type one to replace it.` : "";
    note.textContent = words;
    note.hidden = !words;
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (before) void send(before);
  });
  const send = async (/** @type {import("./settings.js").Form} */ was) => {
    const value = (/** @type {HTMLInputElement} */ input) => (input.value === "" ? null : Number(input.value));
    const body = changes(was, { replicas: value(replicas.input) ?? was.replicas, p50: value(p50.input), p99: value(p99.input), errors: value(errors.input) ?? 0, kind: "" });
    if (!Object.keys(body).length) {
      toast("Nothing is different.");
      return;
    }
    apply.disabled = true;
    apply.textContent = "Applying";
    const found = await call("PUT", path("services", name), body);
    apply.disabled = false;
    apply.textContent = "Apply";
    if (found) {
      toast(`${name} is changed: ${Object.keys(body).map((key) => WORDS[key] ?? key).join(", ")}`);
      await load();
    }
  };
  calls.addEventListener("submit", (event) => {
    event.preventDefault();
    if (callee.value) void connect(name, callee.value).then(load);
  });
  remove.addEventListener("click", async () => {
    if (remove.dataset.sure !== "yes") {
      remove.dataset.sure = "yes";
      remove.textContent = "Really remove it?";
      window.setTimeout(() => { remove.dataset.sure = ""; remove.textContent = "Remove service"; }, SURE_MS);
      return;
    }
    toast(`${name} finishes what it has, and goes`);
    if (await call("DELETE", path("services", name))) model.choose(null);
  });
  return load;
}

/** Somebody else may have changed it; what is being typed stays. */
model.on("graph", () => { if (shown?.element.open && model.nodes.has(shown.name) && !shown.element.contains(document.activeElement)) void shown.load(); });

const WORDS = /** @type {Record<string, string>} */ ({ numReplicas: "replicas", latency: "latency", errorRate: "errors" });
/** A second click within this time is meant. */
const SURE_MS = 4000;
