// What the page asks for, answered by a worker of this browser. The methods are those of the server's backend.

export class SessionLost extends Error {}

export class Backend {
  privacy = "It never leaves this browser.";
  formats = "JPEG, PNG, WebP, GIF, BMP or AVIF";
  searches = false;
  files = ["overlay.png", "masks.png", "cutout.png", "annotations.json"]; // polygons are traced by the server alone
  onprogress = null; // hears which share of the model has arrived
  session = ""; // a reload starts a new one
  #worker = null;
  #waiting = new Map();
  #requests = 0;
  #failure = null;
  #about = null;
  #picture = null;

  constructor() {
    this.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker.addEventListener("message", ({ data }) => this.#answered(data));
    this.#worker.addEventListener("error", (event) => {
      event.preventDefault();
      this.#failed(new Error("This browser cannot run the model."));
    });
  }

  async about() {
    this.#about ??= await (await fetch("about.json")).json();
    return { ...this.#about, examples: this.#about.examples.map((example) => example.name) };
  }

  exampleThumbnail(number) {
    return this.#about.examples[number].thumbnail;
  }

  async openFile(file) {
    const { pixels } = await this.about();
    const state = await this.#ask("open", { file, name: file.name || "photo", pixels });
    this.#picture?.close();
    this.#picture = await createImageBitmap(file, {
      imageOrientation: "from-image",
      resizeWidth: state.photo.shown_width,
      resizeHeight: state.photo.shown_height,
      resizeQuality: "high",
    });
    return state;
  }

  async openExample(number) {
    const { name, photo } = this.#about.examples[number];
    const response = await fetch(photo).catch(() => null);
    if (!response?.ok) {
      throw new Error("The photo did not arrive.");
    }
    return this.openFile(new File([await response.blob()], name));
  }

  shownPicture() {
    return this.#picture;
  }

  act(action, values = {}) {
    return this.#ask("act", { action, values });
  }

  // What a click would give, {score, share, counts}; nothing changes.
  preview(place) {
    return this.#ask("preview", place);
  }

  // {blob, name}; there are only the objects: this backend does not search.
  file(rows, name) {
    return this.#ask("file", { name });
  }

  #ask(request, values) {
    if (this.#failure) {
      return Promise.reject(this.#failure);
    }
    return new Promise((resolve, reject) => {
      const id = ++this.#requests;
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, request, values });
    });
  }

  #answered({ id, result, error, share }) {
    if (share !== undefined) {
      this.onprogress?.(share);
      return;
    }
    const { resolve, reject } = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error === undefined) {
      resolve(result);
    } else {
      reject(new Error(error));
    }
  }

  #failed(error) {
    this.#failure = error;
    for (const { reject } of this.#waiting.values()) {
      reject(error);
    }
    this.#waiting.clear();
  }
}
