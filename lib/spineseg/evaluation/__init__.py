"""From predictions to scores, and from scores to means, intervals and comparisons."""
