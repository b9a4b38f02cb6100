// Points and boxes without a mouse: arrows move a cross over the photo.

// Returns whether the key was meant for the photo.
export function pressKey(stage, event) {
  const { width, height } = stage.state.photo;
  const step = (event.shiftKey ? 10 : 1) * Math.max(1, Math.round(4 / stage.scale));
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (moves[key] || key === "b" || key === "Enter") {
    stage.cursor ??= [width / 2, height / 2];
  }
  if (moves[key]) {
    const [dx, dy] = moves[key];
    stage.cursor = [
      Math.min(width, Math.max(0, stage.cursor[0] + dx * step)),
      Math.min(height, Math.max(0, stage.cursor[1] + dy * step)),
    ];
    stage.drag = stage.corner ? [...stage.corner, ...stage.cursor] : null;
  } else if (key === "b" || (stage.tool === "box" && key === "Enter")) {
    if (stage.corner) {
      stage.placeBox([...stage.corner, ...stage.cursor]);
    } else {
      stage.corner = [...stage.cursor];
      stage.tell("hint", "First corner set: move the cross and press B for the second.");
    }
  } else if (key === "Enter") {
    stage.placePoint([...stage.cursor], event.shiftKey || stage.tool === "background" ? 0 : 1);
  } else if (key === "k") {
    stage.tell("keep");
  } else if (key === "Escape") {
    stage.corner = stage.drag = null;
  } else {
    return key === " "; // held to drag the photo: it must not scroll the page
  }
  return true;
}
