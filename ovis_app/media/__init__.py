"""Pictures and clips that people attach: checked, upright, limited, sampled. Knows files and pixels; refuses to know
models, pages and requests."""

from ovis_app.media.attach import attach, attach_all, attach_turns
from ovis_app.media.content_hash import digest
from ovis_app.media.frames import clip_of_frames
from ovis_app.media.images import open_image
from ovis_app.media.shown import shown_copy, with_copies
from ovis_app.media.video import Clip, VideoInfo, probe, sample_frames, thumbnail

__all__ = [
    "Clip",
    "VideoInfo",
    "attach",
    "attach_all",
    "attach_turns",
    "clip_of_frames",
    "digest",
    "open_image",
    "probe",
    "sample_frames",
    "shown_copy",
    "thumbnail",
    "with_copies",
]
