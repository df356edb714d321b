"""What the lessons need besides the library's work: showing and saving, scans, checks, quizzes."""

from spineseg.course.checks import check
from spineseg.course.lesson import Lesson
from spineseg.course.plan import course_plan
from spineseg.course.quizzes import quiz
from spineseg.course.scans import require_scans
from spineseg.course.set_up import check_set_up
from spineseg.course.tables import as_p, titled

__all__ = [
    "Lesson",
    "as_p",
    "check",
    "check_set_up",
    "course_plan",
    "quiz",
    "require_scans",
    "titled",
]
