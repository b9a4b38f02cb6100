// What one person does with one image: prompts, candidates, kept objects, undo. It follows the server's
// PhotoSession: the same actions, the same refusals, the same state.

import { cssColor } from "./object_colors.js";
import { maskFrame, maskRuns } from "./photo_masks.js";

const CANDIDATE_CHOICES = ["auto", "three", "one"];
const MOST_POINTS = 100; // of one object
const MOST_OBJECTS = 255; // as many as masks of 8 bits can number
const MOST_UNDO = 50;
const NO_PROMPTS = { points: [], box: null, previous: null };
const LONGEST_OBJECT_NAME = 60;
const ACTIONS = ["point", "box", "choose", "keep", "remove", "rename", "refine", "clear", "undo", "redo", "options"];

export class PhotoSession {
  #options = { candidates: "auto", hq_token_only: false, refine: true };
  #step = { prompts: NO_PROMPTS, chosen: 0, kept: [], takenUp: null };
  #answer = null;
  #past = [];
  #future = [];
  #summaries = new WeakMap(); // of logits that were shown before

  // photo: {name, width, height, shown_width, shown_height}; resized: [width, height] in the resized frame;
  // ask(prompts, three, hqOnly) resolves to {masks, samMasks, scores}, logits (s, s) each, best first.
  constructor(photo, resized, metadata, ask) {
    this.photo = photo;
    this.resized = resized;
    this.metadata = metadata;
    this.ask = ask;
    this.shown = maskFrame(photo.shown_width, photo.shown_height, resized, metadata);
  }

  // Does something and resolves to the new state; what is refused changes nothing.
  async act(action, values = {}) {
    if (!ACTIONS.includes(action)) {
      throw new Error(`there is no action ${action}`);
    }
    await this[action](values);
    return this.state();
  }

  async point(place) {
    await this.#prompt(this.#promptsWith(place));
  }

  // What a point would show; nothing changes.
  async preview(place) {
    const { masks, scores } = await this.#asked(this.#promptsWith(place));
    return { score: scores[0], ...this.#summary(masks[0]) };
  }

  async box({ x0, y0, x1, y1 }) {
    const [left, right] = [this.#coordinate("x0", x0), this.#coordinate("x1", x1)].sort((a, b) => a - b);
    const [top, bottom] = [this.#coordinate("y0", y0), this.#coordinate("y1", y1)].sort((a, b) => a - b);
    if (right - left < 1 || bottom - top < 1) {
      throw new Error("a box must be at least one pixel wide and high");
    }
    // What was found without the box is no mask of what the box shows.
    await this.#prompt({ ...this.#step.prompts, box: [left, top, right, bottom], previous: null });
  }

  choose({ candidate }) {
    if (!this.#candidates()[candidate]) {
      throw new Error(`there is no candidate ${candidate}`);
    }
    this.#step = { ...this.#step, chosen: candidate };
  }

  keep() {
    if (!this.#shownObject()) {
      throw new Error("there is no mask to keep: click on an object first");
    }
    this.#goTo({ prompts: NO_PROMPTS, chosen: 0, kept: this.#allKept(), takenUp: null }, null);
  }

  remove({ number }) {
    this.#goTo({ ...this.#step, kept: without(this.#step.kept, number) }, this.#answer);
  }

  rename({ number, name }) {
    const plain = String(name).normalize("NFC").replace(/\p{C}/gu, " ").trim().replace(/\s+/g, " ");
    if ([...plain].length > LONGEST_OBJECT_NAME) {
      throw new Error(`a name can have at most ${LONGEST_OBJECT_NAME} letters`);
    }
    const { kept } = this.#step;
    const renamed = { ...numbered(kept, number), name: plain };
    if (renamed.name !== numbered(kept, number).name) {
      this.#goTo({ ...this.#step, kept: withKept(without(kept, number), renamed) }, this.#answer);
    }
  }

  // Takes a kept object up again; a mask that is in work is kept before.
  refine({ number }) {
    const takenUp = numbered(this.#step.kept, number);
    this.#goTo({ prompts: NO_PROMPTS, chosen: 0, kept: without(this.#allKept(), number), takenUp }, null);
  }

  clear() {
    const { prompts, kept, takenUp } = this.#step;
    if (!isEmpty(prompts) || takenUp) {
      const back = takenUp ? withKept(kept, takenUp) : kept;
      this.#goTo({ prompts: NO_PROMPTS, chosen: 0, kept: back, takenUp: null }, null);
    }
  }

  undo() {
    return this.#travel(this.#past, this.#future);
  }

  redo() {
    return this.#travel(this.#future, this.#past);
  }

  async options(changes) {
    const options = { ...this.#options, ...changes };
    if (!CANDIDATE_CHOICES.includes(options.candidates)) {
      throw new Error(`candidates must be one of ${CANDIDATE_CHOICES.join(", ")}`);
    }
    this.#answer = await this.#asked(this.#step.prompts, options);
    this.#options = options;
    this.#keepChoiceInRange();
  }

  // The kept objects and the one in work, as {number, name, logits, score}.
  objects() {
    const shown = this.#shownObject();
    return [...this.#step.kept, ...(shown ? [shown] : [])];
  }

  // All that a page shows.
  state() {
    const { prompts, chosen, kept, takenUp } = this.#step;
    const number = this.#number();
    const answer = this.#answer;
    return {
      photo: this.photo,
      points: prompts.points,
      box: prompts.box,
      refined: prompts.previous !== null,
      number,
      color: cssColor(number),
      chosen,
      taken_up: takenUp !== null,
      candidates: this.#candidates().map(({ logits, score }) => ({ score, ...this.#summary(logits) })),
      sam: answer && this.#summary(answer.samMasks[Math.min(chosen, answer.samMasks.length - 1)]),
      objects: kept.map((each) => ({
        number: each.number, color: cssColor(each.number), name: each.name, score: each.score,
        ...this.#summary(each.logits),
      })),
      can_undo: this.#past.length > 0,
      can_redo: this.#future.length > 0,
      options: this.#options,
      generation: null,
    };
  }

  #promptsWith({ x, y, label = 1 }) {
    const prompts = this.#step.prompts;
    const point = [this.#coordinate("x", x), this.#coordinate("y", y), label];
    if (prompts.points.length >= MOST_POINTS) {
      throw new Error(`an object can have at most ${MOST_POINTS} points`);
    }
    const shown = this.#options.refine && this.#answer ? this.#answer.masks[this.#step.chosen] : null;
    const previous = shown ?? this.#step.takenUp?.logits ?? null;
    return { ...prompts, points: [...prompts.points, point], previous };
  }

  async #prompt(prompts) {
    const answer = await this.#asked(prompts);
    this.#goTo({ ...this.#step, prompts, chosen: 0 }, answer);
  }

  #goTo(step, answer) {
    this.#past = [...this.#past, this.#step].slice(-MOST_UNDO);
    this.#future = [];
    this.#step = step;
    this.#answer = answer;
  }

  async #travel(from, to) {
    if (from.length) {
      const step = from.at(-1);
      const answer = await this.#asked(step.prompts);
      from.pop();
      to.push(this.#step);
      this.#step = step;
      this.#answer = answer;
      this.#keepChoiceInRange();
    }
  }

  async #asked(prompts, options = this.#options) {
    if (isEmpty(prompts)) {
      return null;
    }
    // A single point leaves open which of several nested objects is meant.
    const ambiguous = prompts.points.length <= 1 && !prompts.box && !prompts.previous;
    const three = options.candidates === "auto" ? ambiguous : options.candidates === "three";
    return this.ask(prompts, three, options.hq_token_only);
  }

  #keepChoiceInRange() {
    // Other options may give fewer candidates than there were.
    if (this.#step.chosen >= (this.#answer?.masks.length ?? 1)) {
      this.#step = { ...this.#step, chosen: 0 };
    }
  }

  // Masks that may be chosen.
  #candidates() {
    const { takenUp } = this.#step;
    return this.#answer ? this.#answer.masks.map((logits, i) => ({ logits, score: this.#answer.scores[i] })) :
      takenUp ? [takenUp] : [];
  }

  #shownObject() {
    const candidate = this.#candidates()[this.#step.chosen];
    return candidate &&
      { number: this.#number(), name: this.#step.takenUp?.name ?? "", logits: candidate.logits, score: candidate.score };
  }

  // The kept objects together with the one in work.
  #allKept() {
    const shown = this.#shownObject();
    const kept = shown ? withKept(this.#step.kept, shown) : this.#step.kept;
    if (kept.length > MOST_OBJECTS) {
      throw new Error(`at most ${MOST_OBJECTS} objects can be kept`);
    }
    return kept;
  }

  // Of the object in work: the lowest that is free, or the one it had.
  #number() {
    if (this.#step.takenUp) {
      return this.#step.takenUp.number;
    }
    const taken = this.#step.kept.map((each) => each.number);
    let number = 1;
    while (taken.includes(number)) {
      number++;
    }
    return number;
  }

  #summary(logits) {
    if (!this.#summaries.has(logits)) {
      const { counts, area } = maskRuns(logits, this.shown);
      this.#summaries.set(logits, { counts, share: area / (this.shown.width * this.shown.height) });
    }
    return this.#summaries.get(logits);
  }

  #coordinate(name, value) {
    const limit = name.startsWith("x") ? this.photo.width : this.photo.height;
    if (!(value >= 0 && value <= limit)) {
      throw new Error(`${name} must be from 0 to ${limit}, within the photo, got ${value}`);
    }
    return value;
  }
}

function isEmpty(prompts) {
  return prompts.points.length === 0 && !prompts.box;
}

function numbered(kept, number) {
  const found = kept.find((each) => each.number === number);
  if (!found) {
    throw new Error(`there is no object ${number}`);
  }
  return found;
}

function without(kept, number) {
  const dropped = numbered(kept, number);
  return kept.filter((each) => each !== dropped);
}

function withKept(kept, added) {
  return [...kept, added].sort((one, other) => one.number - other.number);
}
