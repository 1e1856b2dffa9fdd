// A model's words as HTML that can do nothing: Markdown by markdown-it, in which HTML is text, then through DOMPurify, of
// which only what Markdown makes comes out. Knows both libraries; loaded when there is something to draw.

import * as library from "../vendor/markdown-it.min.js";
import * as purifying from "../vendor/purify.min.js";

// Both are scripts that make a name of their own in browsers, and modules for node.
const markdown = (library.default ?? globalThis.markdownit)({ html: false, linkify: true, breaks: true });
markdown.disable("image"); // a picture of elsewhere is never fetched: what was written stands there
const purify = purifying.default ?? globalThis.DOMPurify;

const TAGS = ["a", "blockquote", "br", "code", "del", "em", "h1", "h2", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p", "pre",
  "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"];
const ALLOWED = { ALLOWED_TAGS: TAGS, ALLOWED_ATTR: ["href", "start", "class", "style"], ALLOWED_URI_REGEXP: /^(?:https?|mailto):/i,
  ALLOW_DATA_ATTR: false, ALLOW_ARIA_ATTR: false, RETURN_DOM_FRAGMENT: true };

/** The HTML of each block of a text: a paragraph, a list, a table. Only the last ones change while a text grows.
 * @returns {string[]} */
export function blocks(text) {
  const environment = {};
  const found = [];
  let group = [];
  for (const token of markdown.parse(text, environment)) {
    group.push(token);
    if (token.level === 0 && token.nesting <= 0) {
      found.push(markdown.renderer.render(group, markdown.options, environment));
      group = [];
    }
  }
  return found;
}

/** A block as elements. @returns {DocumentFragment} */
export function elements(html) {
  const fragment = purify.sanitize(html, ALLOWED);
  for (const one of fragment.querySelectorAll("*")) {
    const align = /^text-align:(left|right|center)$/.exec(one.getAttribute("style") ?? "")?.[1];
    one.removeAttribute("style");
    if (align) one.style.textAlign = align;
    if (!/^language-[\w+#-]{1,40}$/.test(one.className)) one.removeAttribute("class");
  }
  for (const link of fragment.querySelectorAll("a")) {
    if (link.hasAttribute("href")) Object.assign(link, { target: "_blank", rel: "noopener noreferrer nofollow" });
  }
  return fragment;
}
