/** Numbers as people read them; unknown ones are a dash, and none is wider when it is rounded up. @module */

/** @param {number|null|undefined} value milliseconds @returns {string} */
export function ms(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 9995) return `${(value / 1000).toFixed(0)} s`;
  if (value >= 999.5) return `${(value / 1000).toFixed(2)} s`;
  return value >= 9.95 ? `${value.toFixed(0)} ms` : value === 0 ? "0 ms" : `${value.toFixed(1)} ms`;
}

/** @param {number|null|undefined} value per second @returns {string} */
export function rate(value) {
  if (value === null || value === undefined) return "–";
  if (value >= 9999.5) return `${(value / 1000).toFixed(1)}k`;
  return value >= 9.95 ? value.toFixed(0) : value === 0 ? "0" : value < 0.05 ? "<0.1" : value.toFixed(1);
}

/** @param {number|null|undefined} share 0 to 1 @returns {string} */
export function percent(share) {
  if (share === null || share === undefined) return "–";
  if (share === 0) return "0 %";
  return share < 0.001 ? "<0.1 %" : `${(share * 100).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

/** @param {number} at seconds since the epoch @returns {string} the time of day */
export function clock(at) {
  return new Date(at * 1000).toLocaleTimeString([], { hour12: false });
}

/** @param {number} value milliseconds after a cause @returns {string} */
export function after(value) {
  return value < 999.5 ? `${value.toFixed(0)} ms` : `${(value / 1000).toFixed(value < 9995 ? 2 : 1)} s`;
}
