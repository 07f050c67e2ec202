"""The API's thresholds, given to the database when it starts, so that views decide by them too."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from spantree_api.config import ApiConfig
from spantree_api.database import Database
from spantree_api.errors import ApiError
from spantree_api.stored_rows import CountRow, records

_log = logging.getLogger(__name__)
_FIRST_RETRY_S: Final = 1.0
_LAST_RETRY_S: Final = 60.0


async def keep_thresholds(database: Database, config: ApiConfig) -> None:
    """Write the thresholds of `config`, again and again until the database is there and takes them. Idempotent."""
    parameters = {
        "tenant_id": config.tenant_id,
        "names": ["lost", "pending", "running", "waiting"],
        "seconds": [config.lost_after_s, config.stuck_pending_s, config.stuck_running_s, config.stuck_waiting_s],
    }
    retry_s = _FIRST_RETRY_S
    while True:
        try:
            async with database.transaction() as transaction:
                await transaction.all("keep_thresholds", parameters, records(CountRow))
        except ApiError as error:
            if retry_s >= _LAST_RETRY_S:  # once a minute: the database is away for long, or may not be written
                _log.warning("views go on with the thresholds that the database has: %s", error)
            await asyncio.sleep(retry_s)
            retry_s = min(2 * retry_s, _LAST_RETRY_S)
        else:
            return
