"""How the page looks: colours, fonts that every computer has, and a little CSS."""

import gradio as gr

FONTS = ("ui-sans-serif", "system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

CSS = """
.gradio-container { max-width: 1240px !important; margin: 0 auto !important; }
#head h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0 .3rem; overflow-wrap: anywhere; }
#head p, #foot { color: var(--body-text-color-subdued); font-size: .9rem; margin: 0; }
#head .facts { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; }
#foot { text-align: center; padding: .8rem 0; }
#head, #summary, #video-summary { padding: 0 !important; }
#head *, #summary *, #video-summary * { padding-inline: 0; }
.table-wrap, .table-wrap * { font-family: var(--font) !important; }
.summary { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem; min-height: 2rem; font-size: .95rem; }
.summary .total { font-weight: 600; margin-right: .4rem; }
.summary .chip { display: inline-flex; align-items: center; gap: .35rem; padding: .1rem .6rem; border-radius: 999px;
  background: var(--background-fill-secondary); border: 1px solid var(--border-color-primary); }
.summary .chip i { width: .7rem; height: .7rem; border-radius: 3px; display: inline-block; }
"""


def theme() -> gr.themes.Base:
    """Gradio's plain theme with the fonts of the visitor's computer: nothing is fetched from elsewhere."""
    return gr.themes.Default(
        primary_hue=gr.themes.colors.teal,
        neutral_hue=gr.themes.colors.slate,
        radius_size=gr.themes.sizes.radius_md,
        font=FONTS,
        font_mono=MONO_FONTS,
    )
