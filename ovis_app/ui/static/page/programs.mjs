// A question as a program that asks the same of this server: Python, curl, the OpenAI SDK, or Gradio's client where there
// is no /v1. Whatever stands in a text, the program means it letter by letter.
// Pure. Knows the languages' literals and the fields of a request; files are read from where an export has them.

const KEY = "OVIS_API_KEY";
const OWN = ["model", "messages", "temperature", "top_p", "max_tokens", "seed"]; // what the OpenAI SDK has names for
const DATA = `def data(path, kind):
    with open(path, "rb") as file:
        return f"data:{kind};base64," + base64.b64encode(file.read()).decode()`;

/** A file of the question: where an export has it, and what it is. */
export class FileAt {
  constructor(path, type) {
    [this.path, this.type] = [path, type];
  }
}

/**
 * A request as any client of /v1 sends it: what only the page has is said in words that the model knows, or left out.
 * @param {any} request as request.mjs makes it, each url a FileAt
 * @param {{id: string, suffixes?: Record<string, string>}} model
 */
export function openRequest({ ovis = {}, ...request }, { id, suffixes = {} }) {
  const lines = ["boxes", "cot"].filter((one) => ovis[one]).map((one) => suffixes[one] ?? "");
  const messages = request.messages.map((one, place) => (place === request.messages.length - 1 ? worded(one, lines) : one));
  return { model: id, ...request, messages };
}

function worded(message, lines) {
  const said = (text) => [text, ...lines.filter((line) => line && !text.includes(line))].join("\n");
  if (typeof message.content === "string") return { ...message, content: said(message.content) };
  return { ...message, content: message.content.map((part) => (part.type === "text" ? { ...part, text: said(part.text) } : part)) };
}

/** With Python's own library. `way` is how one is let in: by a key, by a name and a password, or not at all. */
export function python(request, { base, way }) {
  const files = hasFiles(request);
  const imports = [...(files || way === "sign_in" ? ["base64"] : []), "json", "os", "urllib.request"].map((one) => `import ${one}`);
  return lines(
    [...imports.sort(), ""], files && [...note("#"), DATA, ""],
    [`request = ${pythonValue(request)}`, `headers = {"Content-Type": "application/json", "Authorization": ${pythonKey(way)}}`,
      `asked = urllib.request.Request(${pythonText(`${base}v1/chat/completions`)}, json.dumps(request).encode(), headers)`,
      "with urllib.request.urlopen(asked) as answer:",
      `    print(json.load(answer)["choices"][0]["message"]["content"])`],
  );
}

/** With the OpenAI SDK, which has no names of its own for what only this model can. */
export function openai(request, { base, way }) {
  const files = hasFiles(request);
  const more = Object.fromEntries(Object.entries(request).filter(([name]) => !OWN.includes(name)));
  const own = OWN.filter((name) => name in request).map((name) => `    ${name}=${pythonValue(request[name], 1)},`);
  const extra = Object.keys(more).length ? [`    extra_body=${pythonValue(more, 1)},`] : [];
  const headers = way === "sign_in" ? `, default_headers={"Authorization": ${pythonKey(way)}}` : "";
  return lines(
    [...(files || way === "sign_in" ? ["import base64"] : []), "import os", "", "from openai import OpenAI", ""],
    files && [...note("#"), DATA, ""],
    [`client = OpenAI(base_url=${pythonText(`${base}v1`)}, api_key=os.environ.get("${KEY}", "EMPTY")${headers})`,
      "answer = client.chat.completions.create(", ...own, ...extra, ")", "print(answer.choices[0].message.content)"],
  );
}

/** With Gradio's client, by the endpoint that is there for programs. */
export function gradio(request, { base }) {
  const history = request.messages.slice(0, -1);
  const last = request.messages.at(-1);
  const parts = typeof last.content === "string" ? [{ type: "text", text: last.content }] : last.content;
  const question = parts.filter((one) => one.type === "text").map((one) => one.text).join("\n");
  const files = parts.filter((one) => one.type !== "text").map((one) => one[one.type].url);
  const named = {
    question, files, history, thinking: request.chat_template_kwargs?.enable_thinking === true,
    ...(request.max_tokens === undefined ? {} : { max_new_tokens: request.max_tokens }),
    ...(request.temperature === undefined ? {} : { temperature: request.temperature }),
  };
  return lines(
    [...(hasFiles(request) ? ["import base64", ""] : []), "from gradio_client import Client", ""],
    hasFiles(request) && [...note("#"), DATA, ""],
    [`client = Client(${pythonText(base)})`, "answer = client.predict(",
      ...Object.entries(named).map(([name, value]) => `    ${name}=${pythonValue(value, 1)},`), `    api_name="/chat",`, ")", "print(answer)"],
  );
}

/** With curl, in a POSIX shell. Between two files the JSON stands as it is, in single quotes, where a shell changes nothing. */
export function curl(request, { base, way }) {
  const pieces = [[]];
  const json = jsonValue(request, (file) => {
    pieces.push(file);
    return `data:${file.type};base64,${mark(pieces.length - 1)}`;
  });
  const address = shellText(`${base}v1/chat/completions`);
  const who = way === "sign_in" ? [`  -u "\${OVIS_USER:-name}:\${OVIS_PASSWORD:-password}" \\`] : [`  -H "Authorization: Bearer \${${KEY}:-EMPTY}" \\`];
  const send = [`curl -sS ${address} \\`, ...who, `  -H "Content-Type: application/json" \\`];
  if (pieces.length === 1) return lines([...send, "  --data-binary @- <<'JSON'", json, "JSON"]); // no line of JSON is that
  const written = json.split(/\u0000(\d+)\u0000/).map((part, place) => (place % 2
    ? `  base64 < ${shellText(pieces[Number(part)].path)} | tr -d '\\r\\n'` : `  printf %s ${shellText(part)}`));
  return lines([...note("#"), "{", ...written, `} | ${send[0]}`, ...send.slice(1), "  --data-binary @-"]);
}

const mark = (number) => `\u0000${number}\u0000`; // no JSON has this in it

function note(sign) {
  return [`${sign} Pictures and clips: unpack the conversation's export (.ovis.zip) here.`];
}

function lines(...groups) {
  return `${groups.filter(Boolean).flat().join("\n")}\n`;
}

function hasFiles(request) {
  return request.messages.some((one) => Array.isArray(one.content) && one.content.some((part) => part[part.type]?.url instanceof FileAt));
}

function pythonKey(way) {
  if (way !== "sign_in") return `"Bearer " + os.environ.get("${KEY}", "EMPTY")`;
  return `"Basic " + base64.b64encode((os.environ.get("OVIS_USER", "name") + ":" + os.environ.get("OVIS_PASSWORD", "password")).encode()).decode()`;
}

/** A JSON value as Python writes it. */
export function pythonValue(value, depth = 0) {
  if (value instanceof FileAt) return `data(${pythonText(value.path)}, ${pythonText(value.type)})`;
  if (typeof value === "string") return pythonText(value);
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (typeof value === "number") return String(value);
  const [open, close] = Array.isArray(value) ? "[]" : "{}";
  const items = Array.isArray(value) ? value.map((one) => pythonValue(one, depth + 1))
    : Object.entries(value).map(([name, one]) => `${pythonText(name)}: ${pythonValue(one, depth + 1)}`);
  if (!items.length) return open + close;
  const pad = "    ".repeat(depth + 1);
  return `${open}\n${items.map((one) => `${pad}${one},`).join("\n")}\n${"    ".repeat(depth)}${close}`;
}

function pythonText(text) {
  return quotedText(text);
}

/** JSON for people, whose files are named by `told`. */
function jsonValue(value, told, depth = 0) {
  if (value instanceof FileAt) return `"${told(value)}"`;
  if (typeof value === "string") return quotedText(value);
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  const list = Array.isArray(value);
  const items = list ? value.map((one) => jsonValue(one, told, depth + 1))
    : Object.entries(value).filter(([, one]) => one !== undefined).map(([name, one]) => `${quotedText(name)}: ${jsonValue(one, told, depth + 1)}`);
  if (!items.length) return list ? "[]" : "{}";
  const pad = "  ".repeat(depth + 1);
  return `${list ? "[" : "{"}\n${pad}${items.join(`,\n${pad}`)}\n${"  ".repeat(depth)}${list ? "]" : "}"}`;
}

/** A text in double quotes, as JSON and Python both read it. What can't be seen, or turns lines of code around, is escaped;
 * half of a character becomes a mark. */
function quotedText(text) {
  const whole = text.replace(/[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g, "\ufffd");
  const hidden = /[\u007f-\u00a0\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb]/g;
  return JSON.stringify(whole).replace(hidden, (one) => `\\u${one.charCodeAt(0).toString(16).padStart(4, "0")}`);
}

/** A text as one word of a shell. */
function shellText(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
