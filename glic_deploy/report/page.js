// The before/after viewers: a divider to drag (or move by keyboard below the image), and a zoom that both sides share.
"use strict";
for (const image of document.querySelectorAll(".image")) {
  const viewer = image.querySelector(".viewer");
  const range = image.querySelector("input[type=range]");
  const buttons = [...image.querySelectorAll("button[data-zoom]")];
  const images = viewer.querySelectorAll("img");
  let zoom = 1, x = 0, y = 0;  // the visible part's corner, in shares of the image

  const split = (percent) => {
    const value = Math.min(100, Math.max(0, percent));
    viewer.style.setProperty("--split", `${value}%`);
    range.value = value;
  };
  const place = () => {
    x = Math.min(1 - 1 / zoom, Math.max(0, x));
    y = Math.min(1 - 1 / zoom, Math.max(0, y));
    for (const image of images) {
      image.style.transform = `scale(${zoom}) translate(${-100 * x}%, ${-100 * y}%)`;
    }
    viewer.classList.toggle("zoomed", zoom > 1);
    for (const button of buttons) button.setAttribute("aria-pressed", String(Number(button.dataset.zoom) === zoom));
  };
  const zoomTo = (level, atX = 0.5, atY = 0.5) => {
    x += atX / zoom - atX / level;
    y += atY / zoom - atY / level;
    zoom = level;
    place();
  };
  const share = (event) => {
    const box = viewer.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height];
  };

  range.addEventListener("input", () => split(Number(range.value)));
  for (const button of buttons) button.addEventListener("click", () => zoomTo(Number(button.dataset.zoom)));
  viewer.addEventListener("dblclick", (event) => zoomTo(zoom > 1 ? 1 : 4, ...share(event)));
  viewer.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const levels = buttons.map((button) => Number(button.dataset.zoom));
    const next = levels.indexOf(zoom) + (event.deltaY < 0 ? 1 : -1);
    if (levels[next]) zoomTo(levels[next], ...share(event));
  }, { passive: false });

  let drag = null;
  viewer.addEventListener("pointerdown", (event) => {
    const panning = zoom > 1 && !event.target.classList.contains("divider");
    drag = { panning, at: share(event) };
    viewer.setPointerCapture(event.pointerId);
    if (!panning) split(100 * drag.at[0]);
  });
  viewer.addEventListener("pointermove", (event) => {
    if (!drag) return;
    const at = share(event);
    if (drag.panning) {
      x -= (at[0] - drag.at[0]) / zoom;
      y -= (at[1] - drag.at[1]) / zoom;
      drag.at = at;
      place();
    } else {
      split(100 * at[0]);
    }
  });
  for (const end of ["pointerup", "pointercancel"]) viewer.addEventListener(end, () => { drag = null; });
  place();
}
