"""What these bytes are: the signatures of every format, their readings, and the choice among them."""
