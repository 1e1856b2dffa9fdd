// The dialog in which something that an answer says is looked for in its picture: what to look for, where the model finds
// it, what it says of that part alone and of the picture without it, and what comes of that in one plain sentence. This browser
// keeps nothing of it; on the server the covered pictures lie as long as the session's other uploads. Loaded when first needed.
// Knows the DOM and the session; how it is looked for is evidence_check.mjs's.

import { words } from "./boxes.mjs";
import { dialog } from "./dialogs.mjs";
import { make, plain } from "./elements.mjs";
import { VERDICTS, claimsOf, sought } from "./evidence.mjs";
import { check, loaded } from "./evidence_check.mjs";
import { said, t } from "./i18n.mjs";
import { drawn, nameOf, read } from "./overlay.mjs";
import { styled } from "./styles.mjs";
import { picturesOf } from "./which_picture.mjs";

/** The pictures that an answer on a path can be about, of the latest question that has files; none where those are clips. */
export function picturesBefore(path, id) {
  const before = path.slice(0, Math.max(0, path.findIndex((one) => one.id === id))); // of another path there is nothing
  const asked = before.findLast((one) => one.files.length);
  return asked ? picturesOf([asked]).map((one) => ({ ...one, detail: asked.detail })) : [];
}

export async function open(session, id) {
  await styled("evidence.css");
  const answer = session.messages.get(id);
  const pictures = picturesBefore(session.path, id);
  if (answer && pictures.length) new Evidence(session, answer, pictures);
}

class Evidence {
  #session; #pictures; #place = 0; #image; #going = null; #p = {};

  constructor(session, answer, pictures) {
    [this.#session, this.#pictures] = [session, pictures];
    const p = this.#p;
    const claims = claimsOf(answer.text);
    p.claims = make("div.claims", { role: "group", "aria-label": t("What to look for") }, ...claims.map((one) => this.#claim(one)));
    p.own = make("input", { type: "text", maxLength: 160, dir: "auto", "aria-label": t("Something else to look for"), placeholder: t("Something else to look for"), onkeydown: (event) => this.#typed(event) });
    p.line = make("p.evidence-line", { role: "status", "aria-live": "polite" });
    p.stage = make("div.stage");
    p.seen = make("dl");
    p.figure = make("figure", { hidden: true }, p.stage, p.seen);
    const which = pictures.length > 1 ? make("label", {}, t("Look in"), " ", make("select", { onchange: (event) => this.#choose(Number(event.target.value)) }, ...pictures.map((one, place) => make("option", { value: String(place) }, nameOf(one))))) : null;
    const how = make("p", {}, t("The model is asked where it is, then what that part alone shows, and what the picture shows without it. It isn't told what it should find."));
    const box = dialog(t("Check against the picture"), [how, which, p.claims, p.own, p.line, p.figure].filter(Boolean), [[t("Close"), () => {}]]);
    box.classList.add("evidence");
    box.addEventListener("close", () => this.#going?.abort());
    this.#choose(0);
    (p.claims.querySelector("button") ?? p.own).focus();
  }

  #claim(words) {
    const one = make("button.claim", { type: "button", onclick: () => this.#check(words, one) }, plain(words));
    one.setAttribute("aria-pressed", "false");
    return one;
  }

  #typed(event) {
    if (event.key !== "Enter" || event.isComposing) return;
    event.preventDefault();
    const words = this.#p.own.value.trim();
    if (words) this.#check(words, null);
  }

  #choose(place) {
    this.#place = place;
    this.#clear();
    const { file } = this.#pictures[place];
    const image = make("img", { alt: "" }); // of its own, so that none is ever another picture than was asked about
    this.#p.stage.replaceChildren(image);
    this.#image = loaded(image, file, this.#session.files);
  }

  #clear() {
    const p = this.#p;
    this.#going?.abort();
    this.#going = null;
    for (const one of p.claims.children) one.setAttribute("aria-pressed", "false");
    p.stage.querySelector(".mark")?.remove();
    p.seen.replaceChildren();
    p.figure.hidden = true;
    delete p.line.dataset.verdict;
    p.line.textContent = "";
  }

  async #check(claim, pressed) {
    this.#clear();
    const p = this.#p;
    const going = this.#going = new AbortController();
    const mine = () => this.#going === going && p.line.isConnected;
    pressed?.setAttribute("aria-pressed", "true");
    p.line.dataset.verdict = "going";
    const note = (words) => { if (mine()) p.line.textContent = said(words); };
    const placed = (place) => { if (place && mine()) this.#mark(place); };
    try {
      const found = await check(this.#session, { claim, picture: this.#pictures[this.#place], image: this.#image }, { signal: going.signal, note, placed });
      if (mine()) this.#show(found);
    } catch (error) {
      if (!mine() || error.name === "AbortError") return;
      p.line.dataset.verdict = "failed";
      p.line.textContent = plain(said(error.message));
    }
  }

  #mark(place) {
    this.#p.stage.append(drawn({ ...place, number: 1 }, { named: true }));
    this.#p.figure.hidden = false;
  }

  #show(found) {
    const { line, seen } = this.#p;
    line.dataset.verdict = VERDICTS[found.outcome];
    line.replaceChildren(make("b", {}, verdict(VERDICTS[found.outcome])), ` ${why(found)}`);
    const row = (term, text) => [make("dt", {}, term), make("dd", { dir: "auto" }, plain(words(read(text))))];
    if (found.alone !== undefined) seen.replaceChildren(...row(t("That part alone"), found.alone), ...row(t("Without it"), found.without));
  }
}

function verdict(kind) {
  return { agrees: t("Agrees."), disagrees: t("Disagrees."), unsure: t("Unsure.") }[kind];
}

function why({ claim, place, outcome }) {
  const name = plain((place && sought({ claim, place })) ?? (place?.name || claim));
  switch (outcome) {
    case "holds": return t("It names “{name}” where that part alone is shown, and no longer once it is covered.", { name });
    case "elsewhere": return t("It doesn't name “{name}” where that part alone is shown, and still does once it is covered.", { name });
    case "both": return t("It names “{name}” there, and also once that part is covered: there may be another, or it doesn't look.", { name });
    case "neither": return t("It names “{name}” neither of that part alone nor of the rest: look for yourself.", { name });
    case "other": return t("Asked where that is, it marked “{name}”, which may be something else.", { name });
    default: return t("Asked where that is, it gave no place.");
  }
}
