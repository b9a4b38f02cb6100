// Points and boxes made with the pointer; where all that was found is shown, it points at one mask.

const DRAG_PIXELS = 6; // how far the pointer moves before it draws a box

export function promptWithPointer(stage) {
  const { marks } = stage;
  const draws = (event) => event.pointerType === "mouse" || stage.tool === "box";
  marks.addEventListener("contextmenu", (event) => event.preventDefault());
  marks.addEventListener("pointerdown", (event) => {
    stage.tell("hover", null);
    if (!stage.state || stage.spaceHeld || !event.isPrimary || (event.button !== 0 && event.button !== 2)) {
      return;
    }
    stage.start = { at: position(stage, event), x: event.clientX, y: event.clientY, button: event.button };
    if (stage.generated) {
      highlight(stage, event);
      return;
    }
    stage.cursor = null;
    if (draws(event)) {
      marks.setPointerCapture(event.pointerId);
    }
  });
  marks.addEventListener("pointermove", (event) => {
    stage.tell("hover", clickAt(stage, event));
    if (stage.generated) {
      highlight(stage, event);
    } else if (stage.start?.button === 0 && event.isPrimary && draws(event)) {
      if (stage.drag || Math.hypot(event.clientX - stage.start.x, event.clientY - stage.start.y) > DRAG_PIXELS) {
        stage.drag = [...stage.start.at, ...position(stage, event)];
        stage.drawMarks();
      }
    }
  });
  marks.addEventListener("pointerup", (event) => {
    if (!stage.start || !event.isPrimary) {
      return;
    }
    const { at, button } = stage.start;
    stage.start = null;
    if (stage.generated) {
      stage.tell(stage.highlighted ? "found" : "hint",
        stage.highlighted || "To set points again, untick “Show everything that was found”.");
    } else if (stage.drag) {
      stage.placeBox([...at, ...position(stage, event)]);
    } else if (stage.tool !== "box" || button === 2) {
      stage.placePoint(at, labelOf(stage, event, button));
    } else {
      stage.tell("hint", "Drag from one corner of the box to the other.");
    }
  });
  marks.addEventListener("pointercancel", () => stage.giveUpPrompt());
  marks.addEventListener("pointerleave", () => {
    stage.tell("hover", null);
    if (stage.generated) {
      highlight(stage, null);
    }
  });
}

// From a pointer event to pixels of the photo, kept within it.
function position(stage, event) {
  const frame = stage.marks.getBoundingClientRect();
  const { width, height } = stage.state.photo;
  const clamp = (value, most) => Math.min(most, Math.max(0, value));
  return [
    clamp(((event.clientX - frame.left) / frame.width) * width, width),
    clamp(((event.clientY - frame.top) / frame.height) * height, height),
  ];
}

function labelOf(stage, event, button) {
  return button === 2 || event.shiftKey || stage.tool === "background" ? 0 : 1;
}

// The point that a click would set where the mouse is: {x, y, label}, or null where none would be.
function clickAt(stage, event) {
  const moving = event.pointerType !== "mouse" || event.buttons || stage.panning || stage.spaceHeld;
  if (!stage.state || stage.generated || moving || stage.tool === "box") {
    return null;
  }
  const [x, y] = position(stage, event);
  return { x, y, label: labelOf(stage, event, 0) };
}

function highlight(stage, event) {
  let label = 0;
  if (event) {
    const { width, height } = stage.photo;
    const [x, y] = position(stage, event);
    const column = Math.min(width - 1, Math.floor((x / stage.state.photo.width) * width));
    const row = Math.min(height - 1, Math.floor((y / stage.state.photo.height) * height));
    label = stage.generated.labels[row * width + column];
  }
  if (label !== stage.highlighted) {
    stage.highlighted = label;
    stage.drawMasks();
    stage.tell("highlight", label);
  }
}
