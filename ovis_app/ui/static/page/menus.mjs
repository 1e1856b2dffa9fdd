// Buttons that open a menu, which is loaded when first needed. Knows no entry.

import { button } from "./elements.mjs";

export const Menus = {
  /** A button `⋯`; `rows` gives what is to choose once it is pressed: {words, name, act, disabled, checked}. */
  button(words, rows) {
    const opens = button(words, async () => (await import("./menu.mjs")).open(opens, rows()), { icon: true, name: "more" });
    opens.setAttribute("aria-haspopup", "menu");
    opens.setAttribute("aria-expanded", "false");
    return opens;
  },
};
