/** What somebody did, or what broke, as marks under the lines; one colour for each kind. Pure. @module */

const OFFLINE = new Set(["kill", "pause", "drain", "cut"]);

/**
 * @typedef {{at: number, colour: string, words: string}} Mark
 * @param {any} event @returns {Mark|null} null for what is only a consequence
 */
export function mark(event) {
  const made = (/** @type {string} */ colour, /** @type {string} */ words) => ({ at: event.time, colour, words });
  switch (event.kind) {
    case "action": return made(OFFLINE.has(event.action) ? "red" : "green", `${event.action} ${event.instance}`);
    case "state": return event.after === "down" ? made("red", `${event.instance} went down`) : null;
    // what a sidecar says of a fault is its consequence; what a person or the time does is the cause
    case "fault": return event.target ? made("yellow", `fault at ${event.target} ${event.action}`) : null;
    case "policy": return event.document ? made("accent", `policy ${event.document} ${event.action}`) : null;
    case "load": return made("accent", `traffic${event.rate === undefined ? "" : ` ${event.rate}/s`}`);
    case "topology": return made("accent", `${event.action} ${event.target.replace(">", " → ")}`);
    default: return null;
  }
}
