"""Batching of requests: requests that arrive while the model computes wait, and are computed together.

Batching does not change a result: the result of a row does not depend on the other rows of the same compiled program.
Therefore only requests that would each be padded to the smallest batch size are joined, up to that size.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import NamedTuple, TypeAlias

import numpy as np
import pyarrow as pa

from ..data.readers import Table
from ..engine.inference import BATCH_BUCKETS
from ..estimators.predictions import Answer, Told
from ..estimators.trainable import Saveable

__all__ = ["Batches"]


Asked: TypeAlias = np.ndarray | pa.Table
"""The rows of a request."""


class _Waiting(NamedTuple):
    rows: Asked
    answer: asyncio.Future[Told]


class Batches:
    """A queue that applies one operation of a model to the rows of several requests at once.

    Parameters
    ----------
    model : fitted estimator
    question : Answer
    worker : Executor
        An executor with one thread, in which the model computes.
    """

    def __init__(self, model: Saveable, question: Answer, worker: Executor) -> None:
        self._model, self._question, self._worker = model, question, worker
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None

    async def answer(self, rows: Asked) -> Told:
        """Return the result for one request's rows, a `Table` or an Arrow table; raise the model's error."""
        found: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(rows, found))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        return await found

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            together = self._next()
            if not together:
                continue
            answers = await loop.run_in_executor(self._worker, self._asked, [one.rows for one in together])
            for one, answer in zip(together, answers, strict=True):
                if one.answer.done():
                    continue
                if isinstance(answer, BaseException):
                    one.answer.set_exception(answer)
                else:
                    one.answer.set_result(answer)

    def _next(self) -> list[_Waiting]:
        """Remove the next batch of requests from the queue, without those whose client has gone."""
        together: list[_Waiting] = []
        n_rows = 0
        while self._waiting:
            one = self._waiting[0]
            if not one.answer.done():
                if together and n_rows + len(one.rows) > BATCH_BUCKETS[0]:
                    break
                together.append(one)
                n_rows += len(one.rows)
            self._waiting.popleft()
        return together

    def _asked(self, requests: Sequence[Asked]) -> Sequence[Told | Exception]:
        """Return a result or an error for each request; an error of one request does not affect the others."""
        try:
            whole = self._question(self._model, _joined(requests))
        except Exception as error:
            return [error] if len(requests) == 1 else [self._asked([one])[0] for one in requests]
        answers: list[Told] = []
        first = 0
        for rows in requests:
            answers.append(_some(whole, first, len(rows)))
            first += len(rows)
        return answers


def _joined(requests: Sequence[Asked]) -> Asked:
    if len(requests) == 1:
        return requests[0]
    if isinstance(requests[0], np.ndarray):
        dtypes = {rows.dtype for rows in requests}
        return np.concatenate([rows if len(dtypes) == 1 else rows.astype(np.float64) for rows in requests])
    return pa.concat_tables(requests)


def _some(answer: Told, first: int, n_rows: int) -> Told:
    if isinstance(answer, Table):
        return Table(answer.rows[first : first + n_rows], answer.names)
    return answer.slice(first, n_rows)
