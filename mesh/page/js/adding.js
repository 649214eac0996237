/** The dialog that adds a service, and the topology as a file. @module */
import { call, toast } from "./actions.js";
import { byId, give, h } from "./dom.js";
import { model } from "./model.js";
import { ask } from "./token.js";

export function startAdding() {
  byId("add").addEventListener("click", openAdding);
  byId("save").addEventListener("click", save);
  const form = byId("adding-form");
  form.addEventListener("submit", (/** @type {Event} */ event) => {
    event.preventDefault();
    void add(new FormData(form));
  });
  byId("adding-cancel").addEventListener("click", () => byId("adding").close());
}

export function openAdding() {
  if (!model.graph) return;
  const caller = byId("adding-caller");
  caller.replaceChildren(h("option", { value: "" }, "nobody yet"),
    ...model.graph.services.filter((/** @type {any} */ one) => !one.command).map((/** @type {any} */ one) => h("option", { value: one.name, selected: one.name === model.chosen?.name }, one.name)));
  byId("adding").showModal();
  byId("adding-name").select();
}

/** @param {FormData} data */
async function add(data) {
  const name = String(data.get("name")).trim();
  const latency = Number(data.get("latency"));
  const button = byId("adding-submit");
  button.disabled = true;
  const found = await call("PUT", `/api/services/${encodeURIComponent(name)}`, {
    numReplicas: Number(data.get("replicas")), ...(latency > 0 ? { latency: `${latency}ms` } : {}),
  });
  const caller = String(data.get("caller"));
  if (found && caller) await call("PUT", `/api/calls/${encodeURIComponent(caller)}/${encodeURIComponent(name)}`, {});
  button.disabled = false;
  if (!found) return;
  byId("adding").close();
  toast(found.changed ? `${name} is added` : `${name} is there already, just so`);
  model.choose({ kind: "node", name });
}

/** What runs now, for `mesh up FILE`. */
export async function save() {
  const answer = await ask("/api/topology.yaml").catch(() => null);
  if (!answer?.ok) {
    toast("The control process does not give its topology.", true);
    return;
  }
  give(await answer.blob(), `${model.graph?.name ?? "topology"}.yaml`);
}
