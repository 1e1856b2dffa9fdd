// What can be done with a turn, where it stands: a few buttons at its foot, the rest in a menu.
// Knows messages and buttons; refuses to know what happens when somebody presses one: `acts` does that.

import { unfinished } from "./asking.mjs";
import { button, copy, make } from "./elements.mjs";
import { figures } from "./figures.mjs";
import { finalAnswer } from "./final_answer.mjs";
import { t } from "./i18n.mjs";
import { Menus } from "./menus.mjs";
import { whole } from "./pasted.mjs";
import { longer } from "./thinking.mjs";

/** What makes a foot look different, beside its message. */
export function state(message, acts) {
  return message.role === "assistant" ? `${acts.same(message)} ${acts.marked(message.id)} ${acts.hurried(message.id)}` : "";
}

const LOOKS = ["quiet", "icon", "done"]; // classes that aren't a button's name

/** Where somebody stands who stands on a button of a turn: {row, place, name}; null where nobody does. */
export function standing(root) {
  const at = document.activeElement;
  const row = root.contains(at) ? at.closest(".turn") : null;
  return row ? { row, place: [...root.children].indexOf(row), name: [...at.classList].find((one) => !LOOKS.includes(one)) ?? "" } : null;
}

/** Has whoever goes by keys stand on the button of this name in a turn, or on the turn where it has none to be pressed. */
export function stand(row, name) {
  const there = name ? row?.querySelector(`.foot button.${CSS.escape(name)}:enabled`) : null;
  if (row && !there) row.tabIndex = -1;
  (there ?? row)?.focus({ preventScroll: true });
}

/** Puts these into a foot; whoever stood on a button there stands on the same one. */
export function fill(foot, children) {
  const stood = foot.contains(document.activeElement) ? standing(foot.closest(".turns")) : null;
  foot.replaceChildren(...children);
  if (stood) stand(stood.row, stood.name);
}

/** At the foot of a question. */
export function ofQuestion(message, { beside, busy, acts }) {
  const more = () => [
    message.example ? null : { words: t("Ask again"), name: "again", act: () => acts.again(message.id), disabled: busy },
    { words: t("Copy"), name: "copy", act: () => copy(whole(message)) },
    { words: t("New chat from here"), name: "branch", act: () => acts.branch(message.id), disabled: busy },
  ].filter(Boolean);
  return [
    message.example ? make("span.badge", {}, t("Example")) : null,
    chooser(message, beside, acts),
    button(t("Edit"), () => acts.edit(message.id), { icon: true, name: "edit", disabled: busy }),
    button(t("Delete"), () => acts.remove(message.id), { icon: true, name: "delete", disabled: busy }),
    Menus.button(t("More to do with this question"), more),
  ].filter(Boolean);
}

/** At the foot of an answer; `extra` are buttons of whoever draws it. */
export function ofAnswer(message, { beside, busy, last, acts, title, extra = [] }) {
  const line = figures(message).join(" · ");
  const told = line ? make("div.figures", { title }, line) : null;
  if (message.finish === null) return [told].filter(Boolean);
  const same = acts.same(message);
  const again = same
    ? button(t("Different: another answer, drawn by chance, since the same words would come"), () => acts.different(message.id), { icon: true, name: "again", disabled: busy })
    : button(t("Regenerate"), () => acts.again(message.id), { icon: true, name: "again", disabled: busy });
  const goesOn = last && unfinished(message);
  const final = message.asked?.cot === true ? finalAnswer(message.text) : "";
  const retry = last && (message.error || message.finish === "cut");
  return [
    final ? make("div.final", { dir: "auto" }, make("b", {}, t("Final answer")), ` ${final}`) : null,
    told,
    goesOn ? button(t("Continue"), () => acts.goOn(message.id), { name: "go-on", disabled: busy }) : null,
    retry ? button(t("Retry"), () => acts.again(message.id), { name: "retry", disabled: busy }) : null,
    longer(message, { last, busy, acts }),
    chooser(message, beside, acts),
    message.text ? button(t("Copy"), (event) => copied(event.currentTarget, message.text), { icon: true, name: "copy" }) : null,
    ...extra,
    message.example ? null : again,
    mark(message, acts),
    Menus.button(t("More to do with this answer"), () => more(message, { beside, busy, acts })),
  ].filter(Boolean);
}

function more(message, { beside, busy, acts }) {
  const { id, feedback } = message;
  const drawn = { words: t("Different answer, drawn by chance"), name: "different", act: () => acts.different(id), disabled: busy };
  const marked = acts.marked(id);
  const rows = [
    { words: t("Edit this answer"), name: "edit", act: () => acts.reword(id), disabled: busy || !message.text },
    message.example ? null : { words: t("Regenerate with other settings…"), name: "settings", act: () => acts.settings(id), disabled: busy },
    message.example ? null : drawn,
    message.example ? null : { words: t("Compare with other settings…"), name: "compare", act: () => acts.compare(id), disabled: busy || !message.text },
    besideVersion(message, beside, { busy, acts }),
    message.text && acts.pictured(id) ? { words: t("Open beside the picture"), name: "workbench", act: () => acts.workbench(id) } : null,
    message.text && acts.checkable(id) ? { words: t("Check against the picture…"), name: "evidence", act: () => acts.evidence(id), disabled: busy } : null,
    { words: t("New chat from here"), name: "branch", act: () => acts.branch(id), disabled: busy },
    { words: t("Copy as code…"), name: "code", act: () => acts.code(id) },
    message.example || !message.text ? null
      : { words: marked ? t("No longer an example for new chats") : t("Use as an example in new chats"), name: "example", act: () => acts.example(id) },
    message.example ? null : { words: t("Good answer"), name: "good", checked: feedback?.good === true, act: () => acts.rate(id, true) },
    message.example ? null : { words: t("Bad answer"), name: "bad", checked: feedback?.good === false, act: () => acts.rate(id, false) },
    { words: t("Delete"), name: "delete", act: () => acts.remove(id), disabled: busy },
  ];
  return rows.filter(Boolean);
}

/** Two versions that are there, side by side: this one and the one before it, or after where it is the first. */
function besideVersion({ id }, beside, { busy, acts }) {
  if (beside.length < 2) return null;
  const place = beside.findIndex((one) => one.id === id);
  const other = place ? place - 1 : 1;
  const ids = [Math.min(place, other), Math.max(place, other)].map((one) => beside[one].id);
  return { words: t("Side by side with version {number}", { number: other + 1 }), name: "side-by-side", act: () => acts.sideBySide(ids, id), disabled: busy };
}

/** What somebody thought of an answer, to be seen and changed. */
function mark({ id, feedback }, acts) {
  if (!feedback) return null;
  const words = feedback.good ? t("Good answer") : t("Bad answer");
  const said = feedback.reason ? `${words}: ${feedback.reason}` : words;
  return button(said, () => acts.rate(id, feedback.good), { icon: true, name: feedback.good ? "good" : "bad" });
}

/** `< 2/3 >` where there are several versions. */
function chooser(message, beside, acts) {
  if (beside.length < 2) return null;
  const place = beside.findIndex((one) => one.id === message.id);
  const step = (words, by, name) => button(words, () => acts.choose(beside[place + by].id), { icon: true, name, disabled: !beside[place + by] });
  return make("span.versions", { role: "group", "aria-label": t("Versions") },
    step(t("Version before"), -1, "back"), `${place + 1}/${beside.length}`, step(t("Version after"), 1, "forth"));
}

async function copied(pressed, text) {
  await copy(text);
  pressed.classList.add("done");
  setTimeout(() => pressed.classList.remove("done"), 1500);
}
