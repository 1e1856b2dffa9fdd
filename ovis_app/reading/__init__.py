"""Pages to Markdown: documents and pictures in, one text and a folder of figures out. Knows files, pages and what a
model may write; refuses to know who answers."""
