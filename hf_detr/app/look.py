"""How the page looks: colours, fonts that every computer has, and a little CSS."""

import gradio as gr

FONTS = ("ui-sans-serif", "system-ui", "Segoe UI", "Helvetica Neue", "Arial", "sans-serif")
MONO_FONTS = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")

CSS = """
.gradio-container { max-width: min(1240px, 100vw) !important; margin: 0 auto !important; }
.gradio-container .main, .contain, .contain .column, .contain .tabs, .contain .tabitem {
  min-width: 0; max-width: 100%;
}
@media (max-width: 640px) {
  .gradio-container .main { padding: 12px !important; }
  /* one row, so that the results are not far */
  #picture-examples .gallery, #video-examples .gallery { flex-wrap: nowrap; overflow-x: auto; }
  #picture-examples .gallery > *, #video-examples .gallery > * { flex: none; }
  #drawn, #video-drawn { height: auto !important; min-height: 200px; }
}
#head h1 { font-size: 1.7rem; line-height: 1.2; margin: .4rem 0 .3rem; overflow-wrap: anywhere; }
#head p, #foot { color: var(--body-text-color-subdued); font-size: .9rem; margin: 0; }
#head .facts { display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; }
#foot { text-align: center; padding: .8rem 0; }
#head, #summary, #video-summary { padding: 0 !important; }
#head .prose, #summary .prose, #video-summary .prose, .html-container { padding: 0 !important; }
.table-wrap, .table-wrap * { font-family: var(--font) !important; }
/* Trimming would load a program from elsewhere. */
#video button[aria-label^="Trim"], #video button[aria-label^="Reset video"] { display: none; }
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
