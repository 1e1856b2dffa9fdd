// What goes over the network: uploads, questions and the frames of their answers, by Gradio's documented HTTP calls.
// Everything is relative to the page, so it works below any path. Knows HTTP; refuses to know what is asked.

import { later } from "./i18n.mjs";

export const OFFLINE = later("There is no connection to the server just now.");
export const FAILED = later("The server couldn't answer: try again.");
const SILENCE = 30_000; // milliseconds without a frame, of which there are two a second, after which nobody is there

/** What went wrong, as a sentence. `lost` is whether there is no connection, so that the same may go well later. */
export class WireError extends Error {
  constructor(sentence, { lost = false } = {}) {
    super(sentence);
    this.lost = lost;
  }
}

const at = (path) => new URL(path, document.baseURI).href;

/** Uploads a file. @returns {Promise<string>} where it lies, by which a request names it */
export function upload(blob, name, { progress = (share) => {}, signal } = {}) {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted();
    const form = new FormData();
    form.append("files", blob, name);
    const asked = new XMLHttpRequest(); // fetch doesn't tell how far it is
    asked.open("POST", at("gradio_api/upload"));
    asked.upload.onprogress = (event) => { if (event.lengthComputable) progress(event.loaded / event.total); };
    asked.onerror = () => reject(new WireError(OFFLINE, { lost: true }));
    asked.onabort = () => reject(new DOMException("stopped", "AbortError"));
    asked.onload = () => {
      try {
        if (asked.status !== 200) throw new WireError(sentence(asked.responseText));
        resolve(JSON.parse(asked.responseText)[0]);
      } catch (error) {
        reject(error instanceof WireError ? error : new WireError(FAILED));
      }
    };
    signal?.addEventListener("abort", () => asked.abort(), { once: true });
    asked.send(form);
  });
}

/** A file from an address, fetched by the server as if it had been uploaded: its bytes, and where the upload lies. */
export async function fetched(session, address, { signal } = {}) {
  const said = await answered("from-address", { session, address }, { signal });
  const blob = await reached(said.blob());
  return { blob: blob.slice(0, blob.size, said.headers.get("x-kind") ?? ""), place: decodeURIComponent(said.headers.get("x-upload")) };
}

/** How a request names an upload. */
export function address(path) {
  return `/gradio_api/file=${encodeURI(path)}`;
}

/** The copy of an upload that people may see. */
export async function shown(path) {
  const said = await reached(fetch(at(`gradio_api/file=${encodeURI(path)}`)));
  if (!said.ok) throw new WireError(FAILED);
  return await said.blob();
}

/** A file of the page itself, such as an example's. */
export async function own(path) {
  const said = await reached(fetch(at(path)));
  if (!said.ok) throw new WireError(FAILED);
  return await said.blob();
}

/** What an upload is, or why it can't be sent; of a document, as pictures of those pages. */
export function bring(session, path, choice = {}) {
  return look("bring", session, path, choice);
}

/** What there is in an upload, to choose among: "moments" of a clip, "pages" of a document. */
export function look(what, session, path, asked) {
  return call(what, session, { session, upload: path, ...asked });
}

/** What the endpoint `what` says to what is asked of it, where that is one value. */
export async function call(what, session, asked) {
  const said = await post(`gradio_api/run/${what}`, { data: [asked], session_hash: session });
  return said.data?.[0] ?? {};
}

/** Ends the thought of an answer under way, by the name that it was asked under. Whether there was one. */
export async function hurry(session, answer) {
  return (await call("hurry", session, { session, answer })).ended === true;
}

/** What a question would take of the context; nothing where nobody can tell. */
export function weigh(asked) {
  return call("weigh", asked.session, asked);
}

/** What answers at this address: the server that this page is of ("here"), one of another version ("updated"), or nobody
 * ("gone"). */
export async function reach() {
  try {
    const said = await fetch(import.meta.url, { method: "HEAD", cache: "no-store" });
    if (said.status === 404) return "updated";
    return [502, 503, 504].includes(said.status) ? "gone" : "here";
  } catch {
    return "gone";
  }
}

/** Asks the endpoint `of`, and calls `hear` with each frame as it comes. Ends with the answer. Aborting `signal` stops it for the server
 * too. Raises WireError. */
export async function ask(asked, hear, { signal, of = "ask" }) {
  const { event_id: event } = await post(`gradio_api/call/${of}`, { data: [asked] }, { signal, headers: await zerogpu() });
  if (typeof event !== "string") throw new WireError(FAILED);
  const watch = new AbortController();
  const leave = () => { cancel(event, of); watch.abort(); };
  signal.addEventListener("abort", leave, { once: true });
  let silence;
  const alive = () => { clearTimeout(silence); silence = setTimeout(() => watch.abort(), SILENCE); };
  try {
    alive();
    const said = await fetch(at(`gradio_api/call/${of}/${event}`), { signal: watch.signal });
    if (!said.ok) throw new WireError(sentence(await said.text()));
    for await (const { kind, data } of events(said.body)) {
      alive();
      if (kind === "error") throw new WireError(FAILED);
      if (kind === "generating" || kind === "complete") for (const frame of Array.isArray(data) ? data : []) hear(frame);
      if (kind === "complete") return;
    }
    throw new WireError(OFFLINE, { lost: true });
  } catch (error) {
    if (signal.aborted) throw new DOMException("stopped", "AbortError");
    throw error instanceof WireError ? error : new WireError(OFFLINE, { lost: true });
  } finally {
    clearTimeout(silence);
    signal.removeEventListener("abort", leave);
  }
}

function cancel(event, of) {
  const index = globalThis.gradio_config?.dependencies?.find((one) => one.api_name === of)?.id ?? 0;
  const body = JSON.stringify({ session_hash: event, event_id: event, fn_index: index });
  const headers = { "content-type": "application/json" };
  fetch(at("gradio_api/cancel"), { method: "POST", body, headers, keepalive: true }).catch(() => {});
}

/** The events of a stream of them, as they are complete. */
export async function* events(body) {
  let rest = "";
  const decoder = new TextDecoder();
  const reader = body.getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    rest += decoder.decode(part.value, { stream: true });
    const whole = rest.split("\n\n");
    rest = whole.pop();
    for (const event of whole) {
      const fields = Object.fromEntries(event.split("\n").map((line) => [line.split(":", 1)[0], line.replace(/^\w*: ?/, "")]));
      try {
        yield { kind: fields.event, data: JSON.parse(fields.data ?? "null") };
      } catch { /* a proxy's words between them */ }
    }
  }
}

async function post(path, body, options) {
  return await (await answered(path, body, options)).json();
}

async function answered(path, body, { signal, headers = {} } = {}) {
  const options = { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json", ...headers }, signal };
  const said = await reached(fetch(at(path), options));
  if (!said.ok) throw new WireError(sentence(await said.text()), { lost: [502, 504].includes(said.status) });
  return said;
}

async function reached(asked) {
  try {
    return await asked;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new WireError(OFFLINE, { lost: true });
  }
}

/** What the server says of a refusal: a line of text, or Gradio's JSON. */
function sentence(text) {
  let said = text;
  try {
    const parsed = JSON.parse(text);
    said = parsed.detail ?? parsed.error ?? "";
  } catch { /* it is text */ }
  return typeof said === "string" && said && said.length < 500 && !said.includes("<") ? said : FAILED;
}

/** On a Space, who asks: the page around it knows, and tells it as Gradio's own client is told. */
function zerogpu() {
  const here = location.hostname.endsWith(".hf.space") && window.parent !== window && window.supports_zerogpu_headers;
  if (!here) return {};
  return new Promise((resolve) => {
    const { port1, port2 } = new MessageChannel();
    port1.onmessage = ({ data }) => { port1.close(); resolve(data ?? {}); };
    setTimeout(() => resolve({}), 2000);
    window.parent.postMessage("zerogpu-headers", "https://huggingface.co", [port2]);
  });
}
