"""What happens to jobs in use: files that change, vanish or cannot be read, odd names, other processes, kills."""

import argparse
import json
import os
import random
import time
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from test_generation_job import BrightPixels, check_coco, photos  # noqa: F401

from killable_processes import killable
from sam_hq.jobs.generation_job import GenerationJob, JobOutputs
from sam_hq_cli.job_commands import run_job
from sam_hq_numpy.listing import image_key, list_images


def run(images, folder, log=None, outputs=None, **options):
    job = GenerationJob(BrightPixels(log, **options), images, folder, outputs)
    job.run(progress=False)
    return job.finish()


@pytest.mark.parametrize("place", ["photos/masks", "photos", "photos/a/b"])
def test_a_job_thrice_finds_the_same_images(photos, tmp_path, place):  # noqa: F811
    everything = JobOutputs(("label-map", "overlay", "objects", "cutout", "yolo", "labelme", "geojson"))
    for inputs in ([photos[0].parent], [str(photos[0].parent / "**" / "*.*")]):
        for _ in range(3):
            images = list_images(inputs).images
            assert images == photos
            assert run(images, tmp_path / place, outputs=everything).done == 12
    other = tmp_path / "photos" / "another job"
    assert run(list_images([photos[0].parent]).images, other, outputs=everything).done == 12


def test_replaced_images_and_other_weights_are_done_again(photos, tmp_path):  # noqa: F811
    log = tmp_path / "log"
    run(photos, tmp_path / "job", log, JobOutputs(weights="a"))
    stat = photos[3].stat()
    pixels = np.asarray(Image.open(photos[3])).copy()
    pixels[1:] = 255 - pixels[1:]
    Image.fromarray(pixels).save(photos[3])
    os.utime(photos[3], ns=(stat.st_atime_ns, stat.st_mtime_ns))
    summary = run(photos, tmp_path / "job", log, JobOutputs(weights="a"))
    assert summary.again == {"image": 1}
    assert Counter(log.read_text().split()) == Counter([*map(str, range(12)), "3"])
    check_coco(tmp_path / "job", photos)
    assert run(photos, tmp_path / "job", log, JobOutputs(weights="b")).again == {"weights": 12}
    assert len(log.read_text().split()) == 25


def test_images_of_an_earlier_run_stay_and_are_said(photos, tmp_path):  # noqa: F811
    run(photos[:5], tmp_path / "job")
    summary = run(photos[4:9], tmp_path / "job")
    assert (summary.done, summary.earlier, summary.missing) == (5, 4, 0)
    check_coco(tmp_path / "job", photos[:9])


def test_records_that_vanish_during_the_run_are_missed(photos, tmp_path):  # noqa: F811
    job = GenerationJob(BrightPixels(), photos, tmp_path / "job")
    job.run(progress=False)
    for path in list((tmp_path / "job" / "records").iterdir())[:3]:
        path.unlink()
    assert (job.finish().done, job.finish().missing) == (9, 3)


def test_what_killed_processes_left_is_removed(photos, tmp_path):  # noqa: F811
    run(photos[:1], tmp_path / "job", outputs=JobOutputs(("objects",)))
    key = image_key(photos[1])
    left = [
        tmp_path / "job" / name
        for name in (
            f"records/.{key}.json.0123456789ab.partial/{key}.json",
            ".annotations.json.0123456789ab.partial/annotations.json",
            f"objects/{image_key(photos[0])}/.0001.png.0123456789ab.partial/0001.png",
        )
    ]
    for path in left:
        path.parent.mkdir()
        path.write_text("half")
    run(photos[:1], tmp_path / "job", outputs=JobOutputs(("objects",)))
    assert not any(path.exists() for path in left)


class Faulty(BrightPixels):
    """Fails at images of one size, in a batch or alone."""

    def candidates_each(self, images, batch_size, options, keep_embeddings=None):
        batch = []
        for photo in images:
            batch.append(photo)
            if len(batch) < 4:
                continue
            if any(each.size[0] == 25 for each in batch):
                raise RuntimeError("out of memory")
            yield from super().candidates_each(batch, 1, options)
            batch = []
        if any(each.size[0] == 25 for each in batch):
            raise RuntimeError("out of memory")
        yield from super().candidates_each(batch, 1, options)


def test_an_image_that_breaks_its_batch_fails_alone(photos, tmp_path):  # noqa: F811
    job = GenerationJob(Faulty(), photos, tmp_path / "job")
    job.run(progress=False)
    summary = job.finish()
    assert summary.failures == {photos[5]: "out of memory"}
    assert (summary.done, summary.missing) == (11, 0)
    check_coco(tmp_path / "job", [photo for photo in photos if photo != photos[5]])


KINDS = ["DDS", "TIFF", "WEBP", "JPEG2000", "GIF", "PNG", "TGA", "BMP", "JPEG"]
Image.init()
if "AVIF" in Image.SAVE:  # from Pillow 11.3
    KINDS.append("AVIF")


@pytest.mark.parametrize("kind", KINDS)
def test_damaged_files_of_every_kind_are_failures(photos, tmp_path, kind):  # noqa: F811
    bad = tmp_path / f"bad.{kind.lower()}"
    Image.open(photos[0]).save(bad, kind)
    whole = bad.read_bytes()
    spoilt = np.frombuffer(whole, np.uint8).copy()
    spoilt[len(spoilt) // 3 :: 7] ^= 0x5A
    others = []
    for index, content in enumerate((whole[: len(whole) // 2], spoilt.tobytes(), whole[:9], b"")):
        others.append(tmp_path / f"{index}.{kind.lower()}")
        others[-1].write_bytes(content)
    summary = run([*others, photos[1]], tmp_path / "job")
    assert summary.missing == 0
    assert summary.done >= 1
    assert others[3] in summary.failures
    assert all(summary.failures.values())


def test_names_that_are_long_or_not_utf_8(tmp_path):
    names = [b"\xff\xfe caf\xe9.png", ("ü" * 125 + ".png").encode(), "日本.png".encode(), b"a b'\"#.png"]
    images = [tmp_path / os.fsdecode(name) for name in names]
    for image in images:
        Image.new("RGB", (30, 20), "white").save(image)
    formats = JobOutputs(("label-map", "overlay", "objects", "cutout", "yolo", "labelme", "geojson"))
    summary = run(list_images([tmp_path]).images, tmp_path / "job", outputs=formats)
    assert (summary.done, summary.failures) == (4, {})
    listed = json.loads((tmp_path / "job" / "annotations.json").read_text())["images"]
    assert {(tmp_path / "job" / each["file_name"]).resolve() for each in listed} == set(images)
    assert all((tmp_path / "job" / each["mask_file"]).is_file() for each in listed)


def test_max_pixels_reaches_every_decoder(photos, tmp_path, monkeypatch):  # noqa: F811
    formats = JobOutputs(("overlay", "cutout"))
    paths = []
    for suffix in (".png", ".tif", ".jpg", ".webp", ".gif"):
        paths.append(tmp_path / f"a{suffix}")
        Image.open(photos[0]).save(paths[-1])
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    summary = run(paths, tmp_path / "job", outputs=formats, max_pixels=1000)
    assert (summary.done, summary.failures) == (5, {})
    assert set(run(paths, tmp_path / "other", max_pixels=500).failures) == set(paths)


def test_the_files_of_an_image_are_named_in_its_record(photos, tmp_path):  # noqa: F811
    formats = ("label-map", "overlay", "cutout", "yolo", "labelme", "geojson", "objects")
    run(photos[:2], tmp_path / "job", outputs=JobOutputs(formats))
    written = json.loads((tmp_path / "job" / "annotations.json").read_text())
    for image in written["images"]:
        named = {name for name in image if name.endswith("_file")}
        assert len(named) == 6
        assert all((tmp_path / "job" / image[name]).is_file() for name in named)
    for annotation in written["annotations"]:
        assert (tmp_path / "job" / annotation["mask_file"]).is_file()
        assert "predicted_iou" in annotation
    (first, _) = sorted((tmp_path / "job" / "labelme").glob("*.json"))
    assert (first.parent / json.loads(first.read_text())["imagePath"]).resolve() == photos[0]
    assert {link.resolve() for link in (tmp_path / "job" / "yolo" / "images").iterdir()} == set(photos[:2])


def work(images, folder, log):
    run(images, folder, log, JobOutputs(("label-map",)), pause=0.02)


def test_two_processes_do_every_image_once_and_survivors_do_what_killed_ones_held(photos, tmp_path):  # noqa: F811
    folder, log = tmp_path / "job", tmp_path / "log"
    moments, kills = random.Random(0), 0
    workers = [killable(work, photos, folder, log) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers[:2]:
        time.sleep(moments.uniform(0.02, 0.1))
        if worker.is_alive():
            worker.kill()
            kills += 1
    workers[2].join()
    assert workers[2].exitcode == 0
    check_coco(folder, photos)
    done = Counter(log.read_text().split())
    assert set(done) == set(map(str, range(12)))
    assert sum(done.values()) <= 12 + kills
    assert not list(folder.rglob("*.partial*"))


def test_what_was_left_half_written_during_a_run_is_gone_at_its_end(photos, tmp_path):  # noqa: F811
    job = GenerationJob(BrightPixels(), photos[:1], tmp_path, JobOutputs(("label-map",)))
    job.run(progress=False)
    for folder in ("masks", "records", "."):  # as by another process that was killed meanwhile
        (tmp_path / folder / f".{image_key(photos[0])}.png.0123456789ab.partial").mkdir()
    assert job.finish().done == 1
    assert not list(tmp_path.rglob("*.partial*"))


def test_shards_are_jobs_of_their_own_on_one_folder(photos, tmp_path):  # noqa: F811
    for index in range(3):
        job = GenerationJob(BrightPixels(), photos, tmp_path / "job")
        job.run(index, 3, progress=False)
        assert job.finish(index, 3).missing == 0
    check_coco(tmp_path / "job", photos)


@pytest.mark.parametrize(
    ("index", "count", "kind"), [(1, 1, ValueError), (-1, 2, ValueError), (0, 0, ValueError), (0, "2", TypeError)]
)
def test_a_share_that_there_is_not_is_refused(photos, tmp_path, index, count, kind):  # noqa: F811
    job = GenerationJob(BrightPixels(), photos, tmp_path / "job")
    for do in (job.run, job.finish):
        with pytest.raises(kind, match="process_"):
            do(index, count)
    assert not list((tmp_path / "job" / "records").iterdir())


def test_a_batch_of_nothing_is_refused_before_there_is_a_folder(photos, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        GenerationJob(BrightPixels(), photos, tmp_path / "job", batch_size=0)
    assert not (tmp_path / "job").exists()


def test_processes_of_one_command_do_its_shard_and_report_it(photos, tmp_path, capsys):  # noqa: F811
    photos[4].write_bytes(b"no image")
    statuses = []
    for shard in (1, 2, 3):
        for index in (1, 0):  # the first process reports, when the others are done
            state = SimpleNamespace(
                num_processes=2, process_index=index, is_main_process=index == 0, is_local_main_process=index == 0,
                wait_for_everyone=lambda: None,
            )  # fmt: skip
            args = argparse.Namespace(shard=(shard, 3), quiet=True, output=tmp_path / "job")
            statuses.append(run_job(args, state, lambda: GenerationJob(BrightPixels(), photos, tmp_path / "job")))
        assert len(list((tmp_path / "job" / "records").iterdir())) == [4, 7, 11][shard - 1]
    assert statuses == [0, 0, 0, 1, 0, 0]  # the second shard has the damaged one
    assert capsys.readouterr().err.count("skipped") == 1


def test_what_is_no_record_is_done_again_or_named(photos, tmp_path):  # noqa: F811
    run(photos[:3], tmp_path / "job")
    records = tmp_path / "job" / "records"
    whole = json.loads((records / f"{image_key(photos[0])}.json").read_text())
    for content in ({"made_from": whole["made_from"]}, {**whole, "made_from": "x"}, [], "text"):
        (records / f"{image_key(photos[0])}.json").write_text(json.dumps(content))
        assert run(photos[:3], tmp_path / "job").again == {"image": 1}
        check_coco(tmp_path / "job", photos[:3])
    (records / "of an earlier release.json").write_text(json.dumps({"image": {}}))
    with pytest.raises(ValueError, match=r"of an earlier release.json' is no record of this release"):
        run(photos[:3], tmp_path / "job")
    (records / "of an earlier release.json").unlink()
    failure = tmp_path / "job" / "failures" / f"{image_key(photos[1])}.json"
    failure.write_text("{")
    with pytest.raises(ValueError, match=rf"{image_key(photos[1])}.json' is not JSON"):
        run(photos[:3], tmp_path / "job")
