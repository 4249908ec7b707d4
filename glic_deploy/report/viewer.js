// Two images in one place: a divider between them, and a zoom that both share. The report and the page of `glic view`
// call `compare`; the report contains this file as it is, so it is plain JavaScript.

const MOST = 32;
const STEP = 0.125; // of the visible part, for each press of an arrow key

/**
 * Bring the viewer in `section` to life. The section holds `.viewer` with its `.layer`s and its `.divider`, a range
 * that moves the divider, and buttons whose `data-zoom` is a magnification; 1 shows the whole image.
 *
 * Pointers move the divider, or the image if it is magnified. Two fingers, a double click, Ctrl and the wheel, and the
 * wheel alone while the viewer has the focus, change the magnification. So do the keys +, - and 0; arrows pan.
 *
 * @param {HTMLElement} section
 * @returns {{reset: () => void, refresh: () => void}} `reset` shows the whole images; `refresh` places images that were
 *   put into the layers later.
 */
export function compare(section) {
  const viewer = /** @type {HTMLElement} */ (section.querySelector(".viewer"));
  const range = /** @type {HTMLInputElement} */ (section.querySelector("input[type=range]"));
  const buttons = /** @type {HTMLButtonElement[]} */ ([...section.querySelectorAll("button[data-zoom]")]);
  let zoom = 1, x = 0, y = 0; // the visible part's corner, in shares of the image

  /** @param {number} percent */
  const split = (percent) => {
    const value = Math.min(100, Math.max(0, percent));
    viewer.style.setProperty("--split", `${value}%`);
    range.value = String(value);
    range.setAttribute("aria-valuetext", `${Math.round(value)} %`);
  };
  const place = () => {
    x = Math.min(1 - 1 / zoom, Math.max(0, x));
    y = Math.min(1 - 1 / zoom, Math.max(0, y));
    for (const shown of /** @type {NodeListOf<HTMLElement>} */ (viewer.querySelectorAll(".layer > *"))) {
      shown.style.transform = `scale(${zoom}) translate(${-100 * x}%, ${-100 * y}%)`;
    }
    viewer.classList.toggle("zoomed", zoom > 1);
    for (const button of buttons) button.setAttribute("aria-pressed", String(Number(button.dataset.zoom) === zoom));
  };
  const zoomTo = (/** @type {number} */ wanted, atX = 0.5, atY = 0.5) => {
    const level = Math.min(MOST, Math.max(1, wanted));
    x += atX / zoom - atX / level;
    y += atY / zoom - atY / level;
    zoom = level;
    place();
  };
  const pan = (/** @type {number} */ right, /** @type {number} */ down) => {
    x += right / zoom;
    y += down / zoom;
    place();
  };
  const share = (/** @type {MouseEvent} */ event) => {
    const box = viewer.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };

  range.addEventListener("input", () => split(Number(range.value)));
  for (const button of buttons) button.addEventListener("click", () => zoomTo(Number(button.dataset.zoom)));
  viewer.addEventListener("dblclick", (event) => zoomTo(zoom > 1 ? 1 : 4, ...share(event)));
  viewer.addEventListener("wheel", (event) => {
    if (!event.ctrlKey && document.activeElement !== viewer) return; // the wheel scrolls the page
    event.preventDefault();
    zoomTo(zoom * 2 ** (-Math.sign(event.deltaY) * Math.min(1, Math.abs(event.deltaY) / 100)), ...share(event));
  }, { passive: false });
  viewer.addEventListener("keydown", (event) => {
    /** @type {Record<string, () => void>} */
    const actions = {
      "+": () => zoomTo(2 * zoom),
      "=": () => zoomTo(2 * zoom),
      "-": () => zoomTo(zoom / 2),
      0: () => zoomTo(1),
      ArrowLeft: () => pan(-STEP, 0),
      ArrowRight: () => pan(STEP, 0),
      ArrowUp: () => pan(0, -STEP),
      ArrowDown: () => pan(0, STEP),
    };
    const action = actions[event.key];
    const arrow = event.key.startsWith("Arrow");
    if (!action || event.ctrlKey || event.metaKey || event.altKey || (arrow && zoom === 1)) return;
    event.preventDefault();
    action();
  });

  /** @type {Map<number, number[]>} */
  const fingers = new Map();
  let panning = false;
  const middle = () => {
    const [one, other = one] = [...fingers.values()];
    return { x: (one[0] + other[0]) / 2, y: (one[1] + other[1]) / 2, apart: Math.hypot(one[0] - other[0], one[1] - other[1]) };
  };
  viewer.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    panning = zoom > 1 && !(/** @type {Element} */ (event.target).classList.contains("divider"));
    fingers.set(event.pointerId, share(event));
    viewer.setPointerCapture(event.pointerId);
    // The first finger may be one of two, so only its movement moves the divider.
    if (!panning && event.pointerType !== "touch") split(100 * share(event)[0]);
  });
  viewer.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const before = middle();
    fingers.set(event.pointerId, share(event));
    const after = middle();
    if (fingers.size > 1) {
      if (before.apart) zoomTo((zoom * after.apart) / before.apart, after.x, after.y);
      pan(before.x - after.x, before.y - after.y);
    } else if (panning) {
      pan(before.x - after.x, before.y - after.y);
    } else {
      split(100 * after.x);
    }
  });
  for (const end of /** @type {const} */ (["pointerup", "pointercancel"])) {
    viewer.addEventListener(end, (event) => {
      fingers.delete(event.pointerId);
      panning = zoom > 1; // the finger that stays moves the image
    });
  }
  place();
  return {
    reset: () => {
      split(50);
      zoomTo(1);
    },
    refresh: place,
  };
}
