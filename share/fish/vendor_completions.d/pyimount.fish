# Completion of pyimount in fish: asked of the program itself when it is first wanted, so always as it is.
pyimount completion fish 2>/dev/null | source
