"""Split inference between an edge board and the cloud for PaddlePaddle detectors."""

__version__ = "0.1.0"
