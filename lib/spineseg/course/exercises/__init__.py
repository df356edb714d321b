"""The exercises of each lesson, and how their answers are judged: one module per lesson."""
