import pytest
from PIL import Image

from sam_hq_numpy.listing import image_key, list_images


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.PNG", "notes.txt", "deep/er/c.webp", ".hidden/d.jpg", "deep/.thumb.jpg", "frame_2.png"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path


def names(paths, folder):
    return [path.relative_to(folder).as_posix() for path in paths]


def test_folders_are_searched_with_all_below_but_what_is_hidden(folder):
    assert names(list_images([folder]).images, folder) == ["a.PNG", "b.jpg", "deep/er/c.webp", "frame_2.png"]


def test_files_are_taken_whatever_their_suffix_and_in_the_order_given(folder):
    assert names(list_images([folder / "notes.txt", str(folder / "a.PNG")]).images, folder) == ["notes.txt", "a.PNG"]


def test_patterns_are_expanded(folder):
    assert names(list_images([str(folder / "*.jpg"), str(folder / "**" / "c.*")]).images, folder) == [
        "b.jpg",
        "deep/er/c.webp",
    ]


def test_every_image_comes_once(folder):
    photos = list_images([folder / "b.jpg", folder, folder / "deep" / ".." / "a.PNG"]).images
    assert names(photos, folder) == ["b.jpg", "a.PNG", "deep/er/c.webp", "frame_2.png"]


@pytest.mark.parametrize("missing", ["nothing.jpg", "*.bmp", ".hidden/*.png"])
def test_an_input_that_stands_for_nothing_is_refused(folder, missing):
    with pytest.raises(ValueError, match="no file, and no folder or pattern"):
        list_images([folder / "b.jpg", folder / missing])


def test_what_is_skipped_is_counted_and_named(folder):
    for name in ("notes.md", "more.txt", "photo.WebP", "old.tga", "x.JFIF", "kitten.segmented.jpg"):
        (folder / name).touch()
    listing = list_images([folder])
    assert {"photo.WebP", "old.tga", "x.JFIF"} <= {path.name for path in listing.images}
    assert listing.skipped == {".txt": 2, ".md": 1}
    assert listing.own == 1
    assert listing.warnings()[0] == "skipped 3 files of other kinds: 2 .txt, 1 .md"


def test_avif_is_an_image_where_pillow_reads_it(folder):
    (folder / "photo.AVIF").touch()
    listing = list_images([folder])
    reads = ".avif" in Image.registered_extensions()  # from Pillow 11.3
    assert ("photo.AVIF" in {path.name for path in listing.images}) == reads
    assert listing.skipped.get(".avif", 0) == (not reads)


def test_keys_fit_into_file_names(folder):
    keys = {image_key(folder / name) for name in ("ü" * 120 + ".png", "a.png", "deep/a.png", "日" * 80 + ".png")}
    assert len(keys) == 4
    assert all(len(key.encode()) <= 100 for key in keys)
