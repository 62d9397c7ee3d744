"""All nouns of the API that are no runs, on one session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.client.access import Account, Grants, Keys, Roles, Tenants, Users
from orchestrator.client.operations import Audit, Logs, Quotas, Secrets, Variables
from orchestrator.client.workflows import Workflows

if TYPE_CHECKING:
    from orchestrator.client.transport import Http


class Nouns:
    """What a server keeps beside runs, each noun with its calls. Errors are `ZQError`s."""

    def __init__(self, http: Http) -> None:
        self.workflows = Workflows(http)
        self.logs = Logs(http)
        self.account = Account(http)
        self.users = Users(http)
        self.keys = Keys(http)
        self.roles = Roles(http)
        self.tenants = Tenants(http)
        self.grants = Grants(http)
        self.secrets = Secrets(http)
        self.variables = Variables(http)
        self.quotas = Quotas(http)
        self.audit = Audit(http)
