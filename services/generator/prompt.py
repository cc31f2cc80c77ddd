"""What the AI provider is asked to draw, in words. A change here changes every picture: compare before and after."""

PROMPT = """\
Turn this photo into a finished picture that its owner would frame.

Keep what makes it theirs: the same people and animals with the same faces, the same number of them, the same pose,
place and framing. Repair what a photographer would repair: exposure, colour, noise, sharpness, distracting clutter.
Add no person, text, logo, signature, border or watermark.

Answer with exactly one image in the photo's aspect ratio, and no text."""
