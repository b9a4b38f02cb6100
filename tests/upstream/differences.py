"""Where our classes differ on purpose from what transformers' common tests want, `Class.test` (patterns) and why.

Everything else passes. An entry that matches no failure fails the run.
"""

_OUTPUTS = (
    "attentions and hidden states are the encoder's, named vision_*, and lie on its grid, as the built-in has them"
)
_GRID = "a layer's output is (B, h, w, C) and attention goes by windows, not over one sequence"
_CONVOLUTION = "the input embeddings of an encoder of images are a convolution"
_RANDOM = "the positional encoding is a buffer of random frequencies, with no option to switch it off"

DIFFERENCES: dict[str, str] = {
    "VitTest.test_attention_outputs": _OUTPUTS,
    "VitTest.test_hidden_states_output": _OUTPUTS,
    "VitTest.test_retain_grad_hidden_states_attentions": _OUTPUTS,
    "TinyVitTest.test_attention_outputs": _OUTPUTS,
    "TinyVitTest.test_hidden_states_output": _OUTPUTS,
    "TinyVitTest.test_retain_grad_hidden_states_attentions": _OUTPUTS,
    "EfficientNetTest.test_attention_outputs": _OUTPUTS,
    "EfficientNetTest.test_hidden_states_output": _OUTPUTS,
    "EfficientNetTest.test_retain_grad_hidden_states_attentions": _OUTPUTS,
    "VitVisionTest.test_attention_outputs": _GRID,
    "VitVisionTest.test_hidden_states_output": _GRID,
    "TinyVitVisionTest.test_attention_outputs": _GRID,
    "TinyVitVisionTest.test_hidden_states_output": _GRID,
    "EfficientNetVisionTest.test_hidden_states_output": _GRID,
    "*.test_model_get_set_embeddings": _CONVOLUTION,
    "VitTest.test_init_weights_can_init_buffers": _RANDOM,
    "TinyVitTest.test_init_weights_can_init_buffers": _RANDOM,
    "EfficientNetTest.test_init_weights_can_init_buffers": _RANDOM,
    "ImageProcessorTest.test_call_numpy_4_channels": "do_convert_rgb=False is refused: the model takes three channels",
    "ImageProcessorTest.test_image_processor_from_dict_with_kwargs_has_attributes": "do_convert_rgb=False is refused",
    "ImageProcessorTest.test_new_models_require_torchvision_backend": "Pillow's resize is the authors', bit for bit",
}
