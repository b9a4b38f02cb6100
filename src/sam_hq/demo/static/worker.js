// Does the work away from the page, so that it stays responsive: one request after the other.

import { makeFile } from "./downloads.js";
import { Model } from "./model.js";
import { decodePhoto } from "./photo_decoding.js";
import { PhotoSession } from "./photo_session.js";

const SHOWN_SIDE = 1600; // longest side of the copy on the page, in pixels

let session = null;
let file = null;
let queue = Promise.resolve();
const loading = Model.load(new URL("model", import.meta.url).href, (share) => postMessage({ share }));
// Whoever waits for the model hears of a failure.
loading.catch(() => {}).then(() => postMessage({ share: 1 }));

const requests = {
  async open({ file: opened, name, pixels: most }) {
    const { pixels, width, height } = await decodePhoto(opened, most);
    const model = await loading;
    const embedded = await model.embed(pixels, width, height);
    const shrink = Math.min(1, SHOWN_SIDE / Math.max(width, height));
    const [shownWidth, shownHeight] = [width, height].map((side) => Math.max(1, Math.round(side * shrink)));
    const photo = { name, width, height, shown_width: shownWidth, shown_height: shownHeight };
    session = new PhotoSession(photo, embedded.resized, model.metadata,
      (prompts, three, hqOnly) => model.answer(embedded, prompts, three, hqOnly));
    file = opened;
    return session.state();
  },

  act({ action, values }) {
    return session.act(action, values);
  },

  preview(place) {
    return session.preview(place);
  },

  async file({ name }) {
    const stem = session.photo.name.replace(/\.[^.]*$/, "");
    return { blob: await makeFile(name, session, file), name: `${stem}-${name}` };
  },
};

addEventListener("message", ({ data: { id, request, values } }) => {
  queue = queue.then(async () => {
    try {
      postMessage({ id, result: await requests[request](values) });
    } catch (error) {
      postMessage({ id, error: error.message });
    }
  });
});
