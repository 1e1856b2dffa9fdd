// The order of pictures in the box, changed by dragging or by Alt and arrows. Knows elements side by side; refuses to know
// what they stand for: `move` does that.

const FAR = 6; // pixels after which a press is a drag
const HOLD_MS = 300; // how long a finger rests before it drags: at once it scrolls

/** Lets `item`, which is pressed at `handle`, change places with its neighbours. `move(by)` is called with how many places
 * it goes. */
export function arrange(item, handle, { move }) {
  handle.setAttribute("aria-keyshortcuts", "Alt+ArrowLeft Alt+ArrowRight");
  handle.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!by || !event.altKey) return;
    event.preventDefault();
    move(by);
  });
  handle.addEventListener("dragstart", (event) => event.preventDefault()); // the browser's own, which would bring a file
  handle.addEventListener("pointerdown", (event) => { if (event.button === 0) dragging(item, handle, event, move); });
}

function dragging(item, handle, down, move) {
  const ends = new AbortController();
  const listen = (name, act, options = {}) => handle.addEventListener(name, act, { signal: ends.signal, ...options });
  const touch = down.pointerType === "touch";
  handle.setPointerCapture(down.pointerId);
  let [ready, lifted] = [!touch, false];
  const rest = touch ? setTimeout(() => { ready = true; lift(); }, HOLD_MS) : null;
  const lift = () => { lifted = true; item.classList.add("lifted"); };
  const end = () => {
    clearTimeout(rest);
    ends.abort();
    item.classList.remove("lifted");
    item.style.transform = "";
  };
  listen("pointermove", (event) => {
    const dx = event.clientX - down.clientX;
    if (!ready) { if (Math.abs(dx) > FAR) end(); return; }
    if (!lifted && Math.abs(dx) > FAR) lift();
    if (lifted) item.style.transform = `translateX(${dx}px)`;
  });
  listen("touchmove", (event) => { if (lifted) event.preventDefault(); }, { passive: false });
  listen("pointercancel", end);
  listen("pointerup", (event) => {
    const by = lifted ? places(item, event.clientX - down.clientX) : 0;
    if (lifted) handle.addEventListener("click", stopOnce, { capture: true, once: true }); // it wasn't pressed but moved
    setTimeout(() => handle.removeEventListener("click", stopOnce, { capture: true }), 0);
    end();
    if (by) move(by);
  });
}

function stopOnce(event) {
  event.preventDefault();
  event.stopImmediatePropagation();
}

/** How many neighbours an item that was dragged by `dx` went past the middle of. */
function places(item, dx) {
  const middle = (one) => one.offsetLeft + one.offsetWidth / 2;
  const at = middle(item) + dx;
  const others = [...item.parentElement.children];
  const from = others.indexOf(item);
  const to = others.filter((one) => one !== item && middle(one) < at).length;
  return to - from;
}
