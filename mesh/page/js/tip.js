/** The words beside the pointer. @module */
import { byId } from "./dom.js";

/** @param {(Node|string)[]|null} words @param {number} [x] @param {number} [y] */
export function tip(words, x = 0, y = 0) {
  const element = byId("tip");
  if (!words) {
    element.hidden = true;
    return;
  }
  element.replaceChildren(...words);
  element.hidden = false;
  const box = element.getBoundingClientRect();
  const left = x + 16 + box.width > window.innerWidth ? x - box.width - 12 : x + 16;
  element.style.left = `${Math.max(4, left)}px`;
  element.style.top = `${Math.max(4, Math.min(y + 14, window.innerHeight - box.height - 6))}px`;
}
