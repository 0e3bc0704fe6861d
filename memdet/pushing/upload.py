"""Upload of files to a data set of the Hugging Face hub: all in one commit, or none."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from memdet.errors import UserError
from memdet.samplesets.fetch import no_telemetry

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LONGEST = 96
_OF_THE_HUB = {".gitattributes"}  # which it puts into a new repository


def check_target(repo: str, *, offline: bool = False) -> None:
    """Refuse what cannot be uploaded to, before anything is made.

    Args:
        repo: ``owner/name``.
        offline: Whether no connection may be opened.

    Raises:
        UserError: No name of a repository, no connection is allowed, or nobody is logged in.

    Example:
        >>> check_target("name")
        Traceback (most recent call last):
        memdet.errors.UserError: `to` 'name' is no repository of the hub: say owner/name, your own name first
    """
    from huggingface_hub import constants, get_token

    if not isinstance(repo, str) or not _NAME.fullmatch(repo) or len(repo) > _LONGEST or re.search(r"--|\.\.", repo):
        said = f"`to` {repo!r} is no repository of the hub: say owner/name, your own name first"
        raise UserError(said, parameters=("to",))
    if offline or constants.HF_HUB_OFFLINE:
        who = "`offline`" if offline else "HF_HUB_OFFLINE"
        raise UserError(f"{who} opens no connection, and a push needs one: leave it out", parameters=("offline",))
    if not get_token():
        raise UserError(
            "nobody is logged in to the Hugging Face hub: `hf auth login`, or HF_TOKEN of one that may write"
        )


def push_files(repo: str, files: Mapping[str, bytes], *, private: bool, message: str) -> str:
    """Make a data set, or add a commit to one, with these files.

    Args:
        repo: ``owner/name``, made if there is none; see :func:`check_target`.
        files: By name. A file of the same name is replaced.
        private: Whether only its owner may read it.
        message: Of the commit.

    Returns:
        Address of the data set.

    Raises:
        UserError: The hub refuses, or does not answer; the repository holds files of something else; or it is public
            and must be private. Nothing was uploaded then.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    api = HfApi()
    try:
        with no_telemetry():
            api.create_repo(repo, repo_type="dataset", private=private or None, exist_ok=True)
            _check_what_is_there(api, repo, files, private)
            operations = [CommitOperationAdd(name, data) for name, data in files.items()]
            api.create_commit(repo, operations, commit_message=message, repo_type="dataset")
    except UserError:
        raise
    except Exception as error:  # the hub's client raises many kinds; the user needs one line
        raise _refusal(error, repo) from error
    return f"{api.endpoint}/datasets/{repo}"


def _check_what_is_there(api: HfApi, repo: str, files: Mapping[str, bytes], private: bool) -> None:
    info = api.repo_info(repo, repo_type="dataset")
    if private and not info.private:
        raise UserError(
            f"{repo} is there and public: make it private on its page, or name a new one", parameters=("to",)
        )
    held = {sibling.rfilename for sibling in info.siblings or []}
    if others := sorted(held - set(files) - _OF_THE_HUB):
        named = ", ".join(others[:3]) + (f" and {len(others) - 3} more" if len(others) > 3 else "")
        raise UserError(f"{repo} is there and holds other files ({named}): name a new one", parameters=("to",))


def _refusal(error: Exception, repo: str) -> UserError:
    """One line on why nothing was uploaded."""
    status = getattr(getattr(error, "response", None), "status_code", None)
    reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    if status == 401:
        return UserError("the hub does not know this token: `hf auth login`, or HF_TOKEN with one that may write")
    if status in {403, 404}:
        owner = repo.partition("/")[0]
        return UserError(f"the hub does not let this token write to {repo}: say your own name for {owner}, or take a "
                         "token that may write")  # fmt: skip
    if status is None:
        return UserError(f"the hub does not answer ({reason}): check the network and push again")
    return UserError(f"the hub refused {repo} ({reason}); nothing was uploaded")
