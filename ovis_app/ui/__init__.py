"""The page. Gradio lives here; torch, transformers and the backends don't."""
