// On the empty page: the examples that a new chat begins with, each to be taken away, all of them to be left out once.
// Knows examples and the DOM.

import { button, make } from "./elements.mjs";
import { language, t } from "./i18n.mjs";

const plain = (text) => text.replace(/\s+/g, " ").trim().slice(0, 120);

/** Fills `list`, which is hidden where there are none, unless it shows them already. */
export function shots(list, examples) {
  const { pairs } = examples;
  const key = [language(), examples.used, ...pairs.map((one) => one.of)].join(" ");
  if (list.dataset.key === key) return;
  list.dataset.key = key;
  list.hidden = !pairs.length;
  if (!pairs.length) return list.replaceChildren();
  const used = make("input", { type: "checkbox", checked: examples.used, onchange: () => { examples.used = used.checked; } });
  const rows = pairs.map(({ of, question, answer }) => {
    const asked = plain(question.text) || question.files.map((one) => one.name).join(", ");
    const away = button(t("Take this example away"), () => takeAway(of), { icon: true, name: "leave" });
    return make("li", {}, make("span", {}, make("b", {}, asked), " ", plain(answer.text)), away);
  });
  async function takeAway(of) {
    const pair = pairs.find((one) => one.of === of);
    await examples.remove(of);
    shots(list, examples);
    const { toast } = await import("./toast.mjs");
    const back = async () => { await examples.add(pair.question, { ...pair.answer, id: of }); shots(list, examples); };
    toast(t("The example is taken away."), { words: t("Undo"), act: back });
  }
  list.replaceChildren(make("label", {}, used, ` ${t("Begin with these examples")}`), make("ul", {}, ...rows));
}
