"""Jobs with a stand-in for the generator: what is written, what a resumed job does, and what survives a kill."""

import json
import os
import random
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from killable_processes import killable
from sam_hq.jobs import image_job
from sam_hq.jobs.generation_job import GenerationJob, JobOutputs
from sam_hq_numpy.mask_candidates import MaskCandidates
from sam_hq_numpy.mask_generation_options import MaskGenerationOptions
from sam_hq_numpy.mask_rle import RunLengthMask, mask_boxes


class BrightPixels:
    """Stands in for SamHQMaskGenerator: the bright pixels and the dark ones of an image are its masks."""

    def __init__(self, log=None, pause=0.0, **options):
        self.options = MaskGenerationOptions(**options)
        self.log = log
        self.pause = pause

    def candidates_each(self, images, batch_size, options, keep_embeddings=None):
        for photo in images:
            pixels = photo.pixels()
            time.sleep(self.pause)
            if self.log is not None:
                with self.log.open("a") as file:
                    file.write(f"{pixels[0, 0, 0]}\n")
            bright = pixels.mean(-1) > 127
            masks = [RunLengthMask.from_mask(mask) for mask in (bright, ~bright)]
            height, width = bright.shape
            yield MaskCandidates(
                masks=masks,
                boxes=mask_boxes(masks),
                scores=np.array([0.9, 0.8], dtype=np.float32),
                stability=np.array([0.99 if mask.area else np.nan for mask in masks], dtype=np.float32),
                points=[[[1.5, 2.5]], [[3.5, 4.5]]],
                crop_boxes=np.array([[0, 0, width, height]] * 2),
                is_cut=np.zeros(2, dtype=bool),
            )


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    noise = np.random.default_rng(0)
    paths = []
    for index in range(12):
        pixels = noise.integers(0, 256, (20 + index, 30, 3), dtype=np.uint8)
        pixels[0, 0] = index  # tells the images apart in the log
        paths.append(folder / f"{index:02}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def relative(folder, photos):
    return [os.path.relpath(photo, folder) for photo in photos]


def check_coco(folder, photos):
    coco = COCO(str(folder / "annotations.json"))
    assert sorted(image["file_name"] for image in coco.imgs.values()) == sorted(relative(folder, photos))
    for image in coco.imgs.values():
        bright = np.asarray(Image.open(folder / image["file_name"])).mean(-1) > 127
        annotations = coco.imgToAnns[image["id"]]
        masks = [coco.annToMask(annotation).astype(bool) for annotation in annotations]
        np.testing.assert_array_equal(masks, [bright, ~bright])
        for annotation, mask in zip(annotations, masks, strict=True):
            rows, columns = np.nonzero(mask)
            assert annotation["bbox"] == [columns.min(), rows.min(), np.ptp(columns) + 1, np.ptp(rows) + 1]
            assert annotation["area"] == mask.sum()
    return coco


def test_a_finished_job_is_one_coco_file_and_the_pictures(photos, tmp_path, capsys):
    job = GenerationJob(BrightPixels(), photos, tmp_path / "job", JobOutputs(("label-map", "overlay")))
    job.run(progress=False)
    summary = job.finish()
    assert (summary.done, summary.missing, summary.failures, summary.again) == (12, 0, {}, {})
    coco = check_coco(tmp_path / "job", photos)
    assert [coco.imgs[index]["file_name"] for index in range(1, 13)] == relative(tmp_path / "job", photos)
    assert len(list((tmp_path / "job" / "overlays").glob("*.jpg"))) == 12
    (labels,) = (tmp_path / "job" / "masks").glob("03-*.png")
    labels = np.asarray(Image.open(labels))
    assert labels.dtype == np.uint16
    np.testing.assert_array_equal(labels == 1, np.asarray(Image.open(photos[3])).mean(-1) > 127)
    assert not list((tmp_path / "job").rglob("*.partial*"))


def test_a_job_begun_again_does_only_what_is_left(photos, tmp_path):
    log = tmp_path / "log"
    GenerationJob(BrightPixels(log), photos[:5], tmp_path / "job").run(progress=False)
    again = GenerationJob(BrightPixels(log, points_per_batch=7), photos, tmp_path / "job")
    again.run(progress=False)
    again.finish()
    assert Counter(log.read_text().split()) == Counter(map(str, range(12)))
    check_coco(tmp_path / "job", photos)


def test_other_settings_in_the_same_folder_are_refused(photos, tmp_path):
    GenerationJob(BrightPixels(), photos, tmp_path / "job")
    with pytest.raises(ValueError, match=r"other options: pred_iou_thresh was 0\.88 and is 0\.5 now; give the same"):
        GenerationJob(BrightPixels(pred_iou_thresh=0.5), photos, tmp_path / "job")
    with pytest.raises(ValueError, match="other options: formats was none and is cutout label-map now; give the same"):
        GenerationJob(BrightPixels(), photos, tmp_path / "job", JobOutputs(("label-map", "cutout")))
    grids = [np.random.default_rng(0).random((999, 2))]
    with pytest.raises(ValueError, match=r"point_grids was none and is .* now") as refused:
        GenerationJob(BrightPixels(point_grids=grids), photos, tmp_path / "job")
    assert len(str(refused.value)) < 600


def test_settings_that_change_no_file_are_not_held_against_a_job(photos, tmp_path):
    GenerationJob(BrightPixels(), photos, tmp_path / "job", JobOutputs(("label-map",), tolerance=1))
    GenerationJob(BrightPixels(), photos, tmp_path / "job", JobOutputs(("label-map", "label-map"), tolerance=2))
    GenerationJob(BrightPixels(), photos, tmp_path / "yolo", JobOutputs(("yolo",), tolerance=1))
    with pytest.raises(ValueError, match="other options: tolerance was 1 and is 2 now; give"):
        GenerationJob(BrightPixels(), photos, tmp_path / "yolo", JobOutputs(("yolo",), tolerance=2))


def test_images_refused_for_their_size_are_tried_again_with_a_higher_limit(photos, tmp_path):
    small = GenerationJob(BrightPixels(max_pixels=30 * 25), photos, tmp_path / "job")
    small.run(progress=False)
    assert set(small.finish().failures) == set(photos[6:])
    larger = GenerationJob(BrightPixels(max_pixels=30 * 31), photos, tmp_path / "job")
    larger.run(progress=False)
    assert larger.finish().failures == {}
    larger.finish()
    check_coco(tmp_path / "job", photos)


def test_the_stability_of_an_empty_mask_leaves_the_coco_file_valid(tmp_path):
    Image.new("RGB", (6, 5), "white").save(tmp_path / "white.png")
    job = GenerationJob(BrightPixels(), [tmp_path / "white.png"], tmp_path / "job", JobOutputs(("coco-polygons",)))
    job.run(progress=False)
    job.finish()
    written = json.loads((tmp_path / "job" / "annotations.json").read_text(), parse_constant=pytest.fail)
    assert [each["stability_score"] is None for each in written["annotations"]] == [False, True]
    COCO(str(tmp_path / "job" / "annotations.json")).annToMask(written["annotations"][1])


def test_images_that_cannot_be_read_are_reported_and_tried_again(photos, tmp_path):
    whole = photos[4].read_bytes()
    photos[4].write_bytes(whole[: len(whole) // 2])
    photos[7].write_bytes(b"")
    job = GenerationJob(BrightPixels(), photos, tmp_path / "job")
    job.run(progress=False)
    assert set(job.finish().failures) == {photos[4], photos[7]}
    assert all(job.finish().failures.values())
    job.finish()
    check_coco(tmp_path / "job", [photo for index, photo in enumerate(photos) if index not in (4, 7)])
    photos[4].write_bytes(whole)
    job.run(progress=False)
    assert set(job.finish().failures) == {photos[7]}


@pytest.mark.parametrize("process_count", [1, 2, 5, 20])
def test_shares_are_disjoint_and_make_up_the_job(photos, tmp_path, process_count):
    log = tmp_path / "log"
    for index in range(process_count):
        GenerationJob(BrightPixels(log), photos, tmp_path / "job").run(index, process_count, progress=False)
    assert Counter(log.read_text().split()) == Counter(map(str, range(12)))
    GenerationJob(BrightPixels(), photos, tmp_path / "job").finish()
    check_coco(tmp_path / "job", photos)


def test_images_of_one_name_in_two_folders_stay_apart(photos, tmp_path):
    other = tmp_path / "other" / photos[0].name
    other.parent.mkdir()
    other.write_bytes(photos[1].read_bytes())
    job = GenerationJob(BrightPixels(), [photos[0], other], tmp_path / "job")
    job.run(progress=False)
    job.finish()
    check_coco(tmp_path / "job", [photos[0], other])


def work(photos, folder, log):
    # The COCO file is written after every image, so that the kill hits the writing too.
    image_job.COCO_SECONDS, image_job.COCO_TIME_SHARE = 0, float("inf")
    job = GenerationJob(BrightPixels(log, pause=0.01), photos, folder, JobOutputs(("label-map",)))
    job.run(progress=False)
    job.finish()


def test_killed_at_any_moment_nothing_is_lost_and_nothing_is_there_twice(photos, tmp_path):
    folder, log = tmp_path / "job", tmp_path / "log"
    moments = random.Random(0)
    kills = 0
    while True:
        worker = killable(work, photos, folder, log)
        worker.start()
        worker.join(moments.uniform(0.01, 0.1) * 1.1**kills)  # at first too short for the job, at last long enough
        if not worker.is_alive():
            assert worker.exitcode == 0
            break
        worker.kill()
        worker.join()
        kills += 1
        for path in [*folder.glob("*.json"), *folder.glob("records/*.json")]:
            if not path.name.startswith("."):
                json.loads(path.read_text())
    assert kills > 0
    check_coco(folder, photos)
    done = Counter(log.read_text().split())
    assert set(done) == set(map(str, range(12)))
    assert sum(done.values()) <= 12 + kills  # at most the one in hand is done again
    assert len(list((folder / "masks").glob("[0-9]*.png"))) == 12


def test_a_coco_file_written_while_others_work_is_of_whole_images(photos, tmp_path, monkeypatch):
    job = GenerationJob(BrightPixels(), photos, tmp_path / "job")
    job.run(0, 2, progress=False)
    other = GenerationJob(BrightPixels(), photos, tmp_path / "job")
    read_text = Path.read_text

    def finish_more_meanwhile(path, *arguments, **options):
        if path.parent.name == "records":
            monkeypatch.undo()
            other.run(1, 2, progress=False)
        return read_text(path, *arguments, **options)

    monkeypatch.setattr(Path, "read_text", finish_more_meanwhile)
    assert job.finish().done == 6
    check_coco(tmp_path / "job", photos[::2])
