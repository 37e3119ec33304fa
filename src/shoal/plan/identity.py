"""What names a playbook, and the playbooks that follow from one."""

from __future__ import annotations

import msgspec
import xxhash

from shoal.plan.plan import Plan, Playbook


def playbook_id(playbook: Playbook) -> str:
    """The name of a playbook's content: 32 hex digits, the same whatever its ``id`` field says."""
    blank = msgspec.structs.replace(playbook, id="")
    # Through JSON and back, so that 10 and 10.0 are the same number here and in a file.
    plain = msgspec.json.decode(msgspec.json.encode(blank), type=Playbook)
    data = msgspec.json.encode(plain, order="deterministic")
    return xxhash.xxh3_128_hexdigest(data)


def from_reserve(playbook: Playbook, plan: Plan) -> Playbook:
    """A playbook of one plan of another that has it in reserve, to be in place beside it."""
    used = {part for stage in plan.stages for part in stage.parts.values()}
    alone = msgspec.structs.replace(
        playbook,
        plans=(msgspec.structs.replace(plan, reserve=None),),
        parts={name: info for name, info in playbook.parts.items() if name in used},
    )
    return msgspec.structs.replace(alone, id=playbook_id(alone))
