/** The token: taken from the link's fragment once, kept for this tab only, and sent as a header. @module */

const KEY = "mesh.token";

/** Out of the address bar, so that nobody copies or photographs it. @returns {boolean} whether there was one */
export function take() {
  const found = new URLSearchParams(window.location.hash.slice(1)).get("token");
  if (!found) return false;
  sessionStorage.setItem(KEY, found);
  history.replaceState(history.state, "", window.location.pathname + window.location.search);
  return true;
}

/** `fetch` of the control API. @param {string} path @param {RequestInit} [options] @returns {Promise<Response>} */
export function ask(path, options = {}) {
  const headers = new Headers(options.headers);
  const token = sessionStorage.getItem(KEY);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  // neither cookies of other programs of this machine nor a way to lead the token elsewhere
  return fetch(path, { ...options, headers, credentials: "omit", redirect: "error" });
}
