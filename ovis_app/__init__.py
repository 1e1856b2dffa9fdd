"""Ovis App: chat about pictures, clips and text with the Ovis family of multimodal models."""

__version__ = "0.1.0"
