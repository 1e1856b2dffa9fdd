"""Pictures, clips and documents that people attach: checked, upright, limited, sampled, drawn. Knows files and pixels;
refuses to know models, requests and where any of it is shown."""

from ovis_app.media.attach import attach, attach_all, attach_turns
from ovis_app.media.content_hash import digest
from ovis_app.media.frames import clip_of_frames
from ovis_app.media.images import open_image, upright_size
from ovis_app.media.page_range import PageRange
from ovis_app.media.question_pages import PageChoice, grouped_with_pages, turns_with_pages, with_pages
from ovis_app.media.shown import with_copies
from ovis_app.media.split import pieces, split
from ovis_app.media.told_sizes import frame_sizes
from ovis_app.media.video import Clip, VideoInfo, probe, sample_frames, thumbnail

__all__ = [
    "Clip",
    "PageChoice",
    "PageRange",
    "VideoInfo",
    "attach",
    "attach_all",
    "attach_turns",
    "clip_of_frames",
    "digest",
    "frame_sizes",
    "grouped_with_pages",
    "open_image",
    "pieces",
    "probe",
    "sample_frames",
    "split",
    "thumbnail",
    "turns_with_pages",
    "upright_size",
    "with_copies",
    "with_pages",
]
