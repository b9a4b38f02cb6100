// Prompts, the keyboard's cross and the line of the comparison, drawn on a canvas in pixels of the page.

export function drawPoint(context, x, y, label) {
  context.beginPath();
  context.arc(x, y, 7, 0, 2 * Math.PI);
  context.fillStyle = label ? "#2ecc40" : "#ff4136";
  context.fill();
  context.lineWidth = 2.5;
  context.strokeStyle = "#fff";
  context.stroke();
  // A sign as well: colours alone do not tell everybody the difference.
  context.beginPath();
  context.moveTo(x - 3.5, y);
  context.lineTo(x + 3.5, y);
  if (label) {
    context.moveTo(x, y - 3.5);
    context.lineTo(x, y + 3.5);
  }
  context.lineWidth = 1.8;
  context.stroke();
}

export function drawBox(context, x0, y0, x1, y1) {
  for (const [color, width] of [["#000a", 4], ["#fff", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.strokeRect(Math.min(x0, x1), Math.min(y0, y1), Math.abs(x1 - x0), Math.abs(y1 - y0));
  }
}

export function drawDivider(context, x, height) {
  for (const [color, width] of [["#000a", 4], ["#fff", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x, 0);
    context.lineTo(x, height);
    context.stroke();
  }
}

export function drawCross(context, x, y) {
  for (const [color, width] of [["#000c", 4], ["#fff", 2]]) {
    context.strokeStyle = color;
    context.lineWidth = width;
    context.beginPath();
    context.moveTo(x - 14, y);
    context.lineTo(x + 14, y);
    context.moveTo(x, y - 14);
    context.lineTo(x, y + 14);
    context.stroke();
  }
}
