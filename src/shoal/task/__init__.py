"""What a network is for, and how alike two of its answers are for that.

:func:`task_of` gives the :class:`Task` of a network, which compares two answers to one image over
all outputs; :func:`guess` is what a graph shows of it. One file for each task. No I/O (but to load
a function of the user's), no engine.
"""

from shoal.task.agreement import Agreement as Agreement
from shoal.task.agreement import Judge as Judge
from shoal.task.agreement import Outputs as Outputs
from shoal.task.agreement import Task as Task
from shoal.task.choose import check_task as check_task
from shoal.task.choose import task_of as task_of
from shoal.task.classifier import Classifier as Classifier
from shoal.task.guesses import Guess as Guess
from shoal.task.guesses import guess as guess
