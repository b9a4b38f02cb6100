"""The model as ONNX graphs or programs of torch.export, checked against torch before they get their names."""
