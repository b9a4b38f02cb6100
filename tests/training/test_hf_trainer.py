"""Inside transformers.Trainer: labels from the processor, a collator for ragged objects, evaluation, checkpoints."""

import json

import numpy as np
import pytest
import torch
from test_trainer import fresh_model, processor
from transformers import Trainer, TrainingArguments

import sam_hq
from sam_hq.evaluation.ground_truth_prompts import mask_box
from sam_hq.training.parts import select_parameters
from training_data import large_shapes


class PhotosWithBoxes(torch.utils.data.Dataset):
    """Photos with a large object each, every second one with a small one in the corner besides."""

    def __init__(self, count: int) -> None:
        self.images = []
        for number, (image, masks) in enumerate(large_shapes(count)):
            corner = np.zeros((1, 128, 128), bool)
            corner[0, 4:24, 4:24] = number % 2
            image[corner[0]] = 255
            self.images.append((image, np.concatenate([masks, corner]) if number % 2 else masks))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        image, masks = self.images[index]
        return {"image": image, "masks": list(masks), "boxes": [mask_box(mask).tolist() for mask in masks]}


def collate(examples: list[dict]) -> dict[str, torch.Tensor]:
    inputs = processor()(
        [example["image"] for example in examples],
        segmentation_maps=[example["masks"] for example in examples],
        input_boxes=[example["boxes"] for example in examples],
        return_tensors="pt",
    )
    return {**inputs, "multimask_output": False}


def arguments(folder, **changes) -> TrainingArguments:
    options = {
        "per_device_train_batch_size": 2,
        "per_device_eval_batch_size": 2,
        "max_steps": 30,
        "learning_rate": 3e-3,
        "warmup_steps": 5,
        "logging_steps": 5,
        "save_steps": 15,
        "remove_unused_columns": False,
        "label_names": ["labels"],
        "report_to": [],
        "use_cpu": True,
        "disable_tqdm": True,
        **changes,
    }
    return TrainingArguments(folder, **options)


def test_the_loss_falls_and_the_checkpoint_reloads(tmp_path):
    data = PhotosWithBoxes(4)
    model = fresh_model()
    trainer = Trainer(model, arguments(tmp_path), collate, train_dataset=data, eval_dataset=data)
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
    assert after < 0.6 * before
    logged = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    assert logged[-1] < 0.7 * logged[0]
    saved = sam_hq.SamHQModel.from_pretrained(tmp_path / "checkpoint-30")
    state = model.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in saved.state_dict().items())
    assert json.loads((tmp_path / "checkpoint-30" / "config.json").read_text())["model_type"] == "sam_hq"


@pytest.mark.parametrize("backbone", ["tiny_vit", "efficientnet"])
def test_what_is_frozen_stays_batch_norms_statistics_included(tmp_path, backbone):
    data = PhotosWithBoxes(2)
    model = fresh_model(backbone)
    with pytest.raises(ValueError, match="one of hq, decoder, sam, all, got 'lora'"):
        select_parameters(model, "lora")
    trained = select_parameters(model, "hq")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    Trainer(model, arguments(tmp_path, max_steps=2), collate, train_dataset=data).train()
    moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert moved
    assert moved <= set(trained)


def test_evaluation_hands_ragged_predictions_to_metrics(tmp_path):
    data = PhotosWithBoxes(4)
    shapes_seen = []

    def metrics(prediction) -> dict[str, float]:
        shapes_seen.append((prediction.predictions.shape, prediction.label_ids.shape))
        return {"masks": float((prediction.label_ids == 1).any((2, 3)).sum())}

    trainer = Trainer(
        fresh_model(),
        arguments(tmp_path),
        collate,
        eval_dataset=data,
        compute_metrics=metrics,
        preprocess_logits_for_metrics=lambda outputs, labels: outputs[1][:, :, 0] > 0,
    )
    result = trainer.evaluate()
    assert shapes_seen == [((4, 2, 32, 32), (4, 2, 32, 32))]
    assert result["eval_masks"] == sum(len(masks) for _, masks in data.images)
    assert result["eval_loss"] > 0


def test_training_goes_on_from_a_checkpoint(tmp_path):
    data = PhotosWithBoxes(4)
    Trainer(fresh_model(), arguments(tmp_path, max_steps=2, save_steps=2), collate, train_dataset=data).train()
    trainer = Trainer(fresh_model(), arguments(tmp_path, max_steps=3, save_steps=2), collate, train_dataset=data)
    result = trainer.train(resume_from_checkpoint=True)
    assert result.global_step == 3
    assert result.training_loss == pytest.approx(result.training_loss)
