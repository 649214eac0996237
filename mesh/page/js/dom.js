/** Elements from words, and the smallest difference between two trees. @module */

/**
 * @param {string} tag with classes: "div.row.bad"
 * @param {Record<string, any>|null} [attributes] `style` is an object, `on…` a listener, others attributes
 * @param {...(Node|string|number|null|false|undefined|Array<any>)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes, ...children) {
  const [name, ...classes] = tag.split(".");
  const element = document.createElement(name);
  if (classes.length) element.className = classes.join(" ");
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (key === "style") Object.assign(element.style, value);
    else if (key === "href") { if (link(value)) element.setAttribute(key, String(value)); }
    else if (key === "class") element.className = `${element.className} ${value}`.trim();
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

/**
 * Make the children of `target` like `children`; what is the same stays, with its focus and its drawing.
 * @param {Element} target @param {Node[]} children
 */
export function patch(target, children) {
  const wanted = children.filter(Boolean);
  for (let index = 0; index < wanted.length; index += 1) {
    const now = target.childNodes[index];
    if (now === wanted[index]) continue; // it keeps itself
    if (!now) target.append(wanted[index]);
    else if (!same(now, wanted[index])) target.replaceChild(wanted[index], now);
    else if (now.nodeType === Node.TEXT_NODE) {
      if (now.nodeValue !== wanted[index].nodeValue) now.nodeValue = wanted[index].nodeValue;
    } else update(/** @type {Element} */ (now), /** @type {Element} */ (wanted[index]));
  }
  while (target.childNodes.length > wanted.length) target.lastChild?.remove();
}

/** @param {Node} a @param {Node} b */
function same(a, b) {
  return a.nodeName === b.nodeName
    && (!(a instanceof Element) || a.getAttribute("data-key") === /** @type {Element} */ (b).getAttribute("data-key"));
}

/** @param {Element} now @param {Element} wanted */
function update(now, wanted) {
  if (now.nodeName === "CANVAS" || now.nodeName === "INPUT" || now.nodeName === "SELECT") return;
  for (const { name, value } of wanted.attributes) {
    if (name === "style") continue;
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  for (const { name } of [...now.attributes]) if (name !== "style" && !wanted.hasAttribute(name)) now.removeAttribute(name);
  const style = /** @type {HTMLElement} */ (wanted).style.cssText;
  if (/** @type {HTMLElement} */ (now).style.cssText !== style) /** @type {HTMLElement} */ (now).style.cssText = style;
  patch(now, [...wanted.childNodes]);
}

/**
 * Where a link may lead: to a page. A mesh or a recording may say `javascript:`, which would run as ours.
 * @param {any} address @returns {string|null} the same, or nothing
 */
export function link(address) {
  return /^(https?:\/\/|\/)/i.test(String(address)) ? String(address) : null;
}

/** @param {string} id @returns {any} the element of that id, which index.html has */
export function byId(id) {
  return document.getElementById(id);
}

const GIVEN_MS = 60_000;

/** Gives a person a file. @param {Blob} content @param {string} name */
export function give(content, name) {
  const address = URL.createObjectURL(content);
  const anchor = /** @type {HTMLAnchorElement} */ (h("a", { download: name }));
  anchor.href = address; // ours: `h` takes the addresses of pages only
  document.body.append(anchor);
  anchor.click();
  anchor.remove();
  window.setTimeout(() => URL.revokeObjectURL(address), GIVEN_MS);
}
