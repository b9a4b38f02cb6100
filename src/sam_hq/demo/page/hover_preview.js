// The mask that a click would give, while the pointer rests on the photo: only where the model answers at once.

import { element } from "./page_elements.js";

const REST_MILLISECONDS = 60; // how long the pointer rests before anything is asked
const QUICK_MILLISECONDS = 100; // an answer that takes longer comes too late to lead a click
const REMEMBERED_ANSWERS = 5;
const KEPT_SWITCH = "sam-hq-preview";

export class HoverPreview {
  #page;
  #milliseconds = []; // of the last answers
  #wanted = null; // where the pointer rests: {x, y, label}
  #asking = false;
  #timer = 0;

  // page: see app.js.
  constructor(page) {
    this.#page = page;
    element("preview-on").checked = localStorage.getItem(KEPT_SWITCH) !== "off";
    element("preview-on").addEventListener("change", (event) => {
      localStorage.setItem(KEPT_SWITCH, event.target.checked ? "on" : "off");
      this.drop();
    });
    page.stage.addEventListener("hover", (event) => this.#hover(event.detail));
  }

  // How long the model took for an answer of any kind.
  measured(milliseconds) {
    this.#milliseconds = [...this.#milliseconds, milliseconds].slice(-REMEMBERED_ANSWERS);
    element("preview-note").hidden = this.#isQuick();
  }

  // Show nothing, and nothing of what is on its way.
  drop() {
    clearTimeout(this.#timer);
    this.#wanted = null;
    this.#page.stage.showPreview(null);
  }

  // Without an answer yet, one preview finds out.
  #isQuick() {
    const sorted = this.#milliseconds.toSorted((one, other) => one - other);
    return sorted.length === 0 || sorted[Math.floor(sorted.length / 2)] < QUICK_MILLISECONDS;
  }

  // place: {x, y, label} of the click that may come, or null where none can.
  #hover(place) {
    this.drop();
    if (place && element("preview-on").checked) {
      this.#timer = setTimeout(() => {
        this.#wanted = place;
        this.#ask();
      }, REST_MILLISECONDS);
    }
  }

  async #ask() {
    if (this.#asking || !this.#wanted || !this.#isQuick() || this.#page.isBusy) {
      return;
    }
    const place = this.#wanted;
    const before = this.#page.acted;
    this.#asking = true;
    try {
      const start = performance.now();
      const preview = await this.#page.backend.preview(place); // null where the model is at other work
      if (preview) {
        this.measured(performance.now() - start);
      }
      if (place === this.#wanted && before === this.#page.acted) {
        this.#page.stage.showPreview(preview);
      }
    } catch {
      this.#wanted = null; // a click will say what is wrong
    } finally {
      this.#asking = false;
    }
    if (place !== this.#wanted) {
      this.#ask(); // the pointer rests elsewhere by now
    }
  }
}
