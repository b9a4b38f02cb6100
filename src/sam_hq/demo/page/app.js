// The page: panels and buttons around the stage. All that is known of the session is the state that the backend gives.

import { Backend, SessionLost } from "./backend.js";
import { Stage } from "./stage.js";
import { CandidateList } from "./candidate_list.js";
import { DownloadPanel } from "./download_panel.js";
import { HoverPreview } from "./hover_preview.js";
import { ObjectList } from "./object_list.js";
import { SearchPanel } from "./search_panel.js";
import { StartPanel } from "./start_panel.js";
import { element, percent, say } from "./page_elements.js";

const KEPT_SESSION = "sam-hq-session";
const MODEL_ACTIONS = ["point", "box"]; // that always ask the model

const backend = new Backend();
const stage = new Stage();
let state = null;
let acted = 0; // how many actions were asked for, and of these how many are not answered yet
let unanswered = 0;
let photos = 0; // how many were opened or lost: what was meant for one is not done to the next
let queue = Promise.resolve(); // actions and openings go one after the other

// What the parts of the page need of it.
const page = {
  backend,
  stage,
  act,
  busy,
  open,
  showError,
  get state() {
    return state;
  },
  get photos() {
    return photos;
  },
  get acted() {
    return acted;
  },
  get isBusy() {
    return unanswered > 0;
  },
};
const candidates = new CandidateList(page);
const objects = new ObjectList(page, () => search.show(false));
const preview = new HoverPreview(page);
const search = new SearchPanel(page, () => {
  if (state) {
    showSwipe();
    downloads.show();
  }
});
const downloads = new DownloadPanel(page, search);
const start = new StartPanel(page);

function showError(error) {
  element("error").textContent = error.message;
  element("error").hidden = false;
  if (error instanceof SessionLost) {
    sessionStorage.removeItem(KEPT_SESSION);
    showStart();
  }
}

function showStart() {
  state = null;
  forgetPhoto();
  element("work").hidden = true;
  element("another").hidden = true;
  element("start").hidden = false;
}

// End what was going on with the photo, and leave no traces of it.
function forgetPhoto() {
  photos++;
  search.forget();
  preview.drop();
}

// Kept objects, with one that was taken up again.
function countKept() {
  return state ? state.objects.length + (state.taken_up ? 1 : 0) : 0;
}

function mayLosePhoto() {
  const count = countKept();
  const kept = count === 1 ? "The object that you kept is" : `The ${count} objects that you kept are`;
  return count === 0 || confirm(`Open another photo? ${kept} lost unless downloaded before.`);
}

async function busy(work) {
  document.body.classList.add("busy");
  try {
    return await work();
  } finally {
    document.body.classList.remove("busy");
  }
}

// Opening

function open(ask, waiting) {
  if (mayLosePhoto()) {
    queue = queue.then(() => openNow(ask, waiting));
  }
  return queue;
}

async function openNow(ask, waiting) {
  element("error").hidden = true;
  document.querySelector(".drop-title").textContent = waiting;
  try {
    await busy(async () => {
      await search.end();
      const opened = await ask();
      const picture = await backend.shownPicture();
      sessionStorage.setItem(KEPT_SESSION, backend.session);
      element("start").hidden = true;
      element("work").hidden = false;
      element("another").hidden = false;
      forgetPhoto();
      stage.setPicture(picture, opened.photo.width);
      show(opened);
      say(`${opened.photo.name}, ${opened.photo.width} × ${opened.photo.height} pixels`);
      element("marks").focus({ preventScroll: true });
      if (opened.generation) {
        const begun = opened.objects.length || opened.candidates.length; // then that is shown
        search.watch(opened.generation, !begun);
      }
    });
  } catch (error) {
    showError(error);
  } finally {
    document.querySelector(".drop-title").textContent = "Open a photo";
  }
}

async function begin() {
  let about;
  try {
    about = await backend.about();
  } catch (error) {
    showError(error);
    return;
  }
  element("model").textContent = about.model;
  backend.onprogress = (share) => {
    const loading = share < 1 ? `, ${Math.floor(100 * share)} % loaded` : "";
    element("model").textContent = `${about.model}${loading}`;
  };
  search.offer(about);
  downloads.offer();
  start.offer(about);
  const kept = sessionStorage.getItem(KEPT_SESSION);
  if (kept) {
    await open(() => backend.resume(kept), "Going on with your photo …");
  }
}

// Prompts

function act(action, values, announce = true) {
  const photo = photos;
  acted++;
  preview.drop();
  countUnanswered(1);
  queue = queue.then(async () => {
    if (photo !== photos) {
      countUnanswered(-1);
      return;
    }
    element("error").hidden = true;
    const begun = performance.now();
    try {
      const answer = await backend.act(action, values);
      if (MODEL_ACTIONS.includes(action)) {
        preview.measured(performance.now() - begun);
      }
      show(answer);
      if (announce) {
        say(description(performance.now() - begun));
      }
    } catch (error) {
      if (state) {
        stage.setState(state);
      }
      showError(error);
    } finally {
      countUnanswered(-1);
    }
  });
  return queue;
}

function countUnanswered(change) {
  unanswered += change;
  element("marks").setAttribute("aria-busy", String(unanswered > 0));
}

function description(milliseconds) {
  const shown = state.candidates[state.chosen];
  if (!shown) {
    return state.objects.length ? `${state.objects.length} kept. Click on another object.` : "";
  }
  if (state.taken_up && !state.points.length && !state.box) {
    return `Object ${state.number} is taken up: click where it is missing, right-click where it is too much.`;
  }
  const refined = state.refined ? ", refined from the mask before" : "";
  return `Score ${shown.score.toFixed(2)}, ${percent(shown.share)} of the photo${refined}. ` +
    `Answered in ${(milliseconds / 1000).toFixed(2)}\u00a0s.`;
}

function show(next) {
  state = next;
  stage.setState(state);
  element("undo").disabled = !state.can_undo;
  element("redo").disabled = !state.can_redo;
  element("clear").disabled = !state.points.length && !state.box && !state.taken_up;
  element("keep").disabled = !state.candidates.length;
  element("compare").disabled = !state.sam;
  element("refine").checked = state.options.refine;
  element("hq-only").checked = state.options.hq_token_only;
  element("how-many").value = state.options.candidates;
  element("how-many").disabled = state.options.hq_token_only;
  candidates.show();
  objects.show();
  downloads.show();
  showSwipe();
  element("marks").setAttribute("aria-label",
    `Photo ${state.photo.name}: ${state.points.length} points, ${state.box ? "a box" : "no box"}, ` +
    `${state.objects.length} objects kept`);
}

function showSwipe() {
  const on = element("compare").checked && Boolean(state.sam) && !stage.generated;
  element("swipe").hidden = !on;
  stage.compare = on ? element("divider").value / 100 : null;
  stage.drawMasks();
  stage.drawMarks();
}

// Wires

stage.addEventListener("point", (event) => act("point", event.detail));
stage.addEventListener("box", (event) => act("box", event.detail));
stage.addEventListener("keep", () => state.candidates.length && act("keep"));
stage.addEventListener("hint", (event) => say(event.detail));
for (const input of document.querySelectorAll("input[name=tool]")) {
  input.addEventListener("change", () => stage.setTool(input.value));
}
for (const action of ["undo", "redo", "clear", "keep"]) {
  element(action).addEventListener("click", () => act(action));
}
for (const [id, zoomed] of Object.entries({
  "zoom-in": () => stage.zoomed * 1.5,
  "zoom-out": () => stage.zoomed / 1.5,
  "zoom-fit": () => 1,
  "zoom-full": () => stage.full,
})) {
  element(id).addEventListener("click", () => stage.zoomTo(zoomed()));
}
stage.addEventListener("zoom", (event) => {
  element("zoom").textContent = `${Math.round(100 * event.detail)}\u00a0%`;
});
element("help-open").addEventListener("click", () => element("help").showModal());
element("help-close").addEventListener("click", () => element("help").close());
element("refine").addEventListener("change", (event) => act("options", { refine: event.target.checked }));
element("hq-only").addEventListener("change", (event) => act("options", { hq_token_only: event.target.checked }));
element("how-many").addEventListener("change", (event) => act("options", { candidates: event.target.value }));
element("compare").addEventListener("change", showSwipe);
element("divider").addEventListener("input", showSwipe);
document.addEventListener("keydown", (event) => {
  if (state && (event.ctrlKey || event.metaKey) && !event.altKey && event.target.type !== "text") {
    const key = event.key.toLowerCase();
    const action = key === "z" ? (event.shiftKey ? "redo" : "undo") : key === "y" ? "redo" : null;
    if (action) {
      event.preventDefault();
      act(action);
    }
  }
});
window.addEventListener("beforeunload", (event) => {
  if (countKept()) {
    event.preventDefault();
  }
});

begin();
