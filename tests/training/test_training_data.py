"""Sources, composites, shards and batches: reproducible, correctly labelled, and free of the evaluation photos."""

import io
import json
import struct
import sys
import tarfile
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from conftest import PHOTOS
from sam_hq.training import held_out
from sam_hq.training.archives import iterate_archive, iterate_rcc
from sam_hq.training.augmentation import augment
from sam_hq.training.batches import TrainingBatches
from sam_hq.training.composites import CompositeRenderer
from sam_hq.training.held_out import is_held_out, perceptual_hash
from sam_hq.training.photo_objects import PhotoObjects, add_photo_objects, read_outlines
from sam_hq.training.photo_regions import standing_out
from sam_hq.training.prompts import error_points, noised_mask_logits
from sam_hq.training.shards import ShardedImages, render_shards
from sam_hq.training.sources import SourcePackage, prepare_sources
from sam_hq_numpy.mask_rle import RunLengthMask
from training_data import shapes


def photograph(seed: int, size=(300, 260)) -> Image.Image:
    """Smooth colours with grain."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 7, 3)).astype(np.uint8)).resize(size, Image.Resampling.BICUBIC)
    return Image.fromarray(
        np.clip(np.asarray(coarse) + rng.normal(0, 9, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
    )


def cutout(seed: int) -> Image.Image:
    image = photograph(seed, (120, 100)).convert("RGBA")
    rows, columns = np.mgrid[:100, :120]
    image.putalpha(Image.fromarray((((rows - 50) / 45) ** 2 + ((columns - 60) / 50) ** 2 < 1).astype(np.uint8) * 255))
    return image


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind)
    return stream.getvalue()


def tar_bytes(files: dict[str, bytes], mode: str = "w:xz") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode=mode) as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def debian_package(files: dict[str, bytes]) -> bytes:
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": tar_bytes(files)}
    package = b"!<arch>\n"
    for name, content in members.items():
        package += f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(content):<10}`\n".encode() + content
        package += b"\n" * (len(content) % 2)
    return package


def resource_bundle(files: dict[str, bytes]) -> bytes:
    """A version 1 bundle with one folder `pictures`; every second file is compressed."""
    names, places, data, nodes = b"", {}, b"", []
    for name in ["pictures", *files]:
        places[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    nodes.append(struct.pack(">IHII", 0, 2, 1, 1))  # the root: a folder with one child, node 1
    nodes.append(struct.pack(">IHII", places["pictures"], 2, len(files), 2))
    for number, (name, content) in enumerate(files.items()):
        flags = number % 2
        blob = struct.pack(">I", len(content)) + zlib.compress(content) if flags else content
        nodes.append(struct.pack(">IHHHI", places[name], flags, 0, 0, len(data)))
        data += struct.pack(">I", len(blob)) + blob
    tree = b"".join(nodes)
    header = 20
    return (
        b"qres"
        + struct.pack(">IIII", 1, header, header + len(tree), header + len(tree) + len(data))
        + tree
        + data
        + names
    )


def test_packages_and_bundles_give_their_files(tmp_path):
    bundle = resource_bundle({"a.png": b"first file", "b.png": b"second file " * 9})
    assert dict(iterate_rcc(bundle)) == {"pictures/a.png": b"first file", "pictures/b.png": b"second file " * 9}
    (tmp_path / "x.deb").write_bytes(debian_package({"usr/c.txt": b"plain", "usr/d.rcc": bundle}))
    assert dict(iterate_archive(tmp_path / "x.deb")) == {
        "usr/c.txt": b"plain",
        "usr/d.rcc:/pictures/a.png": b"first file",
        "usr/d.rcc:/pictures/b.png": b"second file " * 9,
    }
    (tmp_path / "y.tgz").write_bytes(tar_bytes({"package/e": b"npm"}, "w:gz"))
    assert dict(iterate_archive(tmp_path / "y.tgz")) == {"package/e": b"npm"}
    (tmp_path / "z.deb").write_bytes(b"!<arch>\n")
    with pytest.raises(ValueError, match=r"z\.deb has no data\.tar"):
        list(iterate_archive(tmp_path / "z.deb"))


def test_copies_of_evaluation_photographs_are_recognised(monkeypatch):
    photos = [photograph(seed) for seed in range(4)]
    monkeypatch.setattr(held_out, "held_out_hashes", lambda: {"kept": perceptual_hash(photos[0])})
    copy = Image.open(io.BytesIO(encoded(photos[0].resize((150, 130)).point(lambda value: value * 0.9), "JPEG")))
    assert is_held_out(copy)
    assert not any(is_held_out(photo) for photo in photos[1:])


def test_the_table_of_evaluation_photographs_holds_them_and_their_mirror_images():
    hashes = held_out.held_out_hashes()
    assert len(hashes) == 78
    assert {name.rstrip("~") for name in hashes} == {name for name in hashes if not name.endswith("~")}
    for path in sorted(PHOTOS.rglob("*.png")):
        if path.stem in hashes and "mask" not in str(path.parent):
            with Image.open(path) as photo:
                assert is_held_out(photo.convert("RGB"))
                assert is_held_out(photo.convert("RGB").transpose(Image.Transpose.FLIP_LEFT_RIGHT))


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Sources prepared from two small packages, one photo of which is an evaluation photo."""
    root = tmp_path_factory.mktemp("data")
    pictures = {f"usr/{seed}.png": encoded(photograph(seed)) for seed in range(4)}
    flat = encoded(Image.new("RGB", (300, 300), "white"))
    ground = debian_package({**pictures, "usr/flat.png": flat, "usr/odd.png": b"not a picture"})
    (root / "grounds_1.deb").write_bytes(ground)
    objects = {f"stamps/{seed}.png": encoded(cutout(seed)) for seed in range(10, 14)}
    (root / "stamps_1.deb").write_bytes(debian_package({**objects, "stamps/full.png": pictures["usr/1.png"]}))
    packages = [
        SourcePackage("grounds", "backgrounds", (".png",)),
        SourcePackage("stamps", "photo_cutouts", (".png",), wanted=("stamps/",)),
    ]
    held = {"kept": perceptual_hash(photograph(0))}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(held_out, "held_out_hashes", lambda: held)
        counts = prepare_sources(root, root / "sources", packages)
    return root / "sources", counts


def test_preparing_counts_what_it_leaves_out(sources):
    folder, counts = sources
    assert counts["grounds_1.deb"] == {
        "used": 3,
        "held out for evaluation": 1,
        "not a photograph": 1,
        "unreadable (UnidentifiedImageError)": 1,
    }
    assert counts["stamps_1.deb"] == {"used": 4, "no usable outline": 1}
    assert len(list((folder / "backgrounds").iterdir())) == 3
    with pytest.raises(FileNotFoundError, match="none of the packages"):
        prepare_sources(folder, folder / "out")


def test_clip_art_without_its_rasteriser_is_an_error_not_a_count(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    (tmp_path / "art_1.deb").write_bytes(debian_package({"a.svg": b"<svg/>"}))
    with pytest.raises(ImportError, match=r"pip install 'sam-hq\[data\]'"):
        prepare_sources(tmp_path, tmp_path / "out", [SourcePackage("art", "drawn_cutouts", (".svg",))])


def test_composites_are_reproducible_and_their_masks_are_what_is_seen(sources):
    renderer = CompositeRenderer(sources[0], side=96)
    samples = [renderer.render((0, index)) for index in range(12)]
    again = CompositeRenderer(sources[0], side=96)
    for index, sample in enumerate(samples):
        other = again.render((0, index))
        np.testing.assert_array_equal(sample.image, other.image)
        np.testing.assert_array_equal(sample.masks, other.masks)
        assert sample.image.shape == (96, 96, 3)
        assert sample.masks.any((1, 2)).all()
    assert not np.array_equal(samples[0].image, samples[1].image)


def test_an_object_that_is_covered_loses_the_covered_part(sources):
    from sam_hq.training.composites import _Scene

    scene = _Scene(Image.new("RGB", (60, 60), "grey"))
    for color, left in (("red", 5), ("blue", 15)):
        patch = Image.new("RGBA", (20, 20), color)
        scene.paste(patch, [left, 10], softness=0.0)
    first, second = scene.targets()
    assert (first.sum(), second.sum()) == (200, 400)
    pixels = np.asarray(scene.image())
    assert (pixels[second] == [0, 0, 255]).all()
    assert (pixels[first] == [255, 0, 0]).all()
    part = Image.new("RGBA", (8, 8), "green")
    scene.paste(part, [17, 12], softness=0.0, inside=second)
    first, whole, inner = scene.targets()
    assert inner.sum() == 64
    assert (whole & inner).sum() == 64  # a part belongs to its whole


@pytest.mark.parametrize("kind", ["composites", "regions"])
def test_shards_hold_what_was_rendered(sources, tmp_path, monkeypatch, kind):
    monkeypatch.setattr("sam_hq.training.shards.SHARD_SIZE", 2)
    monkeypatch.setattr("sam_hq.training.photo_regions.SMALLEST_SEGMENT", 20)
    from sam_hq.training import shards

    jobs = [(sources[0], tmp_path / f"shard_{k:04d}", k, 64, 5, kind) for k in range(2)]
    for job in jobs:
        shards._render_shard(job)
    images = ShardedImages(tmp_path)
    renderer = shards.RENDERERS[kind](sources[0], side=64)
    assert len(images) == 4
    for index in range(4):
        sample = renderer.render((5, index))
        np.testing.assert_array_equal(images[index][0], sample.image)
        np.testing.assert_array_equal(images[index][1], sample.masks)
    with pytest.raises(IndexError):
        images[4]
    names = [path.name for path in render_shards(sources[0], tmp_path, 4, 64, 5, kind=kind)]
    assert names == ["shard_0000", "shard_0001"]  # they were kept
    both = ShardedImages(tmp_path, tmp_path)
    assert len(both) == 8
    np.testing.assert_array_equal(both[5][0], images[1][0])
    with pytest.raises(ValueError, match="kind must be one of"):
        next(render_shards(sources[0], tmp_path, 4, kind="drawings"))


def test_regions_stand_out_from_a_photograph():
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:160, :200]
    disc = (rows - 70) ** 2 + (columns - 90) ** 2 < 40**2
    faint = (rows - 130) ** 2 + (columns - 170) ** 2 < 15**2
    image = np.where(disc[..., None], [200, 120, 40], [60, 90, 120]) + 4 * faint[..., None]
    image = np.clip(image + rng.normal(0, 5, image.shape), 0, 255).astype(np.uint8)
    (found,) = standing_out(image)  # neither the faint disc nor the ground, which reaches the border
    assert (found & disc).sum() > 0.95 * (found | disc).sum()


def outlines_file(path, size=(300, 260)):
    """A bright disc and a small one in one photo, and an outline of one that is not there."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    discs = [(rows - 120) ** 2 + (columns - 140) ** 2 < 70**2, (rows - 30) ** 2 + (columns - 270) ** 2 < 20**2]
    names = ["seen.jpg", "gone.jpg"]
    segmentations = [(1, RunLengthMask.from_mask(disc).to_coco()) for disc in discs]
    segmentations.append((2, segmentations[0][1]))
    content = {
        "images": [{"id": number + 1, "file_name": name} for number, name in enumerate(names)],
        "annotations": [{"image_id": image, "segmentation": mask} for image, mask in segmentations],
    }
    path.write_text(json.dumps(content))
    return discs


@pytest.fixture
def outlined(tmp_path):
    """Sources with one photo whose objects are outlined, and the counts of taking the outlines in."""
    discs = outlines_file(tmp_path / "outlines.json")
    (tmp_path / "sources" / "backgrounds").mkdir(parents=True)
    image = np.where((discs[0] | discs[1])[..., None], [230, 220, 90], [40, 60, 90]).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "sources" / "backgrounds" / "seen.jpg", quality=98)
    counts = add_photo_objects(read_outlines(tmp_path / "outlines.json"), tmp_path / "sources")
    return tmp_path / "sources", counts


def test_crops_around_outlined_objects_hold_them_whole(outlined):
    folder, counts = outlined
    assert counts == {"used": 2, "photograph missing": 1}
    renderer = PhotoObjects(folder, 96)
    targets = set()
    for index in range(40):
        sample = renderer.render((0, index))
        np.testing.assert_array_equal(sample.image, PhotoObjects(folder, 96).render((0, index)).image)
        bright = sample.image[..., 0] > 135
        for mask in sample.masks:
            assert bright[mask].mean() > 0.97
        first = sample.masks[0]
        assert first.any()
        assert not np.concatenate([first[[0, -1]].ravel(), first[:, [0, -1]].ravel()]).any()
        assert (bright & ~sample.masks.any(0)).mean() < 0.2  # the small disc, where less than half of it is seen
        targets.add(len(sample.masks))
    assert targets == {1, 2}


def test_an_object_too_long_for_a_square_is_cut_not_squeezed(tmp_path):
    (tmp_path / "backgrounds").mkdir()
    Image.new("RGB", (600, 150), "white").save(tmp_path / "backgrounds" / "long.jpg")
    mask = np.zeros((150, 600), bool)
    mask[60:90, 10:590] = True
    add_photo_objects({"long.jpg": [RunLengthMask.from_mask(mask)]}, tmp_path)
    for index in range(10):
        found = PhotoObjects(tmp_path, 64).render(index).masks[0]
        assert found.any(0).mean() > 0.95
        assert found.any(1).sum() == pytest.approx(64 * 30 / 150, abs=1)  # the full height, stretched no more than 1.6


def test_outlined_objects_become_cutouts(outlined):
    folder, _ = outlined
    (path,) = (folder / "photo_cutouts").iterdir()  # the small one would be too small
    cutout = np.asarray(Image.open(path).convert("RGBA"))
    assert abs(cutout.shape[0] - 140) <= 2
    inside = cutout[..., 3] > 200
    assert inside.mean() == pytest.approx(np.pi / 4, abs=0.04)
    assert cutout[..., 0][inside].min() > 150  # nothing of what was behind it
    composite = CompositeRenderer(folder, side=96).render(1)
    assert len(composite.masks)


def test_outlines_that_fit_no_photograph_are_refused(tmp_path, outlined):
    folder, _ = outlined
    outlines_file(tmp_path / "other.json", size=(400, 300))
    with pytest.raises(ValueError, match="none of the photographs with outlines"):
        add_photo_objects(read_outlines(tmp_path / "other.json"), folder)
    for content in ("[]", "{", '{"images": []}', '{"images": [{"id": 1}], "annotations": []}'):
        (tmp_path / "bad.json").write_text(content)
        with pytest.raises(ValueError, match="does not hold COCO instances with run lengths"):
            read_outlines(tmp_path / "bad.json")
    with pytest.raises(FileNotFoundError, match=r"objects\.json"):
        PhotoObjects(tmp_path, 64)


def test_augmented_masks_stay_on_their_objects():
    for seed in range(10):
        image, masks = shapes(1, seed=seed)[0]
        pixels, labels, (height, width) = augment(image, masks, 64, np.random.default_rng(seed))
        assert max(height, width) == 64
        assert (labels[:, height:] == -100).all()
        assert (labels[:, :, width:] == -100).all()
        assert (labels[:, :height, :width] >= 0).all()
        assert (pixels[height:] == 0).all()
        union = (labels == 1).any(0)[:height, :width]
        inside, outside = pixels[:height, :width][union], pixels[:height, :width][~union]
        assert inside.max(-1).mean() > outside.max(-1).mean() + 20  # objects are the bright things


def test_batches_follow_from_seed_and_step_alone():
    images = shapes(5)
    first, second = (TrainingBatches(images, 8, 2, 3, 64, seed=4) for _ in range(2))
    for step in (5, 0, 7):
        one, two = first[step], second[step]
        plain = [key for key in one if not isinstance(one[key], torch.Tensor)]
        assert {key: one[key] for key in plain} == {key: two[key] for key in plain}
        assert all(torch.equal(one[key], two[key]) for key in one if key not in plain)
        assert one["labels"].shape == (2, 3, 64, 64)
        x, y = one["input_points"][0, 0, 0].long()
        assert one["labels"][0, 0, y, x] == 1
    assert not torch.equal(first[0]["pixel_values"], TrainingBatches(images, 8, 2, 3, 64, seed=5)[0]["pixel_values"])


def test_every_image_is_visited_once_an_epoch():
    batches = TrainingBatches(shapes(6), 100, batch_size=2)
    assert sorted(batches._index(position) for position in range(6, 12)) == list(range(6))


def test_images_without_masks_are_named_as_the_fault():
    empty = [(np.zeros((64, 64, 3), np.uint8), np.zeros((0, 64, 64), bool))]
    with pytest.raises(ValueError, match="held no object"):
        TrainingBatches(empty, 1, 1, 1, 64)[0]
    with pytest.raises(ValueError, match="no training images"):
        TrainingBatches([], 1)


def test_clicks_and_noised_masks_follow_the_truth():
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[0, 4:20, 4:20] = 1
    labels[1, 10:30, 10:30] = 1
    logits = torch.full((2, 8, 8), -5.0)
    logits[1] = 5.0
    points, kinds = error_points(logits, labels)
    assert kinds.tolist() == [1, 0]
    assert labels[0, int(points[0, 1]), int(points[0, 0])] == 1
    assert labels[1, int(points[1, 1]), int(points[1, 0])] == 0
    noised = noised_mask_logits(labels, 16, torch.Generator().manual_seed(0))
    assert noised.shape == (2, 16, 16)
    truth = torch.nn.functional.interpolate((labels == 1).float()[:, None], (16, 16))[:, 0] > 0
    assert ((noised > 0) == truth).float().mean() > 0.75
