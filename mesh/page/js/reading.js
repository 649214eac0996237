/** What the charts say at the pointer: the time, the values there, and the mark next to it. @module */
import { drawn, RIGHT, SPAN_S } from "./charts.js";
import { h } from "./dom.js";
import { clock } from "./format.js";
import { model } from "./model.js";
import { tip } from "./tip.js";

/** A mark this near to the pointer is the one that is meant. */
const NEAR_PX = 6;

/** @param {HTMLElement} panel whose charts can be read */
export function startReading(panel) {
  panel.addEventListener("pointermove", (event) => {
    const canvas = event.target instanceof HTMLCanvasElement ? event.target : null;
    tip(canvas && words(canvas, event.clientX - canvas.getBoundingClientRect().left), event.clientX, event.clientY);
  });
  panel.addEventListener("pointerleave", () => tip(null));
}

/** @param {HTMLCanvasElement} canvas @param {number} px from its left side @returns {(Node|string)[]|null} */
function words(canvas, px) {
  const found = drawn.get(canvas);
  if (!found) return null;
  const { series, lines, say, now } = found;
  const span = canvas.clientWidth - RIGHT;
  const at = now - ((span - px) / span) * SPAN_S;
  let place = -1;
  series.times.forEach((time, index) => { if (place < 0 || Math.abs(time - at) < Math.abs(series.times[place] - at)) place = index; });
  const marks = model.marks.filter((one) => Math.abs(one.at - at) * span < NEAR_PX * SPAN_S);
  if (place < 0 || (Math.abs(series.times[place] - at) > 2 && !marks.length)) return null;
  const value = (/** @type {string} */ key) => series.rows[place][series.keys.indexOf(key)];
  return [h("b", null, clock(at)),
    h("table", null, lines.map((line) => h("tr", null, h("td.quiet", null, line.words), h("td", null, value(line.key) === null || value(line.key) === undefined ? "–" : say(Number(value(line.key))))))),
    ...marks.map((one) => h("div", null, `${clock(one.at)} ${one.words}`))];
}
