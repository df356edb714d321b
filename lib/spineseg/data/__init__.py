"""From scan files to arrays: reading, checking, simulating, preprocessing, splitting."""
