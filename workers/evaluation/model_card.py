"""A model card: what a model is for, what it is worth and where it ends, as Markdown.

Mitchell et al., FAT* 2019, "Model Cards for Model Reporting".
"""

from core.labels import LABELS
from workers.evaluation import wording
from workers.evaluation.report import ReportFacts, template_environment

_SPECIAL = "\\`*_{}[]<>#|&~"


def render_model_card(facts: ReportFacts) -> bytes:
    """The card, UTF-8. Names from outside are escaped."""
    environment = template_environment(autoescape=False)
    environment.filters["text"] = escaped
    text = environment.get_template("model_card.md.j2").render(
        facts=facts,
        e=facts.judgement.evaluation,
        labels=LABELS,
        scores=wording.score_rows(facts.judgement.evaluation),
        wording=wording,
    )
    return text.rstrip().encode() + b"\n"


def escaped(value: object) -> str:
    """A name from outside as plain words of Markdown, on one line."""
    words = " ".join(str(value).split())
    return "".join(f"\\{character}" if character in _SPECIAL else character for character in words)
