// Conversations out of this browser and into it: files to be saved, code to be copied, files that somebody brings.
// Knows the store, the session and the DOM as far as saving a file goes; formats are archive.mjs's, exports.mjs's, programs.mjs's.

import { copy, make, plain } from "./elements.mjs";
import { t } from "./i18n.mjs";
import { mediaType } from "./media_types.mjs";
import { requestOf } from "./request.mjs";
import { save } from "./saving.mjs";
import { randomId } from "./thread.mjs";
import { toast } from "./toast.mjs";
import * as trees from "./tree.mjs";

const MOST_INSIDE = 30 * 2 ** 20; // bytes of a picture or a clip that a web page has inside

/** A conversation as it stands now: the one that this tab shows with its settings of the moment, any other as it is kept. */
async function found(session, id) {
  if (id === session.conversation.id) {
    return { conversation: { ...session.conversation, settings: session.settings, model: session.facts.name ?? "" }, messages: [...session.messages.values()] };
  }
  return await session.store.conversation(id);
}

function pathOf({ conversation, messages }) {
  const tree = trees.build(messages);
  return trees.path(tree, trees.standing(tree, conversation.leaf));
}

/** Saves conversations as one file that can be imported. */
export async function exportSeveral(session, ids) {
  const { packed, documentsOf, ENDING, ArchiveError } = await import("./archive.mjs");
  const { fileName } = await import("./exports.mjs");
  const library = (await Promise.all(ids.map((id) => found(session, id)))).filter((one) => one?.messages.length);
  if (!library.length) return toast(t("There is nothing to export yet."));
  const { app = "", name = "", model } = session.facts;
  const around = { fileOf: (hash) => session.store.file(hash), app, model: { name, id: model.id ?? "" } };
  try {
    const title = library.length > 1 ? t("{count} conversations", { count: library.length }) : library[0].conversation.title;
    save(await packed(library, around), fileName(title, ENDING));
    const whole = documentsOf(library.flatMap(({ messages }) => messages.flatMap((one) => one.files))).map((one) => one.name);
    if (whole.length) toast(t("The file has all pages of {names}, those that weren't asked about too.", { names: plain(whole.join(", ")) }));
  } catch (error) {
    if (!(error instanceof ArchiveError)) throw error;
    toast(t("That is too much for one file: choose fewer conversations."));
  }
}

/** Saves the path that is shown as a text. @param {"markdown" | "html"} kind */
export async function exportText(session, id, kind) {
  const exports = await import("./exports.mjs");
  const kept = await found(session, id);
  if (!kept?.messages.length) return toast(t("There is nothing to export yet."));
  const { title, model, changed } = kept.conversation;
  const said = { title, path: pathOf(kept), model, when: new Date(changed).toLocaleString() };
  if (kind === "markdown") return save(new Blob([exports.markdown(said)], { type: "text/markdown" }), exports.fileName(title, ".md"));
  const words = await import("./words.mjs");
  const drawn = (text) => {
    const box = make("div");
    for (const html of words.blocks(plain(text))) box.append(words.elements(html));
    return box.innerHTML;
  };
  const pictures = new Map();
  for (const { hash } of said.path.flatMap((one) => one.files)) if (!pictures.has(hash)) pictures.set(hash, await inside(session, hash));
  save(new Blob([exports.html(said, { words: drawn, pictures })], { type: "text/html" }), exports.fileName(title, ".html"));
}

/** A picture or a clip as a data: URI, the copy that browsers draw where there is one; empty where it is gone or too large. */
async function inside(session, hash) {
  const kept = await session.store.file(hash);
  const blob = kept?.shown ?? kept?.blob;
  const type = blob && blob.size <= MOST_INSIDE ? await mediaType(blob) : null;
  if (!type) return "";
  return await new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(new Blob([blob], { type: type.type }));
  });
}

/** Rows of a menu, for each language in which a question can be copied: that before the answer `message`, or the last one of
 * the conversation `id`. Where this server has no /v1, Gradio's client asks it. */
export function programs(session, { id, message = null }) {
  const row = (words, language) => ({ words, name: "code", act: () => copyCode(session, { id, message, language }) });
  if (session.facts.api === "") return [row(t("Copy as Python"), "gradio")];
  return [row(t("Copy as Python"), "python"), row(t("Copy as curl"), "curl"), row(t("Copy for the OpenAI SDK"), "openai")];
}

async function copyCode(session, { id, message, language }) {
  const code = await import("./programs.mjs");
  const kept = await found(session, id);
  const messages = kept?.messages ?? [];
  const tree = trees.build(messages);
  const path = trees.path(tree, message ?? trees.standing(tree, kept?.conversation.leaf));
  const asked = path.at(-1)?.asked ?? {}; // as this answer was asked for
  while (path.length && path.at(-1).role !== "user") path.pop();
  if (!path.length) return toast(t("There is no question to copy yet."));
  const { model, api } = session.facts;
  const files = new Map();
  for (const { hash } of path.flatMap((one) => one.files)) files.set(hash, await fileAt(session, hash, code.FileAt));
  const request = code.openRequest(requestOf(path, kept.conversation.settings, model, (file) => files.get(file.hash), { asked }), model);
  await copy(code[language](request, { base: document.baseURI.replace(/[^/]*([?#].*)?$/, ""), way: api }));
  toast(files.size ? t("Copied. Its files are read from the folder “media” of the conversation's export.") : t("Copied."));
}

async function fileAt(session, hash, FileAt) {
  const { mediaName } = await import("./archive.mjs");
  const kept = await session.store.file(hash);
  const { ending, type } = (kept && await mediaType(kept.blob)) ?? { ending: "bin", type: "application/octet-stream" };
  return new FileAt(mediaName(hash, ending), type);
}

/** Takes exported conversations in, as new ones, and shows the last. Says what was left out. */
export async function importFiles(session, files) {
  const { unpacked, ArchiveError } = await import("./archive.mjs");
  const said = [];
  let last = null;
  for (const file of files) {
    try {
      const { library, files: media, left } = await unpacked(file, { digest: (blob) => session.files.digest(blob), newId: randomId });
      if (!library.length) throw new ArchiveError("damaged");
      if (!await session.store.putAll(library, media)) {
        said.push(t("There is no room for “{name}” in this browser: delete conversations, or make room on the disk.", { name: file.name }));
        continue;
      }
      last = library.at(-1).conversation.id;
      for (const { conversation } of library) session.peers?.say({ conversation: conversation.id });
      said.push(library.length > 1 ? t("{count} conversations imported.", { count: library.length })
        : t("“{name}” imported.", { name: plain(library[0].conversation.title) }), ...leftOut(left));
    } catch (error) {
      if (!(error instanceof ArchiveError)) console.error(error);
      said.push(refusal(error.kind, plain(file.name)));
    }
  }
  if (last) await session.open(last);
  toast(said.join(" "));
}

function leftOut({ records, files }) {
  const said = [];
  if (records) said.push(t("{count} messages couldn't be read in full, or were left out.", { count: records }));
  if (files.length) {
    const names = files.slice(0, 3).map((one) => `“${plain(one)}”`).join(", ") + (files.length > 3 ? " …" : "");
    said.push(t("Files left out, since they are missing, damaged, or no pictures and clips: {names}.", { names }));
  }
  return said;
}

function refusal(kind, name) {
  switch (kind) {
    case "newer": return t("“{name}” was exported by a newer version of this page: update this one to read it.", { name });
    case "foreign": return t("“{name}” holds no exported conversations.", { name });
    case "large": return t("“{name}” holds more than can be read at once: export fewer conversations at a time.", { name });
    default: return t("“{name}” is damaged, or no exported conversation: export it again.", { name });
  }
}
