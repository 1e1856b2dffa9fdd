// Beside a thought: how much of its budget is used, and a button that ends it; behind one that used it all up, a button
// that asks again with twice as much.
// Knows messages and buttons; refuses to know what happens when somebody presses one: `acts` does that.

import { button, make, name } from "./elements.mjs";
import { t } from "./i18n.mjs";

const MOST = 65536; // new tokens that may be asked for

/** Whether a thought is under way that can be ended. */
export function canEnd(message) {
  return message.finish === null && !message.text && message.thinking !== "" && message.stats?.thinking_budget > 0;
}

/** Whether the budget ended a thought: what is said to end it is counted too. */
export function usedUp({ stats, finish }) {
  return ["end", "length"].includes(finish) && stats?.thinking_budget > 0 && stats.thinking_tokens > stats.thinking_budget;
}

/** The settings of an answer that may think twice as long as this one, and say as much behind it. */
export function twice({ asked, stats }, settings) {
  const budget = stats.thinking_budget;
  const longest = asked?.max_new_tokens ?? settings.max_new_tokens;
  return { thinking_budget: Math.min(2 * budget, MOST), max_new_tokens: Math.min(longest + budget, MOST) };
}

/** Fills `place`, which stands below a thought. */
export function draw(place, message, { running, acts }) {
  const shows = canEnd(message) && message.id === running;
  place.hidden = !shows;
  if (!shows) return place.replaceChildren();
  if (!place.firstChild) {
    const bar = make("progress", { "aria-label": t("Thought so far") });
    place.append(bar, button(t("Answer now"), () => acts.hurry(message.id), { name: "hurry" }));
  }
  const [bar, end] = place.children;
  if (end.title !== t("Answer now")) { // the language was changed
    name(end, t("Answer now"));
    name(bar, t("Thought so far"));
  }
  bar.max = message.stats.thinking_budget;
  bar.value = Math.min(message.stats.thinking_tokens ?? 0, bar.max);
  end.disabled = acts.hurried(message.id);
}

/** At the foot of an answer; null where there is nothing to think longer about. */
export function longer(message, { last, busy, acts }) {
  if (!last || message.edited || message.example || !usedUp(message)) return null;
  return button(t("Think longer"), () => acts.longer(message.id), { name: "longer", disabled: busy });
}
