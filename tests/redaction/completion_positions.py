"""The positions of the completion context."""

from tests.redaction.planting import MODEL, Stage, position
from tests.redaction.positions import chat, said, with_a_local

COMPLETION = "completion"


@position(COMPLETION, "prompt")
def _(stage: Stage) -> None:
    with stage.logger.completion(prompt=stage.text(), model=MODEL) as call:
        call.response("Fine.")


@position(COMPLETION, "response")
def _(stage: Stage) -> None:
    with stage.logger.completion(prompt="Hi.", model=MODEL) as call:
        call.response(chat(said(stage.text(), "assistant")))


@position(COMPLETION, "field")
def _(stage: Stage) -> None:
    with stage.logger.completion(prompt="Hi.", model=MODEL, metadata=stage.mapping()) as call:
        call.response("Fine.")


@position(COMPLETION, "error")
def _(stage: Stage) -> None:
    with stage.logger.completion(prompt="Hi.", model=MODEL) as call:
        call.error(stage.text())


@position(COMPLETION, "exception in the block")
def _(stage: Stage) -> None:
    try:
        with stage.logger.completion(prompt="Hi.", model=MODEL):
            raise ConnectionError(stage.text())
    except ConnectionError:
        pass


@position(COMPLETION, "local variable of the block", shown=False)
def _(stage: Stage) -> None:
    try:
        with stage.logger.completion(prompt="Hi.", model=MODEL):
            with_a_local(stage)
    except RuntimeError:
        pass


@position(COMPLETION, "awaited: prompt")
async def _(stage: Stage) -> None:
    async with stage.logger.completion(prompt=[said(stage.text())], model=MODEL) as call:
        call.response("Fine.")


@position(COMPLETION, "awaited: exception in the block")
async def _(stage: Stage) -> None:
    try:
        async with stage.logger.completion(prompt="Hi.", model=MODEL):
            raise TimeoutError(stage.text())
    except TimeoutError:
        pass
