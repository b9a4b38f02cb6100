// The ways to open a photo: one that is chosen, dropped or pasted, and examples.

import { element } from "./page_elements.js";

const READING = "Reading the photo …";

export class StartPanel {
  #page;
  #mostBytes = Infinity;

  // page: see app.js.
  constructor(page) {
    this.#page = page;
    for (const input of document.querySelectorAll("input.file")) {
      input.addEventListener("change", () => {
        this.#openFile(input.files[0]);
        input.value = "";
      });
    }
    for (const kind of ["dragover", "dragleave", "drop"]) {
      document.addEventListener(kind, (event) => {
        event.preventDefault();
        element("drop").classList.toggle("over", kind === "dragover");
        if (kind === "drop") {
          this.#openFile(event.dataTransfer.files[0]);
        }
      });
    }
    document.addEventListener("paste", (event) => this.#openFile([...event.clipboardData.files][0]));
  }

  // about: what the backend says of itself.
  offer(about) {
    const { backend, open } = this.#page;
    this.#mostBytes = about.upload_bytes;
    element("limits").textContent =
      `${backend.formats}; up to ${Math.round(about.upload_bytes / 1e6)} MB and ` +
      `${Math.round(about.pixels / 1e6)} million pixels. ${backend.privacy}`;
    about.examples.forEach((name, number) => {
      const button = document.createElement("button");
      const picture = document.createElement("img");
      picture.src = backend.exampleThumbnail(number);
      picture.alt = name;
      button.append(picture);
      button.addEventListener("click", () => open(() => backend.openExample(number), READING));
      element("example-list").append(button);
    });
    element("examples").hidden = about.examples.length === 0;
  }

  #openFile(file) {
    if (!file) {
      return;
    }
    const { backend, open, showError } = this.#page;
    if (file.size > this.#mostBytes) {
      const accepted = (this.#mostBytes / 1e6).toFixed(1);
      showError(new Error(`The file has ${(file.size / 1e6).toFixed(1)} MB, but at most ${accepted} MB are accepted.`));
      return;
    }
    open(() => backend.openFile(file), READING);
  }
}
