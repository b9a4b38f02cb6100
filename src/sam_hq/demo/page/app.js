// The page: panels and buttons around the stage. All that is known of the session is the state that the backend gives.

import { Backend, SessionLost } from "./backend.js";
import { Stage } from "./stage.js";
import { decodeRuns } from "./mask_pixels.js";
import { framedPart, thumbnail } from "./thumbnails.js";

const POLL_MILLISECONDS = 300;
const KEPT_SESSION = "sam-hq-session";

const element = (id) => document.getElementById(id);
const backend = new Backend();
const stage = new Stage();
let about = null;
let state = null;
let generated = null;
let polled = 0; // which search is being watched
let acted = 0; // how many actions were asked for, and of these how many are not answered yet
let unanswered = 0;
let photos = 0; // how many were opened or lost: what was meant for one is not done to the next
let queue = Promise.resolve(); // actions and openings go one after the other

function percent(share) {
  const value = 100 * share;
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(1)}\u00a0%`;
}

function say(text) {
  element("status").textContent = text || "\u00a0";
}

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
  polled++;
  generated = stage.generated = null;
  stage.highlighted = 0;
  element("show-everything").checked = false;
  element("show-everything-row").hidden = true;
  element("keep-all").hidden = true;
  showProgress(null);
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
      if (backend.session && !element("cancel").hidden) {
        await backend.cancelGeneration().catch(() => {}); // a search would hold the model that the next photo needs
      }
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
        watchGeneration(opened.generation, !begun);
      }
    });
  } catch (error) {
    showError(error);
  } finally {
    document.querySelector(".drop-title").textContent = "Open a photo";
  }
}

function openFile(file) {
  if (!file) {
    return;
  }
  if (about && file.size > about.upload_bytes) {
    const accepted = (about.upload_bytes / 1e6).toFixed(1);
    showError(new Error(`The file has ${(file.size / 1e6).toFixed(1)} MB, but at most ${accepted} MB are accepted.`));
    return;
  }
  open(() => backend.openFile(file), "Reading the photo …");
}

async function begin() {
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
  element("everything").hidden = !backend.searches;
  if (backend.searches) {
    element("least-score").value = about.least_score;
    element("least-stability").value = about.least_stability;
  }
  for (const button of element("downloads").children) {
    button.hidden = !backend.files.includes(button.dataset.file);
  }
  element("limits").textContent =
    `${backend.formats}; up to ${Math.round(about.upload_bytes / 1e6)} MB and ` +
    `${Math.round(about.pixels / 1e6)} million pixels. ${backend.privacy}`;
  about.examples.forEach((name, number) => {
    const button = document.createElement("button");
    const picture = document.createElement("img");
    picture.src = backend.exampleThumbnail(number);
    picture.alt = name;
    button.append(picture);
    button.addEventListener("click", () => open(() => backend.openExample(number), "Reading the photo …"));
    element("example-list").append(button);
  });
  element("examples").hidden = about.examples.length === 0;
  const kept = sessionStorage.getItem(KEPT_SESSION);
  if (kept) {
    await open(() => backend.resume(kept), "Going on with your photo …");
  }
}

// Prompts

function act(action, values, announce = true) {
  const photo = photos;
  acted++;
  countUnanswered(1);
  queue = queue.then(async () => {
    if (photo !== photos) {
      countUnanswered(-1);
      return;
    }
    element("error").hidden = true;
    const start = performance.now();
    try {
      show(await backend.act(action, values));
      if (announce) {
        say(description(performance.now() - start));
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
  showCandidates();
  showObjects();
  showDownloads();
  showSwipe();
  element("marks").setAttribute("aria-label",
    `Photo ${state.photo.name}: ${state.points.length} points, ${state.box ? "a box" : "no box"}, ` +
    `${state.objects.length} objects kept`);
}

function showCandidates() {
  const list = element("candidates");
  const focused = list.contains(document.activeElement);
  element("mask-hint").hidden = state.candidates.length > 0;
  list.hidden = state.candidates.length === 0;
  const { shown_width: width, shown_height: height } = state.photo;
  const masks = state.candidates.map((candidate) => decodeRuns(candidate.counts, width, height));
  const part = framedPart(masks, width, height);
  list.replaceChildren(...state.candidates.map((candidate, number) => {
    const button = document.createElement("button");
    button.setAttribute("role", "radio");
    button.setAttribute("aria-checked", String(number === state.chosen));
    button.setAttribute("aria-label",
      `Candidate ${number + 1}: score ${candidate.score.toFixed(2)}, ${percent(candidate.share)} of the photo`);
    button.tabIndex = number === state.chosen ? 0 : -1;
    const score = document.createElement("span");
    score.textContent = candidate.score.toFixed(2);
    button.append(thumbnail(stage.photo, masks[number], part, state.color), score);
    button.addEventListener("click", () => act("choose", { candidate: number }));
    button.addEventListener("pointerenter", () => stage.pointAt("previewed", number));
    button.addEventListener("pointerleave", () => stage.pointAt("previewed", null));
    return button;
  }));
  if (focused) {
    list.children[state.chosen]?.focus();
  }
}

element("candidates").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
  if (step && state.candidates.length > 1) {
    event.preventDefault();
    const count = state.candidates.length;
    act("choose", { candidate: (state.chosen + step + count) % count });
  }
});

// Rows stay while their objects do, so that a name that is being typed is not lost.
function showObjects() {
  const list = element("objects");
  element("objects-section").hidden = state.objects.length === 0;
  const rows = new Map([...list.children].map((row) => [Number(row.dataset.number), row]));
  list.replaceChildren(...state.objects.map((object) => {
    const row = rows.get(object.number) ?? objectRow(object);
    const name = row.querySelector("input");
    if (name !== document.activeElement) {
      name.value = object.name;
    }
    row.querySelector("span:nth-of-type(2)").textContent = percent(object.share);
    row.title = `Score ${object.score.toFixed(2)}`;
    return row;
  }));
  const names = new Set(state.objects.map((object) => object.name).filter(Boolean));
  element("names").replaceChildren(...[...names].map((name) => new Option(name, name)));
}

function objectRow({ number, color }) {
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
      showEverything(false);
      act(action, { number });
    });
    row.append(button);
  }
  row.addEventListener("pointerenter", () => stage.pointAt("pointedAt", number));
  row.addEventListener("pointerleave", () => stage.pointAt("pointedAt", null));
  return row;
}

function showSwipe() {
  const on = element("compare").checked && Boolean(state.sam) && !stage.generated;
  element("swipe").hidden = !on;
  stage.compare = on ? element("divider").value / 100 : null;
  stage.drawMasks();
  stage.drawMarks();
}

// Everything

async function generate() {
  element("error").hidden = true;
  const photo = photos;
  try {
    const run = await backend.startGeneration({
      points_per_side: Number(element("points").value),
      least_score: Number(element("least-score").value),
      least_stability: Number(element("least-stability").value),
    });
    if (photo === photos) {
      watchGeneration(run);
    }
  } catch (error) {
    if (photo === photos) {
      showError(error);
    }
  }
}

// What was found takes the page over only if `shown` and nobody has set about anything else meanwhile.
async function watchGeneration(run, shown = true) {
  const mine = ++polled;
  const before = acted;
  showEverything(false);
  element("show-everything-row").hidden = true;
  generated = null;
  showDownloads();
  try {
    while (run.status === "waiting" || run.status === "running") {
      showProgress(run);
      await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
      run = await backend.generation();
      if (mine !== polled) {
        return;
      }
    }
    if (run.status === "done") {
      const found = await backend.generated();
      if (mine !== polled) {
        return;
      }
      generated = found;
    }
    showProgress(run);
    const anything = run.status === "done" && run.found > 0;
    if (anything && shown && acted === before && !stage.inUse) {
      showEverything(true);
    } else {
      offerEverything();
      if (anything) {
        say(`${run.found} masks found: to see them, tick “Show everything that was found”.`);
      }
    }
  } catch (error) {
    if (mine === polled) {
      showProgress(null);
      showError(error);
    }
  }
}

// numbers: of found masks, from 1; without them all.
async function keepFound(numbers) {
  const before = state.objects.length;
  await act("keep_found", numbers ? { numbers } : {}, false);
  if (state) {
    const count = state.objects.length - before;
    say(count ? `${count} more kept, ${state.objects.length} in all.` : "Nothing more was kept.");
  }
}

function showProgress(run) {
  const going = run?.status === "waiting" || run?.status === "running";
  element("progress-row").hidden = !going;
  element("generate").hidden = going;
  if (going) {
    element("progress").max = run.points;
    element("progress").value = run.points_done;
  }
  element("everything-hint").textContent = {
    waiting: "Waiting for another search to end …",
    running: `Searched ${run?.points_done} of ${run?.points} points …`,
    done: run?.found ? `${run.found} masks found.` : "No mask passed: lower the score or the stability.",
    cancelled: "Stopped.",
    failed: "The search failed; the server's terminal says why.",
  }[run?.status] ?? "Search the whole photo with a grid of points.";
}

function showEverything(on) {
  stage.generated = on ? generated : null;
  stage.highlighted = 0;
  element("show-everything").checked = on;
  offerEverything();
  element("keep-all").hidden = !on;
  if (state) {
    showSwipe();
    showDownloads();
  }
  say(on ? "Point at a mask to see its score, click to keep it." : "");
}

function offerEverything() {
  element("show-everything-row").hidden = !generated || generated.scores.length === 0;
}

// Downloads

function showDownloads() {
  const everything = Boolean(stage.generated);
  const count = everything ? generated.scores.length : state.objects.length + (state.candidates.length ? 1 : 0);
  element("download-hint").textContent =
    count === 0 ? "Nothing to download yet." : `${count} ${count === 1 ? "object" : "objects"} at the size of the photo` +
      (everything ? `: all that was found, without the ${state.objects.length} kept.` : ".");
  for (const button of element("downloads").children) {
    button.disabled = count === 0;
  }
}

async function download(file) {
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

// Wires

stage.addEventListener("point", (event) => act("point", event.detail));
stage.addEventListener("box", (event) => act("box", event.detail));
stage.addEventListener("keep", () => state.candidates.length && act("keep"));
stage.addEventListener("found", (event) => keepFound([event.detail]));
stage.addEventListener("hint", (event) => say(event.detail));
stage.addEventListener("highlight", (event) => {
  const place = event.detail - 1;
  say(place < 0 ? "Point at a mask to see its score, click to keep it." :
    `Mask ${place + 1}: score ${generated.scores[place].toFixed(2)}, ${percent(generated.shares[place])} of the photo`);
});
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
element("generate").addEventListener("click", generate);
element("keep-all").addEventListener("click", () => keepFound());
element("cancel").addEventListener("click", () => backend.cancelGeneration().catch(showError));
element("show-everything").addEventListener("change", (event) => showEverything(event.target.checked));
for (const button of element("downloads").children) {
  button.addEventListener("click", () => download(button.dataset.file));
}
for (const input of document.querySelectorAll("input.file")) {
  input.addEventListener("change", () => {
    openFile(input.files[0]);
    input.value = "";
  });
}
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
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    element("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") {
      openFile(event.dataTransfer.files[0]);
    }
  });
}
document.addEventListener("paste", (event) => openFile([...event.clipboardData.files][0]));

window.addEventListener("beforeunload", (event) => {
  if (countKept()) {
    event.preventDefault();
  }
});

begin();
