// A model's words as elements that can do nothing: Markdown as HTML (markdown.mjs), then through DOMPurify, of which only
// what Markdown makes comes out. Knows DOMPurify; loaded when there is something to draw.

import * as purifying from "../vendor/purify.min.js";
import { Reader, blocks } from "./markdown.mjs";

const purify = purifying.default ?? globalThis.DOMPurify; // a script that makes a name of its own in browsers

const TAGS = ["a", "blockquote", "br", "code", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre", "s", "span",
  "strong", "sub", "sup", "table", "tbody", "td", "th", "thead", "tr", "ul"];
const SAFE = { ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, RETURN_DOM_FRAGMENT: true };
const ALLOWED = { ...SAFE, ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "start", "class", "style", "colspan", "rowspan"], 
  ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i, ADD_URI_SAFE_ATTR: ["start", "colspan", "rowspan"] };
const COLOURED = { ...SAFE, ALLOWED_TAGS: ["span"], ALLOWED_ATTR: ["class"] };
const CLASSES = /^(?:language-[\w+#.-]{1,40}|formula|formula wide|part|pending|task)$/; // of our own Markdown

export { Reader, blocks };

/** A block as elements. @returns {DocumentFragment} */
export function elements(html) {
  const fragment = purify.sanitize(html, ALLOWED);
  for (const one of fragment.querySelectorAll("[style], [class]")) {
    const align = /^text-align:(left|right|center)$/.exec(one.getAttribute("style") ?? "")?.[1];
    one.removeAttribute("style");
    if (align) one.style.textAlign = align;
    if (!CLASSES.test(one.className)) one.removeAttribute("class");
  }
  for (const one of fragment.children) one.dir = "auto"; // in the direction of its own words
  for (const one of fragment.querySelectorAll("a[href]")) link(one);
  return fragment;
}

/** The spans that highlight.js makes of code. @returns {DocumentFragment} */
export function coloured(html) {
  return purify.sanitize(html, COLOURED);
}

/** A link opens a tab that knows nothing of this one, and says where it leads where its words don't. */
function link(element) {
  Object.assign(element, { target: "_blank", rel: "noopener noreferrer nofollow", title: element.href });
  const host = element.host || element.href.replace(/^mailto:/i, "");
  if (!element.textContent.includes(host)) element.dataset.host = host;
}
