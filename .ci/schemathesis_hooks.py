"""What Schemathesis must not do to itself."""

import os
import re
import uuid

import schemathesis

OWN = {os.environ.get(f"SCHEMATHESIS_OWN_{name}", "") for name in ("KEY", "USER", "ORGANIZATION")}
# Of every kind of id there is one that nothing has.
NOBODY = "01h455vb4pex5vsknk084sn02q"


@schemathesis.hook
def before_call(context, case, kwargs):
    key = (case.headers or {}).get("Idempotency-Key")
    # Used for another request, a key is refused, and the values that are tried first, `0`, are tried often.
    if isinstance(key, str) and re.fullmatch("[!-~]{1,255}", key):
        case.headers["Idempotency-Key"] = uuid.uuid4().hex
    spare_own(case)


def spare_own(case):
    """The credential that the run calls with stays alive: it meets its own id in lists, and would revoke it.

    Reads are left alone, and so are bodies, but for the one that revokes whatever somebody made. A write to one of these
    ids is sent to one that nothing has.
    """
    if case.method.upper() in ("GET", "HEAD", "OPTIONS", "TRACE"):
        return
    for name, value in (case.path_parameters or {}).items():
        if value in OWN:
            case.path_parameters[name] = f"{value.split('_')[0]}_{NOBODY}"
    if case.path.endswith("/v1/api-keys:revoke") and isinstance(case.body, dict):
        made_by = case.body.get("created_by")
        if isinstance(made_by, str) and made_by in OWN:
            case.body["created_by"] = f"usr_{NOBODY}"
