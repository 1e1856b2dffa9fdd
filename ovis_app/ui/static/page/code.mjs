// Code in an answer: its language by name, a button that copies it, one that wraps its lines, and colours by highlight.js once
// it is whole. Loads highlight.js and the language when there is code in it; refuses to guess a language.

import { button, copy, make } from "./elements.mjs";
import { t } from "./i18n.mjs";

const LONGEST = 30_000; // characters that are coloured
// Names that people write -> how a language is called, and the grammar that knows it.
const LANGUAGES = {
  bash: ["Bash"], c: ["C"], cpp: ["C++"], csharp: ["C#"], css: ["CSS"], diff: ["Diff"], dockerfile: ["Dockerfile"], go: ["Go"],
  ini: ["INI"], java: ["Java"], javascript: ["JavaScript"], json: ["JSON"], kotlin: ["Kotlin"], latex: ["LaTeX"], lua: ["Lua"],
  makefile: ["Makefile"], markdown: ["Markdown"], matlab: ["MATLAB"], php: ["PHP"], powershell: ["PowerShell"], python: ["Python"],
  r: ["R"], ruby: ["Ruby"], rust: ["Rust"], shell: ["Shell"], sql: ["SQL"], swift: ["Swift"], typescript: ["TypeScript"],
  xml: ["XML"], yaml: ["YAML"],
  "c#": ["C#", "csharp"], "c++": ["C++", "cpp"], cc: ["C++", "cpp"], console: ["Shell", "shell"], cs: ["C#", "csharp"],
  docker: ["Dockerfile", "dockerfile"], golang: ["Go", "go"], h: ["C", "c"], hpp: ["C++", "cpp"], html: ["HTML", "xml"],
  js: ["JavaScript", "javascript"], json5: ["JSON5", "javascript"], jsonc: ["JSON", "json"], jsonl: ["JSON lines", "json"],
  jsx: ["JSX", "javascript"], kt: ["Kotlin", "kotlin"], make: ["Makefile", "makefile"], md: ["Markdown", "markdown"],
  patch: ["Diff", "diff"], ps1: ["PowerShell", "powershell"], py: ["Python", "python"], python3: ["Python", "python"],
  rb: ["Ruby", "ruby"], rs: ["Rust", "rust"], sh: ["Shell", "bash"], svg: ["SVG", "xml"], tex: ["LaTeX", "latex"], toml: ["TOML", "ini"],
  ts: ["TypeScript", "typescript"], tsx: ["TSX", "typescript"], yml: ["YAML", "yaml"], zsh: ["Zsh", "bash"],
};

let library = null; // highlight.js, once it is loaded
const grammars = new Map(); // promises by name

/** Puts a frame around a <pre>: what it is, and what can be done with it. */
export function frame(pre) {
  const name = nameOf(pre);
  const holder = make("div.code");
  pre.replaceWith(holder);
  const wraps = button(t("Wrap lines"), () => wrap(holder, wraps, !holder.classList.contains("wrapped")), { icon: true, name: "wrap" });
  const copies = button(t("Copy code"), () => copyOf(pre, copies), { icon: true, name: "copy" });
  Object.assign(pre, { tabIndex: 0, dir: "ltr" });
  holder.append(make("div.code-head", {}, make("span.language", {}, LANGUAGES[name.toLowerCase()]?.[0] ?? name), wraps, copies), pre);
  wrap(holder, wraps, matchMedia("(max-width: 640px)").matches); // a phone is too narrow for lines of code
}

function nameOf(pre) {
  return /^language-(.+)$/.exec(pre.querySelector("code")?.className ?? "")?.[1] ?? "";
}

function wrap(holder, pressed, wrapped) {
  holder.classList.toggle("wrapped", wrapped);
  pressed.setAttribute("aria-pressed", String(wrapped));
}

async function copyOf(pre, pressed) {
  await copy(pre.textContent.replace(/\n$/, ""));
  pressed.classList.add("done");
  setTimeout(() => pressed.classList.remove("done"), 1500);
}

/** Whether a block is code that only became longer, in which case what is new is added to it. */
export function grown(block, content) {
  const [old, now] = [block.querySelector(":scope > .code > pre > code"), content.querySelector("pre > code")];
  if (!old || !now || content.children.length !== 1 || old.className !== now.className || old.childNodes.length !== 1) return false;
  const text = now.textContent;
  if (!text.startsWith(old.firstChild.data)) return false;
  old.firstChild.appendData(text.slice(old.firstChild.length));
  return true;
}

/** Colours the code of a frame that is whole. `coloured` makes elements of what highlight.js says. */
export async function colour(holder, coloured) {
  const pre = holder.querySelector("pre");
  const [label, grammar = nameOf(pre).toLowerCase()] = LANGUAGES[nameOf(pre).toLowerCase()] ?? [];
  const text = pre.textContent;
  if (!label || text.length > LONGEST || !(await loaded(grammar).catch(() => false))) return;
  pre.querySelector("code").replaceChildren(coloured(library.highlight(text, { language: grammar, ignoreIllegals: true }).value));
}

async function loaded(grammar) {
  if (!grammars.has(grammar)) {
    const both = Promise.all([import("../vendor/highlight.core.min.mjs"), import(`../vendor/highlight.${grammar}.min.mjs`)]);
    grammars.set(grammar, both.then(([core, language]) => {
      library = core.default;
      library.registerLanguage(grammar, language.default);
      return true;
    }).catch((error) => { grammars.delete(grammar); throw error; }));
  }
  return grammars.get(grammar);
}
