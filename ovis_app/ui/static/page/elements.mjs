// Elements made in one line, text as text. Knows the DOM and nothing of this page.

/** @param {string} kind tag.class.class @param {Record<string, any>} fields properties, and attributes whose names have a dash */
export function make(kind, fields = {}, ...children) {
  const [tag, ...classes] = kind.split(".");
  const element = document.createElement(tag);
  if (classes.length) element.className = classes.join(" ");
  for (const [name, value] of Object.entries(fields)) {
    if (name.includes("-") || name === "role" || name === "for") element.setAttribute(name, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element[name] = value;
  }
  element.append(...children.filter((one) => one !== null && one !== undefined && one !== false));
  return element;
}

/** A button that says what it does; with `icon` that is drawn by page.css, and the words are for whoever doesn't see it. */
export function button(words, act, { name = "", icon = false, disabled = false } = {}) {
  const kind = ["button", "quiet", ...(icon ? ["icon"] : []), ...(name ? [name] : [])].join(".");
  return make(kind, { type: "button", title: words, disabled, onclick: act, "aria-label": words }, icon ? null : words);
}

/** Gives something that was made before another name; a button with words shows them. */
export function name(element, words) {
  element.setAttribute("aria-label", words);
  if (element.tagName !== "BUTTON") return;
  element.title = words;
  if (!element.classList.contains("icon")) element.textContent = words;
}

/** Copies a text, also where a page isn't secure and browsers have no clipboard for it. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = make("textarea", { value: text, readOnly: true });
    area.style.position = "fixed";
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

/** Text that shows exactly what it says: control characters become visible. */
export function plain(text) {
  const marked = text.replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f]/g, (one) => String.fromCharCode(0x2400 + one.charCodeAt(0)));
  return marked.replace(/\u007f/g, "\u2421");
}
