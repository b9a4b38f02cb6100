"""`ImageProcessingTestMixin` and `ProcessorTesterMixin` over our image processor and processor."""

import unittest

from sam_hq.image_processing_sam_hq import SamHQImageProcessor
from sam_hq.processing_sam_hq import SamHQProcessor

from .mixins import image_processing, processing


class ImageTester(image_processing.ImageProcessingTester):
    """Small images, and a small square to pad to."""

    def __init__(self, parent):
        super().__init__(parent, size={"longest_edge": 32}, pad_size={"height": 32, "width": 32}, max_resolution=80)

    def _get_image_processing_classes(self):
        return {"pil": SamHQImageProcessor}

    def expected_output_image_shape(self, images):
        return self.num_channels, 32, 32


class ImageProcessorTest(image_processing.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = ImageTester


class ProcessorTest(processing.ProcessorTesterMixin, unittest.TestCase):
    processor_class = SamHQProcessor

    @classmethod
    def _setup_image_processor(cls):
        return SamHQImageProcessor(size={"longest_edge": 32}, pad_size={"height": 32, "width": 32})
