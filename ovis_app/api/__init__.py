"""What programs call. Gradio lives here; torch, transformers and the page don't."""
