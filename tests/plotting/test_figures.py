"""Plots are held to the pixels that come out and to the artists in them."""

import builtins
import json

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.legend import Legend
from matplotlib.patches import Rectangle
from PIL import Image

from sam_hq.evaluation.mask_metrics import boundary_iou, mask_iou
from sam_hq.plotting import (
    plot_automatic_masks,
    plot_boundary_error,
    plot_candidates,
    plot_comparison,
    plot_masks,
    plot_prompts,
)
from sam_hq.plotting.differences import EXTRA_COLOR, HQ_COLOR, MISSED_COLOR, SAM_COLOR
from sam_hq_numpy.mask_rle import RunLengthMask
from sam_hq_numpy.overlays import NEGATIVE, POSITIVE, object_color

matplotlib.use("Agg")
import matplotlib.pyplot as plt

HEIGHT, WIDTH = 60, 80
GRAY = 90
PHOTO = Image.new("RGB", (WIDTH, HEIGHT), (GRAY, GRAY, GRAY))


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


def rectangle(x0, y0, x1, y1) -> np.ndarray:
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[y0:y1, x0:x1] = True
    return mask


def color_at(ax, x, y) -> np.ndarray:
    """What is drawn at a pixel of the photo, RGB."""
    figure = ax.figure.figure
    figure.canvas.draw()
    rendered = np.asarray(figure.canvas.buffer_rgba())
    column, row = ax.transData.transform((x, y))
    return rendered[rendered.shape[0] - 1 - round(row), round(column), :3].astype(int)


def blended(color, opacity=0.45) -> np.ndarray:
    return np.array(color) * opacity + GRAY * (1 - opacity)


def only_axis(figure):
    (ax,) = figure.axes
    return ax


def contours(ax):
    return [artist for artist in ax.collections if type(artist).__name__ == "QuadContourSet"]


def scattered(ax):
    return [artist for artist in ax.collections if type(artist).__name__ == "PathCollection"]


def test_masks_are_filled_in_their_objects_colours_and_traced():
    masks = np.stack([rectangle(10, 10, 30, 40), rectangle(45, 20, 70, 50)])
    ax = only_axis(plot_masks(PHOTO, masks, [0.9, 0.25]))
    for index, place in enumerate([(20, 25), (58, 35)]):
        np.testing.assert_allclose(color_at(ax, *place), blended(object_color(index)), atol=3)
    np.testing.assert_allclose(color_at(ax, 38, 5), [GRAY] * 3, atol=1)
    assert ax.get_title() == "Scores 0.900, 0.250"
    for index, contour in enumerate(contours(ax)):
        np.testing.assert_allclose(np.asarray(contour.get_edgecolor())[0, :3] * 255, object_color(index), atol=1)
    # The contour runs between the pixels, along the mask's edge.
    edge = contours(ax)[0].get_paths()[0].vertices
    assert edge[:, 0].min() == pytest.approx(9.5)
    assert edge[:, 0].max() == pytest.approx(29.5)
    assert edge[:, 1].min() == pytest.approx(9.5)
    assert edge[:, 1].max() == pytest.approx(39.5)


def test_figures_are_of_150_dpi_or_more_and_legends_of_the_usual_size():
    mask = rectangle(10, 10, 40, 40)
    for figure in (plot_masks(PHOTO, mask), plot_comparison(PHOTO, mask, mask), plot_boundary_error(PHOTO, mask, mask)):
        assert figure.dpi >= 150
    (legend,) = [child for child in figure.axes[0].get_children() if isinstance(child, Legend)]
    assert min(text.get_fontsize() for text in legend.get_texts()) >= 10
    with matplotlib.rc_context({"figure.dpi": 200}):
        assert plot_prompts(PHOTO, boxes=[[1, 1, 5, 5]]).dpi == 200


def test_a_mask_that_reaches_the_border_is_closed_there():
    ax = only_axis(plot_masks(PHOTO, rectangle(0, 0, WIDTH, HEIGHT)))
    edge = contours(ax)[0].get_paths()[0].vertices
    assert (edge.min(), edge[:, 0].max(), edge[:, 1].max()) == (-0.5, WIDTH - 0.5, HEIGHT - 0.5)


def test_what_the_model_returns_is_taken_as_it_is():
    """Masks (P, M, H, W) of post_process_masks and scores (1, P, M), as tensors, bfloat16 too."""
    masks = torch.from_numpy(np.stack([rectangle(10, 10, 30, 40), rectangle(0, 0, 9, 9)]))[None]
    scores = torch.tensor([[[0.75, 0.5]]], dtype=torch.bfloat16)
    assert only_axis(plot_masks(PHOTO, masks, scores)).get_title() == "Score 0.750"
    panels = only_axis(plot_candidates(PHOTO, masks, scores)).child_axes
    assert [panel.get_title() for panel in panels] == ["Mask 1, score 0.750", "Mask 2, score 0.500"]
    np.testing.assert_allclose(color_at(panels[0], 20, 25), blended(object_color(0)), atol=3)
    np.testing.assert_allclose(color_at(panels[1], 20, 25), [GRAY] * 3, atol=1)
    np.testing.assert_allclose(color_at(panels[1], 4, 4), blended(object_color(0)), atol=3)


def test_each_panel_holds_that_candidate_of_every_object():
    masks = np.stack([[rectangle(0, 0, 20, 20), rectangle(0, 30, 20, 50)], [rectangle(40, 0, 60, 20)] * 2])
    first, second = only_axis(plot_candidates(PHOTO, masks, [[0.9, 0.8], [0.7, 0.6]])).child_axes
    assert (first.get_title(), second.get_title()) == ("Mask 1, score 0.900, 0.700", "Mask 2, score 0.800, 0.600")
    np.testing.assert_allclose(color_at(second, 10, 40), blended(object_color(0)), atol=3)
    np.testing.assert_allclose(color_at(second, 50, 10), blended(object_color(1)), atol=3)
    np.testing.assert_allclose(color_at(second, 10, 10), [GRAY] * 3, atol=1)


@pytest.mark.parametrize(
    ("boxes", "points", "labels"),
    [
        ([[10, 10, 30, 40], [5, 5, 70, 50]], [[20, 25], [60, 30]], [1, 0]),
        ([[[10, 10, 30, 40], [5, 5, 70, 50]]], [[[[20, 25], [60, 30]]]], [[[1, 0]]]),
        (np.array([[[10, 10, 30, 40], [5, 5, 70, 50]]]), torch.tensor([[[20.0, 25.0], [60.0, 30.0]]]), [[1, 0]]),
        ([[np.int64(10), 10, 30, 40], [5, 5, 70, 50]], [[[20, 25]], [[60, 30]]], np.array([[1], [0]])),
    ],
)
def test_prompts_in_any_nesting(boxes, points, labels):
    ax = only_axis(plot_prompts(PHOTO, boxes=boxes, points=points, labels=labels))
    frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
    drawn = [(*frame.get_xy(), frame.get_width(), frame.get_height()) for frame in frames]
    assert drawn == [(10, 10, 20, 30)] * 2 + [(5, 5, 65, 45)] * 2  # white below, the object's colour above
    np.testing.assert_allclose(np.array(frames[3].get_edgecolor()[:3]) * 255, object_color(1), atol=1)
    positive, negative = scattered(ax)
    assert positive.get_offsets().tolist() == [[20, 25]]
    assert negative.get_offsets().tolist() == [[60, 30]]
    np.testing.assert_allclose(color_at(ax, 20, 25), POSITIVE, atol=3)
    np.testing.assert_allclose(color_at(ax, 60, 30), NEGATIVE, atol=3)


def test_padding_is_not_drawn_and_points_are_on_the_object_unless_told():
    ax = only_axis(plot_prompts(PHOTO, points=[[1, 2], [3, 4], [5, 6]], labels=[1, -10, -1]))
    (points,) = scattered(ax)
    assert points.get_offsets().tolist() == [[1, 2]]
    (points,) = scattered(only_axis(plot_prompts(PHOTO, points=[[[1, 2], [3, 4]], [[5, 6]]])))
    assert points.get_offsets().tolist() == [[1, 2], [3, 4], [5, 6]]


def test_prompts_outside_do_not_move_the_image():
    ax = only_axis(plot_prompts(PHOTO, points=[[-40, 200]], boxes=[[-10, -10, 300, 300]]))
    assert ax.get_xlim() == (-0.5, WIDTH - 0.5)
    assert ax.get_ylim() == (HEIGHT - 0.5, -0.5)


def test_sam_and_sam_hq_side_by_side_and_their_difference():
    sam, hq = rectangle(10, 10, 40, 40), rectangle(20, 10, 60, 40)
    left, middle, right = only_axis(plot_comparison(PHOTO, sam, hq[None, None], points=[[30, 20]])).child_axes
    np.testing.assert_allclose(color_at(left, 15, 30), blended(SAM_COLOR), atol=3)
    np.testing.assert_allclose(color_at(middle, 50, 30), blended(HQ_COLOR), atol=3)
    np.testing.assert_allclose(color_at(middle, 15, 30), [GRAY] * 3, atol=1)
    np.testing.assert_allclose(color_at(right, 15, 30), SAM_COLOR, atol=2)
    np.testing.assert_allclose(color_at(right, 50, 30), HQ_COLOR, atol=2)
    agreed = color_at(right, 30, 30)
    assert agreed.max() - agreed.min() <= 1
    assert right.get_title() == f"Difference, IoU {mask_iou(sam, hq):.3f}"
    texts = [text.get_text() for text in right.get_legend().get_texts()]
    assert texts == [f"SAM only: {(sam & ~hq).sum()} pixels", f"SAM-HQ only: {(hq & ~sam).sum()} pixels"]
    assert [len(scattered(panel)) for panel in (left, middle, right)] == [1, 1, 0]


def test_boundary_errors_have_their_colours_and_the_measures_their_names():
    truth, found = rectangle(10, 10, 50, 40), rectangle(14, 10, 54, 40)
    ax = only_axis(plot_boundary_error(PHOTO, found, truth, width=3))
    np.testing.assert_allclose(color_at(ax, 12, 25), MISSED_COLOR, atol=2)
    np.testing.assert_allclose(color_at(ax, 52, 25), EXTRA_COLOR, atol=2)
    assert ax.get_title() == (
        f"IoU {mask_iou(found, truth):.3f}, boundary IoU {boundary_iou(found, truth, 3):.3f} (3 pixels)"
    )
    texts = [text.get_text() for text in ax.get_legend().get_texts()]
    assert texts[:2] == [f"missed: {4 * 30} pixels", f"too much: {4 * 30} pixels"]
    edge = contours(ax)[0].get_paths()[0].vertices
    assert (edge[:, 0].min(), edge[:, 0].max()) == (9.5, 49.5)  # the ground truth's


def test_automatic_masks_keep_their_colours_and_small_ones_lie_on_top():
    large, small, other = rectangle(5, 5, 60, 55), rectangle(20, 20, 30, 30), rectangle(65, 5, 75, 55)
    together = only_axis(plot_automatic_masks(PHOTO, {"masks": [small, large, other], "scores": torch.ones(3)}))
    assert together.get_title() == "3 masks"
    alone = only_axis(plot_automatic_masks(PHOTO, [other]))
    np.testing.assert_array_equal(color_at(together, 70, 30), color_at(alone, 70, 30))
    below = only_axis(plot_automatic_masks(PHOTO, [large]))
    assert np.abs(color_at(together, 25, 25) - color_at(below, 25, 25)).max() > 20
    np.testing.assert_array_equal(color_at(together, 50, 50), color_at(below, 50, 50))


@pytest.mark.parametrize("form", ["binary", "uncompressed", "coco", "stack"])
def test_automatic_masks_in_every_form_of_the_generator(form):
    mask = rectangle(5, 5, 60, 55)
    encoded = RunLengthMask.from_mask(mask)
    generated = {
        "binary": [{"segmentation": mask}],
        "uncompressed": [{"segmentation": encoded.to_uncompressed()}],
        "coco": json.loads(json.dumps([{"segmentation": encoded.to_coco()}])),
        "stack": torch.from_numpy(mask[None]),
    }[form]
    expected = color_at(only_axis(plot_automatic_masks(PHOTO, [mask])), 30, 30)
    np.testing.assert_array_equal(color_at(only_axis(plot_automatic_masks(PHOTO, generated)), 30, 30), expected)


def test_nothing_found_is_a_picture_too():
    ax = only_axis(plot_automatic_masks(PHOTO, {"masks": []}))
    assert ax.get_title() == "0 masks"
    np.testing.assert_allclose(color_at(ax, 30, 30), [GRAY] * 3, atol=1)


def draw(kind, ax):
    mask = rectangle(10, 10, 30, 40)
    return {
        "masks": lambda: plot_masks(PHOTO, mask, ax=ax),
        "prompts": lambda: plot_prompts(PHOTO, boxes=[1, 2, 3, 4], ax=ax),
        "candidates": lambda: plot_candidates(PHOTO, mask[None].repeat(3, 0), ax=ax),
        "comparison": lambda: plot_comparison(PHOTO, mask, mask, ax=ax),
        "automatic": lambda: plot_automatic_masks(PHOTO, [mask], ax=ax),
        "boundary": lambda: plot_boundary_error(PHOTO, mask, mask, ax=ax),
    }[kind]()


@pytest.mark.parametrize("kind", ["masks", "prompts", "candidates", "comparison", "automatic", "boundary"])
def test_a_given_axis_is_drawn_into_and_no_figure_is_made(kind):
    figure, (left, right) = plt.subplots(1, 2)
    assert draw(kind, right) is figure
    assert plt.get_fignums() == [figure.number]
    assert not left.images
    assert not left.child_axes
    drawn = right.child_axes or [right]
    assert all(ax.images for ax in drawn)


@pytest.mark.parametrize("kind", ["masks", "candidates"])
def test_images_come_in_every_form(kind, tmp_path):
    path = tmp_path / "photo.png"
    PHOTO.save(path)
    function = {"masks": plot_masks, "candidates": plot_candidates}[kind]
    for photo in (path, str(path), np.asarray(PHOTO), torch.from_numpy(np.array(PHOTO)).permute(2, 0, 1)):
        figure = function(photo, rectangle(1, 1, 9, 9)[None])
        ax = figure.axes[0]
        drawn = (ax.child_axes or [ax])[0].images[0].get_array()
        np.testing.assert_array_equal(drawn, np.asarray(PHOTO))


MASK = rectangle(10, 10, 30, 40)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: plot_masks(PHOTO, MASK.T),
            ValueError,
            r"masks must end in .* \(60, 80\), but has the shape \(80, 60\)",
        ),
        (lambda: plot_masks(PHOTO, MASK * 2.5), ValueError, "masks must be boolean or hold 0 and 1"),
        (lambda: plot_masks(PHOTO, np.zeros((0, HEIGHT, WIDTH), bool)), ValueError, "at least one mask"),
        (lambda: plot_masks(PHOTO, "mask"), TypeError, "masks must hold numbers"),
        (lambda: plot_masks(PHOTO, MASK, [0.1, 0.2]), ValueError, "scores must be one per mask"),
        (lambda: plot_masks(PHOTO, MASK, opacity=1.5), ValueError, "opacity must be at least 0 and at most 1, got 1.5"),
        (lambda: plot_masks(3, MASK), TypeError, "images must hold"),
        (lambda: plot_masks([PHOTO, PHOTO], MASK), ValueError, "photo must be one image, got 2"),
        (lambda: plot_prompts(PHOTO), ValueError, "give boxes or points"),
        (lambda: plot_prompts(PHOTO, boxes=[[1, 2, 3]]), ValueError, r"boxes must have 4 numbers each, got 3"),
        (lambda: plot_prompts(PHOTO, points=[[1, 2]], labels=[1, 0]), ValueError, "1 point and 2 labels"),
        (lambda: plot_prompts(PHOTO, points=[[1, 2]], labels=[2]), ValueError, "labels must be 1, 0, -1 or -10"),
        (lambda: plot_prompts(PHOTO, points=[["a", "b"]]), TypeError, "points must be numbers"),
        (lambda: plot_prompts(PHOTO, points=[[float("nan"), 1]]), ValueError, "points must be finite"),
        (lambda: plot_comparison(PHOTO, np.stack([MASK, MASK]), MASK), ValueError, "sam_mask must be one mask"),
        (lambda: plot_boundary_error(PHOTO, MASK, MASK, width=0), ValueError, "width must be at least 1"),
        (lambda: plot_automatic_masks(PHOTO, {"scores": []}), ValueError, "generated must hold 'masks'"),
        (lambda: plot_automatic_masks(PHOTO, [{"area": 1}]), ValueError, "must hold 'segmentation'"),
        (lambda: plot_automatic_masks(PHOTO, [MASK, MASK[1:]]), ValueError, "generated mask 1"),
        (lambda: plot_automatic_masks(PHOTO, 7), TypeError, "generated must hold masks, got int"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_a_figure_is_made(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert plt.get_fignums() == []


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    plain_import = builtins.__import__

    def without_matplotlib(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return plain_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(ImportError, match=r"pip install 'sam-hq\[plot\]'"):
        plot_masks(PHOTO, MASK)


def test_masks_of_several_shapes_are_refused_by_name():
    photo = np.zeros((40, 60, 3), np.uint8)
    for masks in ([torch.zeros(40, 60), torch.zeros(20, 60)], (torch.zeros(1, 40, 60), torch.zeros(1), torch.zeros(2))):
        with pytest.raises(ValueError, match=r"^masks must have one shape"):
            plot_masks(photo, masks)
