"""S6: the loop that lets the local model try, see what happened, and try again."""
