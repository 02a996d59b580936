"""Everything that decides a training run apart from its data. Nothing here needs torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from attribution.training.errors import ConfigurationError

SIZES: dict[str, tuple[int, int, int]] = {  # layers, width, heads
    "tiny": (2, 128, 4),
    "mini": (4, 256, 4),
    "small": (6, 384, 6),
    "gpt2": (12, 768, 12),
}


class TrainingConfiguration(BaseModel):
    """The parameters of a training run, checked when made.

    Use `TrainingConfiguration.of` for values that a person typed: it raises one line instead of a report.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: Literal["tiny", "mini", "small", "gpt2"] = "tiny"  # a GPT-2 shape from SIZES, where `model` is not given
    layers: int | None = Field(default=None, ge=1)  # these three replace the size's own
    width: int | None = Field(default=None, ge=1)
    heads: int | None = Field(default=None, ge=1)
    model: Path | None = None  # a local transformers checkpoint, in place of a size
    tokenizer: Path | None = None  # a tokenizer.json, or a folder with one; else the checkpoint's, else a trained one
    vocabulary: int = Field(default=2048, ge=257)  # of a trained tokenizer: 256 bytes, the end of text, and merges
    context: int = Field(default=128, ge=2)  # tokens a block
    batch_rows: int = Field(default=16, ge=1)  # blocks a step
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    weight_decay: float = Field(default=0.01, ge=0, allow_inf_nan=False)
    momentum: float = Field(default=0.9, ge=0, lt=1)  # SGD's
    warmup: float = Field(default=0.1, ge=0, le=1)  # share of the steps; then a cosine to a tenth
    clip_norm: float | None = Field(default=1.0, gt=0)
    epochs: int = Field(default=1, ge=1)
    max_steps: int | None = Field(default=None, ge=1)
    validation_rows: int = Field(default=16, ge=1)  # blocks a task, spread evenly over its text
    seed: int = Field(default=0, ge=0, lt=2**32)
    threads: int | None = Field(default=None, ge=1)
    method: Literal["path", "first_order", "second_order", "exact"] = "path"
    tolerance: float = Field(default=1e-3, gt=0, allow_inf_nan=False)
    every: tuple[Annotated[int, Field(ge=1)] | Literal["run"], ...] = (1,)  # steps a path; more are valued beside it
    memory: Literal["buffered", "ghost"] = "buffered"
    scores: bool = False  # a score for each block and step
    displacements: bool = False  # a file of what each contributor did to the parameters over the run
    counterfactual: bool = False  # value absence beside what happened, see docs/counterfactual.md
    overlap: Literal["refuse", "report"] = "refuse"  # what to do about objective records in the training data

    @field_validator("every", mode="before")
    @classmethod
    def _lengths_of_paths(cls, given: Any) -> tuple[Any, ...]:
        lengths = [given] if isinstance(given, (int, str)) else list(given)
        found = tuple(int(length) if str(length).isdecimal() else length for length in lengths)
        for length in found:
            if length != "run" and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
                raise ValueError(f"a path covers a number of steps from 1 on, or the whole 'run', not {length!r}")
        if not found or len(set(found)) != len(found):
            raise ValueError(f"each length of path is named once, not {', '.join(map(str, found)) or 'never'}")
        return found

    @model_validator(mode="after")
    def _options_that_go_together(self) -> TrainingConfiguration:
        if self.memory == "ghost" and (self.every != (1,) or self.method == "exact" or self.displacements):
            raise ValueError(
                "memory ghost keeps no displacements: it goes with every 1 alone and not with method exact or "
                "displacements"
            )
        if self.scores and (self.every[0] != 1 or self.method == "exact"):
            raise ValueError("scores need a path for each step: every 1, or first of several, and not method exact")
        if self.counterfactual and (self.memory == "ghost" or 1 not in self.every or self.method == "exact"):
            raise ValueError(
                "counterfactual values need memory buffered and a path for each step: every 1, alone or among several, "
                "and not method exact"
            )
        return self

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> TrainingConfiguration:
        _, width, heads = self.shape
        if self.model is None and width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        if self.model is not None and (self.layers or self.width or self.heads):
            raise ValueError("layers, width and heads belong to a size, not to a checkpoint given by model")
        return self

    @property
    def shape(self) -> tuple[int, int, int]:
        """Layers, width and heads of the GPT-2 shape."""
        layers, width, heads = SIZES[self.size]
        return self.layers or layers, self.width or width, self.heads or heads

    @classmethod
    def of(cls, **parameters: Any) -> TrainingConfiguration:
        """A configuration from a person's input.

        Raises `ConfigurationError`, naming the parameter, if a value makes no sense.
        """
        try:
            return cls(**parameters)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            message = first["msg"].removeprefix("Value error, ")
            raise ConfigurationError(f"{name + ': ' if name else ''}{message}") from error
