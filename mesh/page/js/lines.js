/** The calls between services as curves, one to each instance, with their numbers; drawn only when they change. @module */
import { FAR } from "./camera.js";
import { injected } from "./faults.js";
import { ms, percent, rate } from "./format.js";
import { xAt, yAt } from "./routes.js";

const LABEL_AT = 0.5;
/** Of the retry budget: a gauge that is as good as full says nothing; one below the other mark is red. */
const FULL = 0.97;
const LOW = 0.25;
const GAUGE_PX = 40;
const MANY_EDGES = 45;
const NEAR = 9;
const STEPS = 24;

/**
 * @param {CanvasRenderingContext2D} context for the lines @param {CanvasRenderingContext2D} above for their words, over the dots
 * @param {import("./camera.js").Camera} camera @param {number} ratio device pixels
 * @param {Map<string, import("./routes.js").Route>} routes @param {import("./model.js").Model} model
 * @param {Record<string, string>} colours @param {string|null} hovered an edge
 */
export function draw(context, above, camera, ratio, routes, model, colours, hovered) {
  for (const one of [context, above]) {
    one.setTransform(1, 0, 0, 1, 0, 0);
    one.clearRect(0, 0, one.canvas.width, one.canvas.height);
    one.setTransform(ratio * camera.scale, 0, 0, ratio * camera.scale, ratio * camera.x, ratio * camera.y);
  }
  const chosen = model.chosen;
  for (const route of routes.values()) {
    const edge = model.edges.get(route.edge);
    if (edge) line(context, above, route, edge, model, colours, lit(route.edge, chosen, hovered), camera.scale);
  }
  const few = (model.edges.size <= MANY_EDGES && camera.scale >= FAR) || camera.scale > 0.8;
  const labelled = new Set();
  for (const route of routes.values()) {
    if (labelled.has(route.edge)) continue;
    labelled.add(route.edge);
    const edge = model.edges.get(route.edge);
    if (edge && (few || lit(route.edge, chosen, hovered) > 0)) label(above, route.edge, edge, routes, colours, lit(route.edge, chosen, hovered), camera.scale);
  }
}

/** @param {string} name @param {any} chosen @param {string|null} hovered @returns {number} 1 lit, 0 as usual, -1 dim */
function lit(name, chosen, hovered) {
  if (name === hovered) return 1;
  if (!chosen) return 0;
  if (chosen.kind === "edge") return chosen.name === name ? 1 : -1;
  return name.split(">").includes(chosen.name) ? 1 : -1;
}

/** @param {CanvasRenderingContext2D} context @param {CanvasRenderingContext2D} above @param {import("./routes.js").Route} route @param {import("./model.js").Edge} edge @param {any} model @param {Record<string, string>} colours @param {number} light @param {number} scale */
function line(context, above, route, edge, model, colours, light, scale) {
  const { c } = route;
  const endpoint = edge.endpoints.find((one) => one.id === route.instance);
  const state = model.instance(route.instance)?.state;
  const breaker = endpoint?.breaker ?? "closed";
  context.globalAlpha = light < 0 ? 0.25 : light > 0 ? 1 : 0.8;
  context.lineWidth = (1.1 + Math.min(2.2, Math.log10(1 + edge.rps) * 0.75)) / Math.max(0.5, scale) * (light > 0 ? 1.35 : 1);
  context.strokeStyle = breaker === "open" ? colours.red : breaker === "half-open" ? colours.yellow
    : !endpoint || state === "down" ? colours.line : edge.error_rate >= 0.1 ? colours.red : edge.error_rate >= 0.01 ? colours.yellow
      : light > 0 ? colours.accent : edge.rps ? colours.strong : colours.line;
  context.setLineDash(breaker !== "closed" || !endpoint || state === "down" ? [5, 5] : []);
  context.beginPath();
  context.moveTo(c[0], c[1]);
  context.bezierCurveTo(c[2], c[3], c[4], c[5], c[6], c[7]);
  context.stroke();
  context.setLineDash([]);
  if (breaker !== "closed") {
    const open = Object.values(endpoint?.callers ?? {}).filter((one) => one === breaker).length;
    const all = Object.keys(endpoint?.callers ?? {}).length;
    above.globalAlpha = light < 0 ? 0.3 : 1;
    pill(above, c[6] - 4, c[7], `${breaker === "open" ? "open" : "half"} ${open}/${all}${endpoint?.left_s ? ` ${endpoint.left_s} s` : ""}`, breaker === "open" ? colours.red : colours.yellow, colours.stage, scale, 9, true);
  }
  context.globalAlpha = 1;
}

/** @param {CanvasRenderingContext2D} context @param {string} name @param {import("./model.js").Edge} edge @param {Map<string, import("./routes.js").Route>} routes @param {Record<string, string>} colours @param {number} light @param {number} scale */
function label(context, name, edge, routes, colours, light, scale) {
  let x = 0;
  let y = 0;
  let count = 0;
  for (const route of routes.values()) {
    if (route.edge !== name) continue;
    x += xAt(route.c, LABEL_AT);
    y += yAt(route.c, LABEL_AT);
    count += 1;
  }
  if (!count || (!edge.rps && light <= 0)) return;
  context.globalAlpha = light < 0 ? 0.3 : 1;
  const bad = edge.error_rate >= 0.001;
  const words = `${injected.has(name.split(">")[1]) ? "fault  " : ""}${rate(edge.rps)}/s  ${ms(edge.p95_ms ?? edge.p99_ms)}${bad ? `  ${percent(edge.error_rate)}` : ""}`;
  const colour = edge.error_rate >= 0.1 ? colours.red : edge.error_rate >= 0.001 ? colours.yellow : light > 0 ? colours.text : colours.quiet;
  pill(context, x / count, y / count, words, colour, colours.stage, scale, 10.5);
  if (edge.budget !== null && edge.budget < FULL) gauge(context, x / count, y / count + 10, edge.budget, colours);
  context.globalAlpha = 1;
}

/** What is left of the retry budget. @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} share @param {Record<string, string>} colours */
function gauge(context, x, y, share, colours) {
  context.fillStyle = colours.line;
  context.fillRect(x - GAUGE_PX / 2, y, GAUGE_PX, 3);
  context.fillStyle = share < LOW ? colours.red : colours.yellow;
  context.fillRect(x - GAUGE_PX / 2, y, GAUGE_PX * share, 3);
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {string} words @param {string} colour @param {string} ground @param {number} scale @param {number} size @param {boolean} [left] it ends at x */
function pill(context, x, y, words, colour, ground, scale, size, left = false) {
  const grow = scale < 0.9 ? Math.min(1.15, 0.9 / scale) : 1;
  context.font = `${size * grow}px ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace`;
  const width = context.measureText(words).width + 8;
  const middle = left ? x - width / 2 : x;
  context.fillStyle = ground;
  const alpha = context.globalAlpha;
  context.globalAlpha = alpha * 0.86;
  context.beginPath();
  context.roundRect(middle - width / 2, y - size * 0.8 * grow, width, size * 1.6 * grow, 4);
  context.fill();
  context.globalAlpha = alpha;
  context.fillStyle = colour;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(words, middle, y + 0.5);
}

/** @param {Map<string, import("./routes.js").Route>} routes @param {number} x @param {number} y in the world @param {number} scale @returns {string|null} the edge there */
export function edgeAt(routes, x, y, scale) {
  let best = NEAR / scale;
  /** @type {string|null} */
  let found = null;
  for (const { c, edge } of routes.values()) {
    if (x < Math.min(c[0], c[6]) - 140 || x > Math.max(c[0], c[6]) + 140) continue;
    for (let step = 0; step <= STEPS; step += 1) {
      const distance = Math.hypot(xAt(c, step / STEPS) - x, yAt(c, step / STEPS) - y);
      if (distance < best) {
        best = distance;
        found = edge;
      }
    }
  }
  return found;
}
