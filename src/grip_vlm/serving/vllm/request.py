"""What a request says in `mm_processor_kwargs`: a budget, and perhaps the question. All of it is checked here."""

from collections.abc import Mapping
from dataclasses import dataclass

from grip_vlm.budget import Budget
from grip_vlm.vlms.prompts import check_texts

KNOWN = ("budget", "question")


@dataclass(frozen=True)
class Request:
    """A checked request."""

    budget: Budget | None
    """None keeps all visual tokens of every image."""
    question: str | None
    """None: the prompt tells it."""

    @classmethod
    def parse(cls, given: Mapping[str, object], default: str | int | float, has_scorer: bool) -> "Request":
        """Read `mm_processor_kwargs`.

        Args:
            default: the server's budget.
            has_scorer: whether the server can prune.

        Raises:
            ValueError: a keyword is unknown, the budget is impossible or depends on more than the number of tokens, the
                question is no text, or the server has no scorer. vLLM answers 400 with the message.
        """
        if unknown := sorted(set(given) - set(KNOWN)):
            # The server runs with --trust-request-mm-kwargs, which lets every keyword of the processor in.
            raise ValueError(f"unknown mm_processor_kwargs {', '.join(unknown)}; known are {' and '.join(KNOWN)}")
        budget = exact_budget(given.get("budget", default))
        if budget is not None and not has_scorer:
            raise ValueError("this server has no scorer and keeps all visual tokens; leave the budget out")
        question = given.get("question")
        if "question" in given:
            check_texts("question", [question])  # type: ignore[list-item]
        assert question is None or isinstance(question, str)
        return cls(budget, question)


def exact_budget(value: object) -> Budget | None:
    """The budget that a value means, None if it keeps all tokens.

    Raises:
        ValueError: it is not one, or it is a goal. A goal's count depends on scores of the image, which exist only in
            the model, but vLLM fixes each prompt's length before it, where only the question is known.
    """
    budget = Budget.parse(value)  # type: ignore[arg-type]
    if budget.goal is not None:
        raise ValueError(
            f"the budget {value!r} depends on the image or the clock, but vLLM fixes the length of a prompt where only "
            "the question is known; give a number of tokens (64), a fraction (0.1) or a percentage (10%)"
        )
    return None if budget.fraction == 1 else budget
