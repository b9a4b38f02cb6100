"""Images in and masks out: decoding, resizing, frames, and the stock pipeline's contract."""
