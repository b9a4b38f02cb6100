"""Records what the authors' `SamPredictor` answers to the calls of its clients. Runs in the reference environment.

python tests/parity/make_golden_clients.py
"""

import numpy as np
import torch
from client_calls import PHOTO, client_calls
from golden import FOLDER
from reference import load_reference, read_photo
from seeded_weights import seeded_state_dict
from segment_anything_hq.utils.onnx import SamOnnxModel


def main() -> None:
    """Write `golden/clients_vit_tiny.npz`: of each call every eighth low-res logit, the scores and the masks' areas."""
    predictor = load_reference("vit_tiny", seeded_state_dict("vit_tiny"))
    image = read_photo(PHOTO)
    arrays = {}
    for name, (masks, scores, low_res) in client_calls(predictor, image):
        arrays[f"{name}/low_res"] = np.asarray(low_res, np.float32)[..., ::8, ::8]
        arrays[f"{name}/scores"] = np.asarray(scores, np.float32)
        arrays[f"{name}/areas"] = np.asarray(masks).sum((-2, -1))
    predictor.set_image(image)
    for multimask in (False, True):
        graph = SamOnnxModel(predictor.model, multimask_output=multimask)
        masks, scores, low_res = graph(
            predictor.features,
            torch.stack(list(predictor.interm_features)),
            torch.tensor([[[400.0, 300.0], [200.0, 100.0], [800.0, 500.0]]]),
            torch.tensor([[1.0, 2.0, 3.0]]),
            torch.zeros(1, 1, 256, 256),
            torch.zeros(1),
            torch.tensor(image.shape[:2], dtype=torch.float32),
        )
        name = f"onnx/{multimask}"
        arrays[f"{name}/low_res"] = low_res.numpy()[..., ::8, ::8]
        arrays[f"{name}/scores"] = scores.numpy()
        arrays[f"{name}/areas"] = (masks > 0).sum((-2, -1)).numpy()
    np.savez_compressed(FOLDER / "clients_vit_tiny.npz", **arrays)


if __name__ == "__main__":
    main()
