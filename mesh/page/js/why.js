/** Why an exchange went as it did: the rule, who could have been asked, and each attempt with its reason. @module */
import { h } from "./dom.js";
import { ms } from "./format.js";

/** @param {any[]} exchanges of a trace @param {string} span @returns {HTMLElement|null} of the exchange that this span is of */
export function why(exchanges, span) {
  const found = exchanges.find((one) => one.span_id === span);
  if (!found || (found.direction === "inbound" && found.flag === "-")) return null;
  return h("details.why", { open: found.attempts.length > 1 || found.flag !== "-" },
    h("summary", null, summary(found)),
    h("p", null, facts(found).join(" · ")),
    found.attempts.length ? table(["attempt", "at", "because", "outcome", "breaker", "took"], found.attempts.map((/** @type {any} */ one) => [
      one.number, one.endpoint, plain(one.reason) || "first try", `${one.status || ""} ${plain(one.outcome)}`.trim(), `${one.breaker}${one.probe ? ", probe" : ""}`, ms(one.duration_ms)])) : null,
    found.candidates.length ? table(["could be asked", "breaker", "health", "weight", "cost", "pending"], found.candidates.map((/** @type {any} */ one) => [
      one.endpoint, one.breaker, one.health, number(one.weight), number(one.cost), number(one.pending)])) : null);
}

/** @param {any} one */
function summary(one) {
  const tries = one.attempts.length;
  const words = tries > 1 ? `${tries} attempts` : tries === 1 ? `asked ${one.attempts[0].endpoint}` : "asked nobody";
  return `${one.instance} to ${one.upstream || one.host}: ${words}${one.flag === "-" ? "" : `, ${one.flag} ${one.detail ?? ""}`}`;
}

/** @param {any} one @returns {string[]} */
function facts(one) {
  return [
    one.route ? `rule ${one.route}${one.policy_version ? ` of policies ${one.policy_version}` : ""}` : "",
    one.limit_ms ? `deadline ${ms(one.limit_ms)}${one.remaining_ms === null ? "" : `, ${ms(one.remaining_ms)} left at the end`}` : "",
    one.budget ? `retry budget ${Object.entries(one.budget).map(([key, value]) => `${plain(key)} ${number(value)}`).join(", ")}` : "",
    one.kept ? `kept as ${one.kept}` : "",
  ].filter(Boolean);
}

/** @param {string[]} heads @param {any[][]} rows */
function table(heads, rows) {
  return h("table", null, h("thead", null, h("tr", null, heads.map((head) => h("th", null, head)))), h("tbody", null, rows.map((row) => h("tr", null, row.map((cell) => h("td", null, cell ?? "–"))))));
}

/** @param {any} words */
function plain(words) {
  return String(words ?? "").replaceAll("_", " ");
}

/** @param {any} value */
function number(value) {
  return typeof value === "number" && !Number.isInteger(value) ? value.toFixed(2) : value ?? "–";
}
