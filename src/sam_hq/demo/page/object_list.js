// The kept objects: each with its colour, a name that can be given, and what can be done with it.

import { element, percent } from "./page_elements.js";

export class ObjectList {
  #page;
  #list = element("objects");

  // page: see app.js; beforeChange: called before an object is refined or removed.
  constructor(page, beforeChange) {
    this.#page = page;
    this.beforeChange = beforeChange;
  }

  // Rows stay while their objects do, so that a name that is being typed is not lost.
  show() {
    const { objects } = this.#page.state;
    element("objects-section").hidden = objects.length === 0;
    const rows = new Map([...this.#list.children].map((row) => [Number(row.dataset.number), row]));
    this.#list.replaceChildren(...objects.map((object) => {
      const row = rows.get(object.number) ?? this.#row(object);
      const name = row.querySelector("input");
      if (name !== document.activeElement) {
        name.value = object.name;
      }
      row.querySelector("span:nth-of-type(2)").textContent = percent(object.share);
      row.title = `Score ${object.score.toFixed(2)}`;
      return row;
    }));
    const names = new Set(objects.map((object) => object.name).filter(Boolean));
    element("names").replaceChildren(...[...names].map((name) => new Option(name, name)));
  }

  #row({ number, color }) {
    const { act, stage } = this.#page;
    const row = document.createElement("li");
    row.dataset.number = number;
    const swatch = document.createElement("span");
    swatch.className = "swatch";
    swatch.style.background = color;
    const name = document.createElement("input");
    name.type = "text";
    name.maxLength = 60;
    name.placeholder = `Object ${number}`;
    name.setAttribute("aria-label", `Name of object ${number}`);
    name.setAttribute("list", "names");
    name.addEventListener("change", () => act("rename", { number, name: name.value }));
    row.append(swatch, name, document.createElement("span"));
    for (const [word, action] of [["Refine", "refine"], ["Remove", "remove"]]) {
      const button = document.createElement("button");
      button.textContent = word;
      button.setAttribute("aria-label", `${word} object ${number}`);
      button.addEventListener("click", () => {
        this.beforeChange();
        act(action, { number });
      });
      row.append(button);
    }
    row.addEventListener("pointerenter", () => stage.pointAt("pointedAt", number));
    row.addEventListener("pointerleave", () => stage.pointAt("pointedAt", null));
    return row;
  }
}
