// A conversation as a text for people: Markdown, or one HTML file that has its pictures inside and needs nothing else.
// Pure. Knows the messages of a path; what a model's words look like as HTML is handed in, made safe already.

import { t } from "./i18n.mjs";
import { whole } from "./pasted.mjs";

const SAFE = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'";
const LOOK = `:root { color-scheme: light dark; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.6 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; } h2 { font-size: .85rem; font-weight: 600; opacity: .7; margin: 1.6rem 0 .3rem; }
.question { white-space: pre-wrap; } img, video { max-width: 100%; max-height: 24rem; border-radius: 8px; margin: .2rem .4rem .2rem 0; }
details { opacity: .75; } pre { overflow-x: auto; padding: .8rem; border-radius: 8px; background: rgb(128 128 128 / 12%); }
table { border-collapse: collapse; } th, td { border: 1px solid rgb(128 128 128 / 45%); padding: .25rem .6rem; }
.error { color: #b91c1c; } footer { margin: 2rem 0; opacity: .6; font-size: .85rem; }`;

/** @param {{title: string, path: any[], model: string, when: string}} said @returns {string} */
export function markdown({ title, path, model, when }) {
  const parts = [`# ${escaped(oneLine(title))}`];
  for (const one of path) {
    parts.push(one.role === "user" ? `## ${t("Question")}` : `## ${t("Answer")}`);
    for (const [place, file] of one.files.entries()) parts.push(`*${place + 1}. ${escaped(oneLine(file.name))}*`);
    if (one.thinking.trim()) parts.push(`<details><summary>${t("Thought")}</summary>\n\n${quoted(one.thinking)}\n\n</details>`);
    if (whole(one).trim()) parts.push(one.role === "user" ? quoted(whole(one)) : inert(one.text.trim()));
    if (one.error) parts.push(`**${escaped(oneLine(one.error))}**`);
  }
  return `${[...parts, `---\n\n${footer(model, when)}`].join("\n\n")}\n`;
}

/**
 * @param {{title: string, path: any[], model: string, when: string}} said
 * @param {{words: (text: string) => string, pictures: Map<string, string>}} made HTML of a model's words, and data: URIs by
 *   SHA-256
 * @returns {string}
 */
export function html({ title, path, model, when }, { words, pictures }) {
  const turns = path.map((one) => {
    const files = one.files.map((file) => picture(file, pictures.get(file.hash))).join("");
    const thought = one.thinking.trim() ? `<details><summary>${text(t("Thought"))}</summary>${words(one.thinking)}</details>` : "";
    const said = one.role === "user" ? `<div class="question" dir="auto">${text(whole(one))}</div>` : `<div dir="auto">${words(one.text)}</div>`;
    const error = one.error ? `<p class="error">${text(one.error)}</p>` : "";
    return `<section><h2>${text(one.role === "user" ? t("Question") : t("Answer"))}</h2>${files}${thought}${said}${error}</section>`;
  });
  return `<!DOCTYPE html>
<html><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="${text(SAFE)}">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>${text(title)}</title><style>${LOOK}</style></head>
<body><h1>${text(title)}</h1>
${turns.join("\n")}
<footer>${text(footer(model, when))}</footer></body></html>
`;
}

function picture(file, uri) {
  const name = text(file.name);
  if (!uri || !/^data:(image|video)\/[\w.+-]+;base64,[A-Za-z0-9+/=]*$/.test(uri)) return `<p>[${name}]</p>`;
  return uri.startsWith("data:video/") ? `<video controls src="${uri}" title="${name}"></video>` : `<img src="${uri}" alt="${name}">`;
}

/** A name for a file on any disk. */
export function fileName(title, ending) {
  const kept = title.replace(/[\u0000-\u001f\u007f<>:"/\\|?*\u200e\u200f\u202a-\u202e\u2066-\u2069]/g, " ").replace(/\s+/g, " ").replace(/^[. ]+|[. ]+$/g, "");
  return `${[...kept].slice(0, 60).join("").trim() || "conversation"}${ending}`;
}

function footer(model, when) {
  return [model, when].filter(Boolean).join(" · ");
}

function text(value) {
  const names = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
  return value.replace(/[&<>"']/g, (one) => names[one]);
}

/** Markdown in which HTML is text, as it is on the page; code stays as it is. */
function inert(value) {
  return value.split(/(```[\s\S]*?(?:```|$)|`[^`\n]*`)/).map((part, place) => (place % 2 ? part : part.replace(/<(?=[a-z/!?])/gi, "\\<"))).join("");
}

function quoted(value) {
  return inert(value.trim()).split(/\r\n?|\n/).map((line) => `> ${line}`).join("\n");
}

function oneLine(value) {
  return value.replace(/\s+/g, " ").trim();
}

function escaped(value) {
  return value.replace(/[\\`*_[\]<>]/g, "\\$&");
}
