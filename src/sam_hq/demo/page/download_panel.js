// The files that can be downloaded: of the objects, or of all that was found while that is shown.

import { element, say } from "./page_elements.js";

export class DownloadPanel {
  #page;
  #search;
  #buttons = [...element("downloads").children];

  // page: see app.js; search: the panel that knows what was found.
  constructor(page, search) {
    this.#page = page;
    this.#search = search;
    for (const button of this.#buttons) {
      button.addEventListener("click", () => this.#download(button.dataset.file));
    }
  }

  // Show the buttons of files that the backend writes.
  offer() {
    for (const button of this.#buttons) {
      button.hidden = !this.#page.backend.files.includes(button.dataset.file);
    }
  }

  show() {
    const { stage, state } = this.#page;
    const everything = Boolean(stage.generated);
    const count = everything ? this.#search.found.scores.length : state.objects.length + (state.candidates.length ? 1 : 0);
    element("download-hint").textContent =
      count === 0 ? "Nothing to download yet." : `${count} ${count === 1 ? "object" : "objects"} at the size of the photo` +
        (everything ? `: all that was found, without the ${state.objects.length} kept.` : ".");
    for (const button of this.#buttons) {
      button.disabled = count === 0;
    }
  }

  async #download(file) {
    const { backend, busy, showError, stage } = this.#page;
    element("error").hidden = true;
    try {
      const count = element("download-hint").textContent.split(" at ")[0];
      const { blob, name } = await busy(() => backend.file(stage.generated ? "everything" : "objects", file));
      const link = document.createElement("a");
      link.href = URL.createObjectURL(blob);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
      say(`Downloaded ${name}: ${count}.`);
    } catch (error) {
      showError(error);
    }
  }
}
