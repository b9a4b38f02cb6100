// What the page asks for, answered by the Python server. Another backend has the same methods: each action resolves to
// the whole state of the session, as PhotoSession.state() gives it, and rejects with an Error that people can read.

export class SessionLost extends Error {}

export class ServerBackend {
  privacy = "It stays on the computer that runs this demo.";
  formats = "JPEG, PNG, WebP, GIF, BMP or TIFF";
  searches = true;
  files = ["overlay.png", "masks.png", "cutout.png", "annotations.json", "polygons.json", "yolo.zip", "labelme.json",
    "objects.geojson"];
  session = null;

  about() {
    return fetchJson("api/about");
  }

  exampleThumbnail(number) {
    return `api/examples/${number}`;
  }

  async openFile(file) {
    return this.#opened(await fetchJson("api/photos", {
      method: "POST",
      headers: { "X-File-Name": encodeURIComponent(file.name || "photo"), "Content-Type": "application/octet-stream" },
      body: file,
    }));
  }

  async openExample(number) {
    return this.#opened(await fetchJson(`api/photos?example=${number}`, { method: "POST" }));
  }

  async resume(session) {
    const state = await fetchJson(`api/photos/${encodeURIComponent(session)}`);
    this.session = session;
    return state;
  }

  async shownPicture() {
    const response = await checked(await send(this.#address("shown.jpg")));
    return createImageBitmap(await response.blob());
  }

  act(action, values = {}) {
    return postJson(this.#address(action), values);
  }

  // What a click would give, {score, share, counts}, or null where the model is at other work; nothing changes.
  preview({ x, y, label }) {
    return fetchJson(this.#address(`preview?${new URLSearchParams({ x, y, label })}`));
  }

  startGeneration(options) {
    return postJson(this.#address("generation"), options);
  }

  generation() {
    return fetchJson(this.#address("generation"));
  }

  cancelGeneration() {
    return fetchJson(this.#address("generation"), { method: "DELETE" });
  }

  // {scores, shares, colors, labels}: labels is a Uint16Array over the shown picture, 0 or the place of a mask from 1.
  async generated() {
    const about = await fetchJson(this.#address("generation/masks"));
    const response = await checked(await send(this.#address("generation/labels")));
    return { ...about, labels: new Uint16Array(await response.arrayBuffer()) };
  }

  // {blob, name}; rows is "objects" or "everything".
  async file(rows, file) {
    const response = await checked(await send(this.#address(`files/${rows}/${file}`)));
    const name = /filename\*=utf-8''([^;]+)/.exec(response.headers.get("Content-Disposition") ?? "");
    return { blob: await response.blob(), name: name ? decodeURIComponent(name[1]) : file };
  }

  #opened(state) {
    if (this.session) {
      fetch(this.#address(""), { method: "DELETE" }).catch(() => {});
    }
    this.session = state.session;
    return state;
  }

  #address(rest) {
    return `api/photos/${encodeURIComponent(this.session)}${rest ? "/" : ""}${rest}`;
  }
}

async function send(address, options) {
  try {
    return await fetch(address, options);
  } catch {
    throw new Error("The server does not answer. Is it still running?");
  }
}

async function checked(response) {
  if (response.ok) {
    return response;
  }
  const answer = await response.json().catch(() => ({}));
  const message = answer.error ?? `The server failed (${response.status}).`;
  throw response.status === 410 ? new SessionLost(message) : new Error(message);
}

async function fetchJson(address, options) {
  return (await checked(await send(address, options))).json();
}

function postJson(address, values) {
  return fetchJson(address, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(values),
  });
}
