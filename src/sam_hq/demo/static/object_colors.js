// The colours of objects, the same as sam_hq_numpy.overlays gives them.

const HUE_STEP = (Math.sqrt(5) - 1) / 2;

// Red, green and blue of the object `number`, from 1.
export function objectColor(number) {
  const hue = (0.58 + (number - 1) * HUE_STEP) % 1;
  const sector = Math.floor(hue * 6);
  const part = hue * 6 - sector;
  const low = 1 - 0.85;
  const falling = 1 - 0.85 * part;
  const rising = 1 - 0.85 * (1 - part);
  const channels = [
    [1, rising, low], [falling, 1, low], [low, 1, rising], [low, falling, 1], [rising, low, 1], [1, low, falling],
  ][sector % 6];
  return channels.map((channel) => Math.round(255 * channel));
}

export function cssColor(number) {
  return `#${objectColor(number).map((channel) => channel.toString(16).padStart(2, "0")).join("")}`;
}
