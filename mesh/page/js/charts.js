/** Lines of the last five minutes, with marks where somebody acted. @module */
import { model } from "./model.js";

export const SPAN_S = 300;
export const RIGHT = 4;
const TOP = 6;
const BOTTOM = 14;
/** What each canvas shows, for who points at it. @type {WeakMap<HTMLCanvasElement, {series: Series, lines: Line[], say: (value: number) => string, now: number}>} */
export const drawn = new WeakMap();

/**
 * @typedef {{keys: readonly string[], times: number[], rows: (number|null)[][]}} Series
 * @typedef {{key: string, colour: string, words: string, dash?: boolean}} Line
 * @param {HTMLCanvasElement} canvas @param {Series} series
 * @param {Line[]} lines @param {(value: number) => string} say @param {number} least the axis goes up to this at least
 */
export function chart(canvas, series, lines, say, least) {
  const ratio = Math.min(2, window.devicePixelRatio || 1);
  const width = canvas.clientWidth;
  const height = canvas.clientHeight;
  if (!width) return;
  if (canvas.width !== Math.round(width * ratio) || canvas.height !== Math.round(height * ratio)) {
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
  }
  const context = /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
  const style = getComputedStyle(document.documentElement);
  const colour = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  context.setTransform(ratio, 0, 0, ratio, 0, 0);
  context.clearRect(0, 0, width, height);
  const now = series.times.at(-1) ?? Date.now() / 1000;
  drawn.set(canvas, { series, lines, say, now });
  const highest = nice(Math.max(least, ...lines.flatMap((line) => {
    const index = series.keys.indexOf(line.key);
    return series.rows.map((row) => row[index] ?? 0);
  })));
  const x = (/** @type {number} */ at) => width - RIGHT - ((now - at) / SPAN_S) * (width - RIGHT);
  const y = (/** @type {number} */ value) => height - BOTTOM - (value / highest) * (height - BOTTOM - TOP);
  context.font = `10px ui-monospace, "DejaVu Sans Mono", Menlo, monospace`;
  context.lineWidth = 1;
  context.strokeStyle = colour("line");
  context.fillStyle = colour("faint");
  for (const share of [0, 0.5, 1]) {
    context.beginPath();
    context.moveTo(0, Math.round(y(highest * share)) + 0.5);
    context.lineTo(width, Math.round(y(highest * share)) + 0.5);
    context.stroke();
  }
  context.textBaseline = "top";
  context.fillText(say(highest), 0, y(highest) + 2);
  context.textBaseline = "alphabetic";
  context.fillText("−5 min", 0, height - 2);
  context.textAlign = "center";
  context.fillText("−2.5 min", x(now - SPAN_S / 2), height - 2);
  context.textAlign = "right";
  context.fillText("now", width, height - 2);
  context.textAlign = "left";
  marks(context, x, now, height, colour);
  for (const line of lines) {
    const index = series.keys.indexOf(line.key);
    context.strokeStyle = colour(line.colour);
    context.lineWidth = 1.4;
    context.setLineDash(line.dash ? [3, 3] : []);
    context.beginPath();
    let before = -Infinity;
    series.times.forEach((at, place) => {
      const value = series.rows[place][index];
      if (value === null || value === undefined || at < now - SPAN_S) {
        before = -Infinity;
        return;
      }
      if (at - before > 3.5) context.moveTo(x(at), y(value));
      else context.lineTo(x(at), y(value));
      before = at;
    });
    context.stroke();
  }
  context.setLineDash([]);
}

/** @param {CanvasRenderingContext2D} context @param {(at: number) => number} x @param {number} now @param {number} height @param {(name: string) => string} colour */
function marks(context, x, now, height, colour) {
  for (const one of model.marks) {
    if (one.at < now - SPAN_S) continue;
    context.strokeStyle = colour(one.colour);
    context.globalAlpha = 0.75;
    context.setLineDash([2, 2]);
    context.beginPath();
    context.moveTo(Math.round(x(one.at)) + 0.5, TOP);
    context.lineTo(Math.round(x(one.at)) + 0.5, height - BOTTOM);
    context.stroke();
    context.setLineDash([]);
    context.globalAlpha = 1;
  }
}

/** @param {number} value @returns {number} the next round number */
function nice(value) {
  const power = 10 ** Math.floor(Math.log10(value || 1));
  const step = [1, 1.5, 2, 3, 4, 5, 6, 8, 10].find((one) => one * power >= value * 0.999) ?? 10;
  return step * power;
}
