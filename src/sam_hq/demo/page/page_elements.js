// The page's elements, and what is said in them.

export const element = (id) => document.getElementById(id);

export function percent(share) {
  const value = 100 * share;
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)}\u00a0%`;
}

export function say(text) {
  element("status").textContent = text || "\u00a0";
}
