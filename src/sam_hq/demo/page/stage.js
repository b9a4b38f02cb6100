// The photo on the page: draws picture, masks and prompts, and tells of the points and boxes that pointer and keys make.

import { drawBox, drawCross, drawDivider, drawPoint } from "./marks.js";
import { decodedMask, paintLabels, paintMask } from "./mask_pixels.js";
import { pressKey } from "./stage_keys.js";
import { moveWithFingers, moveWithMouse } from "./stage_moves.js";
import { promptWithPointer } from "./stage_pointer.js";

const SAM_COLOR = "#ff851b";
const MOST_ZOOM = 8;

export class Stage extends EventTarget {
  constructor() {
    super();
    this.viewport = document.getElementById("viewport");
    this.stage = document.getElementById("stage");
    this.photo = document.getElementById("photo");
    this.masks = document.getElementById("masks");
    this.preview = document.getElementById("preview");
    this.marks = document.getElementById("marks");
    this.tool = "object";
    this.state = null;
    this.pending = null; // a prompt that is not answered yet
    this.drag = null; // {x0, y0, x1, y1} while a box is drawn
    this.cursor = null; // where the keyboard is
    this.corner = null; // first corner of a box made with the keyboard
    this.compare = null; // share of the width where SAM ends, or null
    this.generated = null; // what was found, while it is shown
    this.highlighted = 0;
    this.pointedAt = null; // number of the kept object that is pointed at in the list
    this.previewed = null; // place of the candidate that is pointed at
    this.start = null; // where the pointer went down, until it is known what is meant
    this.zoomed = 1; // how many times larger than what fits
    this.full = 1; // how many times larger the photo's own pixels are
    this.#listen();
    promptWithPointer(this);
    moveWithMouse(this);
    moveWithFingers(this);
    new ResizeObserver(() => this.layout()).observe(this.viewport.parentElement);
    window.addEventListener("resize", () => this.layout());
  }

  // bitmap: the photo as it is shown; width: of the photo itself.
  setPicture(bitmap, width) {
    this.photoWidth = width;
    for (const canvas of [this.photo, this.masks, this.preview]) {
      canvas.width = bitmap.width;
      canvas.height = bitmap.height;
    }
    this.photo.getContext("2d").drawImage(bitmap, 0, 0);
    this.cursor = this.corner = this.drag = this.start = this.pending = this.generated = null;
    this.zoomed = 1;
    this.layout();
  }

  setState(state) {
    this.state = state;
    this.pending = this.previewed = null;
    this.drawMasks();
    this.drawMarks();
  }

  setTool(tool) {
    this.tool = tool;
    this.marks.classList.toggle("box", tool === "box");
  }

  // Whether a prompt is being made.
  get inUse() {
    const byKeys = document.activeElement === this.marks && this.cursor;
    return Boolean(this.start || this.drag || this.corner || byKeys);
  }

  // About the middle of what is seen.
  zoomTo(zoomed) {
    const frame = this.viewport.getBoundingClientRect();
    this.zoomAbout(zoomed, frame.left + frame.width / 2, frame.top + frame.height / 2);
  }

  // Show a candidate, or an object more strongly, while something points at it; null: no longer.
  pointAt(what, number) {
    this[what] = number;
    this.drawMasks();
  }

  // What lies at a place of the window stays there, as far as the photo reaches.
  zoomAbout(zoomed, x, y) {
    const before = this.stage.getBoundingClientRect();
    const [across, down] = [(x - before.left) / before.width, (y - before.top) / before.height];
    this.zoomed = Math.min(Math.max(MOST_ZOOM, this.full), Math.max(Math.min(1, this.full), zoomed));
    this.layout();
    const after = this.stage.getBoundingClientRect();
    this.viewport.scrollLeft += after.left + across * after.width - x;
    this.viewport.scrollTop += after.top + down * after.height - y;
  }

  layout() {
    if (!this.photo.width || this.viewport.clientWidth === 0) {
      return;
    }
    const room = Math.max(240, Math.min(window.innerHeight - 210, 1000));
    const fit = Math.min(this.viewport.clientWidth / this.photo.width, room / this.photo.height);
    const scale = fit * this.zoomed;
    this.full = this.photoWidth / (this.photo.width * fit);
    this.tell("zoom", this.zoomed / this.full);
    // As high as what fits, also when zoomed: else the photo would move while the viewport grows.
    this.viewport.style.height = `${Math.floor(this.photo.height * fit) + 2}px`;
    this.stage.style.width = `${Math.floor(this.photo.width * scale)}px`;
    this.stage.style.height = `${Math.floor(this.photo.height * scale)}px`;
    this.scale = scale;
    const ratio = window.devicePixelRatio || 1;
    this.marks.width = Math.min(8192, Math.floor(this.photo.width * scale * ratio));
    this.marks.height = Math.min(8192, Math.floor(this.photo.height * scale * ratio));
    cancelAnimationFrame(this.frame); // a turn of the wheel comes as many events
    this.frame = requestAnimationFrame(() => {
      this.drawMasks();
      this.drawMarks();
    });
  }

  drawMasks() {
    const { width, height } = this.masks;
    if (!this.state || !width) {
      return;
    }
    const context = this.masks.getContext("2d");
    const image = context.createImageData(width, height);
    if (this.generated) {
      paintLabels(image.data, this.generated.labels, width, this.generated.colors, this.highlighted);
    } else {
      const paint = (counts, color, options) =>
        paintMask(image.data, decodedMask(counts, width, height), width, height, color, this.#edge, options);
      for (const object of this.state.objects) {
        paint(object.counts, object.color, object.number === this.pointedAt ? { opacity: 0.75 } : {});
      }
      const shown = this.state.candidates[this.previewed ?? this.state.chosen];
      if (shown) {
        const split = this.compare === null || !this.state.sam ? 0 : Math.round(this.compare * width);
        paint(shown.counts, this.state.color, { left: split });
        if (split) {
          paint(this.state.sam.counts, SAM_COLOR, { right: split });
        }
      }
    }
    context.putImageData(image, 0, 0);
  }

  // found: {counts} of a mask that a click would give, drawn above the others; null: none.
  showPreview(found) {
    const { width, height } = this.preview;
    const context = this.preview.getContext("2d");
    if (this.hasPreview) {
      context.clearRect(0, 0, width, height);
    }
    this.hasPreview = Boolean(found && this.state);
    if (this.hasPreview) {
      const image = context.createImageData(width, height);
      paintMask(image.data, decodedMask(found.counts, width, height), width, height, this.state.color, this.#edge,
        { opacity: 0.25, dashed: true });
      context.putImageData(image, 0, 0);
    }
  }

  drawMarks() {
    if (!this.state) {
      return;
    }
    const context = this.marks.getContext("2d");
    const ratio = this.marks.width / (this.photo.width * this.scale || 1);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, this.marks.width, this.marks.height);
    const { width, height } = this.state.photo;
    const onPage = (x, y) => [(x / width) * this.photo.width * this.scale, (y / height) * this.photo.height * this.scale];
    if (!this.generated) {
      const box = this.drag ?? this.pending?.box ?? this.state.box;
      if (box) {
        drawBox(context, ...onPage(box[0], box[1]), ...onPage(box[2], box[3]));
      }
      for (const [x, y, label] of [...this.state.points, ...(this.pending?.points ?? [])]) {
        drawPoint(context, ...onPage(x, y), label);
      }
      if (this.compare !== null && this.state.candidates.length) {
        drawDivider(context, this.compare * this.photo.width * this.scale, this.photo.height * this.scale);
      }
    }
    if (this.cursor && document.activeElement === this.marks) {
      drawCross(context, ...onPage(...this.cursor));
    }
  }

  // Width of a contour, in pixels of the shown picture.
  get #edge() {
    return Math.max(1, Math.round(1.6 / (this.scale || 1)));
  }

  // What was begun with the pointer is not meant.
  giveUpPrompt() {
    this.start = this.drag = null;
    this.drawMarks();
  }

  tell(kind, detail) {
    this.dispatchEvent(new CustomEvent(kind, { detail }));
  }

  placePoint(position, label) {
    this.pending = { points: [[...position, label]] };
    this.drawMarks();
    this.tell("point", { x: position[0], y: position[1], label });
  }

  placeBox(box) {
    this.drag = this.corner = null;
    const { width, height } = this.state.photo;
    const one = 1 / Math.min(this.scale, 1);
    if (Math.abs(box[2] - box[0]) < one || Math.abs(box[3] - box[1]) < one || !width || !height) {
      this.drawMarks();
      return;
    }
    this.pending = { box };
    this.drawMarks();
    this.tell("box", { x0: box[0], y0: box[1], x1: box[2], y1: box[3] });
  }

  #listen() {
    this.marks.addEventListener("keydown", (event) => this.#key(event));
    for (const kind of ["focus", "blur"]) {
      this.marks.addEventListener(kind, () => this.drawMarks());
    }
  }

  #key(event) {
    if (!this.state || this.generated || event.ctrlKey || event.metaKey || event.altKey) {
      return;
    }
    if (pressKey(this, event)) {
      event.preventDefault();
      this.drawMarks();
    }
  }
}
