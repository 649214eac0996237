/** What a person does to the mesh, by the control API; errors are said in words. @module */
import { byId, h } from "./dom.js";
import { source } from "./source.js";
import { ask } from "./token.js";

const TOAST_MS = 4500;
/** Instances that an action is under way for. @type {Set<string>} */
export const busy = new Set();
const OFFLINE = new Set(["down", "paused", "draining"]);

/** @param {string} words @param {boolean} [bad] */
export function toast(words, bad = false) {
  const line = h(bad ? "p.bad" : "p", null, words);
  byId("toasts").append(line);
  window.setTimeout(() => line.remove(), TOAST_MS);
}

/** @param {string} method @param {string} path @param {any} [body] @returns {Promise<any>} null when it was refused */
export async function call(method, path, body) {
  if (!source.live) {
    toast("This is a recording: nothing of it runs now.", true);
    return null;
  }
  try {
    const answer = await ask(path, {
      method,
      headers: { "X-Mesh-Client": "page", ...(body ? { "Content-Type": "application/json" } : {}) },
      body: body ? JSON.stringify(body) : undefined,
    });
    const document = await answer.json();
    if (answer.ok) return document;
    toast(document.error ?? `${path} answered ${answer.status}`, true);
  } catch {
    toast("The control process does not answer.", true);
  }
  return null;
}

/** @param {string} name @param {string} action @param {string} [part] */
export async function act(name, action, part = "both") {
  if (busy.has(name)) return;
  busy.add(name);
  mark(name, true);
  const found = await call("POST", `/api/instances/${encodeURIComponent(name)}/${action}?part=${part}`);
  busy.delete(name);
  mark(name, false);
  if (found) toast(`${name} is ${found.state}${found.reason ? `: ${found.reason}` : ""}`);
}

/** Take it offline, or bring it back. @param {import("./model.js").Instance} instance */
export function toggle(instance) {
  return act(instance.name, OFFLINE.has(instance.state) ? "heal" : "kill");
}

/** @param {string} name @param {boolean} on */
function mark(name, on) {
  for (const element of document.querySelectorAll(`[data-instance="${CSS.escape(name)}"]`)) element.classList.toggle("busy", on);
}
