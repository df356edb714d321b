"""From gray slices to class probabilities, and back to the scan's own grid."""
