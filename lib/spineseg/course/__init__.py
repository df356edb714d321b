"""What the lessons need besides the library's work: showing and saving, scans, checks, quizzes."""

from spineseg.course.checks import check
from spineseg.course.lesson import Lesson
from spineseg.course.quizzes import quiz
from spineseg.course.scans import require_scans
from spineseg.course.tables import as_p, titled

__all__ = ["Lesson", "as_p", "check", "quiz", "require_scans", "titled"]
