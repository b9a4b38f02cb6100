"""Tune the HQ parts of a model on a folder of images with masks, as `sam-hq train` does, in Python.

    python docs/examples/fine_tune.py my_photos my_validation tuned --steps 500

An image `X.jpg` has its mask in `X.png`, or the masks of several objects in `X_0.png`, `X_1.png`, … SAM stays
frozen, as in the paper, so a few dozen images are a start. An interrupted run resumes with the same command.
"""

import argparse

import sam_hq
from sam_hq.evaluation import PromptedModel, evaluate
from sam_hq.evaluation.segmentation_data import open_dataset
from sam_hq.training.settings import TrainingSettings
from sam_hq.training.trainer import Trainer


def mean_quality(model: sam_hq.SamHQModel, processor: sam_hq.SamHQProcessor, photos) -> str:
    """Returns a table of mIoU and boundary mIoU with the exact box of each object."""
    return evaluate(PromptedModel(model.eval(), processor), photos, ["box"]).table()


def main() -> None:
    """Measures, tunes, and measures again."""
    parser = argparse.ArgumentParser(description="Tune the HQ parts on images with masks.")
    parser.add_argument("photos", help="folder to train on")
    parser.add_argument("validation", help="folder to measure on; none of its images should be in the other")
    parser.add_argument("output", help="folder for the run; the best model will be in OUTPUT/best")
    parser.add_argument("--model", default=sam_hq.EMBEDDED_CHECKPOINT, help="where to start from")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch-size", type=int, default=4)
    args = parser.parse_args()

    model = sam_hq.SamHQModel.from_pretrained(args.model)
    processor = sam_hq.SamHQProcessor.from_pretrained(args.model)
    validation = open_dataset(args.validation)
    print("before", mean_quality(model, processor, validation), sep="\n")

    settings = TrainingSettings(
        trainable="hq",
        steps=args.steps,
        batch_size=args.batch_size,
        warmup=min(50, args.steps // 10),
        validate_every=max(1, args.steps // 5),
    )
    trainer = Trainer(model, processor, open_dataset(args.photos), args.output, settings, validation, report=print)
    trainer.resume()
    trainer.train()

    tuned = sam_hq.SamHQModel.from_pretrained(f"{args.output}/best")
    print("after", mean_quality(tuned, processor, validation), sep="\n")


if __name__ == "__main__":
    main()
