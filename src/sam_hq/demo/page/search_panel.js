// "Everything": a search of the whole photo, its progress, and what it found.

import { element, percent, say } from "./page_elements.js";

const POLL_MILLISECONDS = 300;

export class SearchPanel {
  found = null; // what the last search found
  #page;
  #changed;
  #watched = 0; // which search is being watched

  // page: see app.js; changed: called when what was found is shown or no longer.
  constructor(page, changed) {
    this.#page = page;
    this.#changed = changed;
    page.stage.addEventListener("found", (event) => this.#keep([event.detail]));
    page.stage.addEventListener("highlight", (event) => this.#tell(event.detail - 1));
    element("generate").addEventListener("click", () => this.#start());
    element("keep-all").addEventListener("click", () => this.#keep());
    element("cancel").addEventListener("click", () => page.backend.cancelGeneration().catch(page.showError));
    element("show-everything").addEventListener("change", (event) => this.show(event.target.checked));
  }

  // about: what the backend says of itself.
  offer(about) {
    element("everything").hidden = !this.#page.backend.searches;
    if (this.#page.backend.searches) {
      element("least-score").value = about.least_score;
      element("least-stability").value = about.least_stability;
    }
  }

  // A search would hold the model that the next photo needs.
  async end() {
    if (!element("cancel").hidden && this.#page.backend.session) {
      await this.#page.backend.cancelGeneration().catch(() => {});
    }
  }

  // Leave no traces of what was going on with a photo.
  forget() {
    this.#watched++;
    this.found = this.#page.stage.generated = null;
    this.#page.stage.highlighted = 0;
    element("show-everything").checked = false;
    element("show-everything-row").hidden = true;
    element("keep-all").hidden = true;
    this.#showProgress(null);
  }

  // What was found takes the page over only if `shown` and nobody has set about anything else meanwhile.
  async watch(run, shown = true) {
    const mine = ++this.#watched;
    const { backend, stage, showError } = this.#page;
    const before = this.#page.acted;
    this.found = null;
    this.show(false);
    try {
      while (run.status === "waiting" || run.status === "running") {
        this.#showProgress(run);
        await new Promise((resolve) => setTimeout(resolve, POLL_MILLISECONDS));
        run = await backend.generation();
        if (mine !== this.#watched) {
          return;
        }
      }
      if (run.status === "done") {
        const found = await backend.generated();
        if (mine !== this.#watched) {
          return;
        }
        this.found = found;
      }
      this.#showProgress(run);
      const anything = run.status === "done" && run.found > 0;
      if (anything && shown && this.#page.acted === before && !stage.inUse) {
        this.show(true);
      } else {
        this.#offerFound();
        if (anything) {
          say(`${run.found} masks found: to see them, tick “Show everything that was found”.`);
        }
      }
    } catch (error) {
      if (mine === this.#watched) {
        this.#showProgress(null);
        showError(error);
      }
    }
  }

  // Whether what was found is shown, instead of the object in work.
  show(on) {
    this.#page.stage.generated = on ? this.found : null;
    this.#page.stage.highlighted = 0;
    element("show-everything").checked = on;
    this.#offerFound();
    element("keep-all").hidden = !on;
    this.#changed();
    say(on ? "Point at a mask to see its score, click to keep it." : "");
  }

  async #start() {
    element("error").hidden = true;
    const photo = this.#page.photos;
    try {
      const run = await this.#page.backend.startGeneration({
        points_per_side: Number(element("points").value),
        least_score: Number(element("least-score").value),
        least_stability: Number(element("least-stability").value),
      });
      if (photo === this.#page.photos) {
        this.watch(run);
      }
    } catch (error) {
      if (photo === this.#page.photos) {
        this.#page.showError(error);
      }
    }
  }

  // numbers: of found masks, from 1; without them all.
  async #keep(numbers) {
    const before = this.#page.state.objects.length;
    await this.#page.act("keep_found", numbers ? { numbers } : {}, false);
    const { state } = this.#page;
    if (state) {
      const count = state.objects.length - before;
      say(count ? `${count} more kept, ${state.objects.length} in all.` : "Nothing more was kept.");
    }
  }

  #offerFound() {
    element("show-everything-row").hidden = !this.found || this.found.scores.length === 0;
  }

  #showProgress(run) {
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

  // place: of the mask that is pointed at, from 0, or -1.
  #tell(place) {
    say(place < 0 ? "Point at a mask to see its score, click to keep it." :
      `Mask ${place + 1}: score ${this.found.scores[place].toFixed(2)}, ${percent(this.found.shares[place])} of the photo`);
  }
}
