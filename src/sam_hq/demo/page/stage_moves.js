// Zooming and moving the photo: with the wheel, the mouse and two fingers.

// The wheel zooms, as does the pinch of a trackpad, which comes as a wheel; Space or the middle button drags the photo.
export function moveWithMouse(stage) {
  stage.viewport.addEventListener("wheel", (event) => {
    const zoomed = stage.zoomed * Math.exp(-event.deltaY * (event.ctrlKey ? 0.01 : 0.002) * (event.deltaMode ? 20 : 1));
    if (event.shiftKey || (zoomed < 1 && stage.zoomed === 1 && !event.ctrlKey)) {
      return; // nothing to make smaller: the page scrolls
    }
    event.preventDefault();
    stage.zoomAbout(zoomed, event.clientX, event.clientY);
  }, { passive: false });
  for (const kind of ["keydown", "keyup", "blur"]) {
    window.addEventListener(kind, (event) => {
      if (event.code === "Space" || kind === "blur") {
        stage.spaceHeld = kind === "keydown";
      }
    });
  }
  stage.marks.addEventListener("pointerdown", (event) => {
    if (event.button === 1 || (event.button === 0 && stage.spaceHeld)) {
      event.preventDefault();
      stage.marks.setPointerCapture(event.pointerId);
      stage.panning = true;
    }
  });
  stage.marks.addEventListener("pointermove", (event) => {
    if (stage.panning) {
      stage.viewport.scrollLeft -= event.movementX;
      stage.viewport.scrollTop -= event.movementY;
    }
  });
  for (const kind of ["pointerup", "pointercancel"]) {
    stage.marks.addEventListener(kind, () => {
      stage.panning = false;
    });
  }
}

// Two fingers zoom and move the photo; one is left to the page, which scrolls, and to taps.
export function moveWithFingers(stage) {
  let before = null; // {x, y, apart} of the fingers
  const between = ([one, other]) => ({
    x: (one.clientX + other.clientX) / 2,
    y: (one.clientY + other.clientY) / 2,
    apart: Math.max(1, Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY)),
  });
  stage.marks.addEventListener("touchstart", (event) => {
    if (event.touches.length === 2) {
      event.preventDefault(); // neither the page's own zoom nor a click
      stage.giveUpPrompt();
      before = between(event.touches);
    }
  }, { passive: false });
  stage.marks.addEventListener("touchmove", (event) => {
    if (before && event.touches.length === 2) {
      event.preventDefault();
      const now = between(event.touches);
      stage.viewport.scrollLeft -= now.x - before.x;
      stage.viewport.scrollTop -= now.y - before.y;
      stage.zoomAbout((stage.zoomed * now.apart) / before.apart, now.x, now.y);
      before = now;
    }
  }, { passive: false });
  for (const kind of ["touchend", "touchcancel"]) {
    stage.marks.addEventListener(kind, () => {
      before = null;
    });
  }
}
