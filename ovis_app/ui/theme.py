"""How the page looks before any of its own CSS: one accent, system fonts, nothing fetched from elsewhere."""

from __future__ import annotations

import gradio as gr

SYSTEM = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def theme() -> gr.themes.Base:
    """The theme that the page is launched with."""
    return gr.themes.Base(
        primary_hue=gr.themes.colors.teal,
        secondary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        font=SYSTEM,
        font_mono=MONO,
        radius_size=gr.themes.sizes.radius_lg,
    ).set(
        body_text_color="*neutral_900",
        body_text_color_dark="*neutral_100",
        body_text_color_subdued="#566479",  # 6:1 on white, 5.5:1 on the secondary fill
        body_text_color_subdued_dark="*neutral_400",
        input_placeholder_color="#566479",
        input_placeholder_color_dark="#a9b6c8",
        color_accent="*primary_700",
        color_accent_soft="#e4f5f2",
        color_accent_soft_dark="#12312f",
        body_background_fill_dark="#0d1420",
        background_fill_primary_dark="#0d1420",
        background_fill_secondary="*neutral_100",
        background_fill_secondary_dark="#1a2433",
        border_color_primary_dark="#2a3648",
        input_border_color="*neutral_300",
        input_border_color_dark="#37465c",
        slider_color="*primary_700",
        slider_color_dark="*primary_400",
        checkbox_background_color_selected="*primary_700",
        checkbox_background_color_selected_dark="*primary_500",
        checkbox_border_color="*neutral_400",
        checkbox_border_color_dark="*neutral_500",
        checkbox_border_color_selected="*primary_700",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        link_text_color="*primary_700",
        link_text_color_dark="*primary_300",
    )
