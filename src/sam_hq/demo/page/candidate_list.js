// The candidates beside the photo: small pictures of which one is chosen.

import { element, percent } from "./page_elements.js";
import { framedPart, thumbnail } from "./thumbnails.js";

export class CandidateList {
  #page;
  #list = element("candidates");

  // page: see app.js.
  constructor(page) {
    this.#page = page;
    this.#list.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const { candidates, chosen } = page.state;
      if (step && candidates.length > 1) {
        event.preventDefault();
        page.act("choose", { candidate: (chosen + step + candidates.length) % candidates.length });
      }
    });
  }

  show() {
    const { candidates, chosen, color, photo } = this.#page.state;
    const focused = this.#list.contains(document.activeElement);
    element("mask-hint").hidden = candidates.length > 0;
    this.#list.hidden = candidates.length === 0;
    const part = framedPart(candidates.map((candidate) => candidate.counts), photo.shown_width, photo.shown_height);
    this.#list.replaceChildren(...candidates.map((candidate, number) => this.#button(candidate, number, part, color)));
    if (focused) {
      this.#list.children[chosen]?.focus();
    }
  }

  #button({ counts, score, share }, number, part, color) {
    const { act, stage, state } = this.#page;
    const chosen = number === state.chosen;
    const button = document.createElement("button");
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", String(chosen));
    button.setAttribute("aria-label",
      `Candidate ${number + 1}: score ${score.toFixed(2)}, ${percent(share)} of the photo`);
    button.tabIndex = chosen ? 0 : -1;
    const written = document.createElement("span");
    written.textContent = score.toFixed(2);
    button.append(thumbnail(stage.photo, counts, part, color), written);
    button.addEventListener("click", () => act("choose", { candidate: number }));
    button.addEventListener("pointerenter", () => stage.pointAt("previewed", number));
    button.addEventListener("pointerleave", () => stage.pointAt("previewed", null));
    return button;
  }
}
