"""The API that programs know from OpenAI and vLLM: what it says (protocol), how files come and go (files), how an
answer is made (serving), and where it is found (routes)."""
