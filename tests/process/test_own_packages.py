"""Whose `workers` is imported: the order of the path, and what settings may name."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest

from orchestrator.errors import SettingsError
from orchestrator.process import own_packages
from orchestrator.process.own_packages import ROOT
from orchestrator.process.start_check import refuse_unusable
from orchestrator.settings import Broker, Redis, Settings, Worker
from workers import loadable


@pytest.fixture
def hiding(tmp_path: Path) -> str:
    (tmp_path / "web").mkdir()
    return str(tmp_path)


def test_what_hides_ours_comes_behind_it(hiding: str, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    known = os.pathsep.join([str(other), hiding, "", ROOT, str(other)])
    found = own_packages.search_path({"PYTHONPATH": known}).split(os.pathsep)
    assert found == [str(other), ROOT, hiding]
    assert own_packages.search_path({}) == ROOT


def test_a_command_line_imports_nothing_from_where_it_stands(
    hiding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hiding)
    monkeypatch.setattr(sys, "path", [hiding, "/usr/lib/python", "/site"])
    own_packages.come_first()
    assert sys.path == ["/usr/lib/python", "/site", ROOT]


def test_a_django_setting_in_the_environment_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "django").mkdir()
    (tmp_path / "django" / "__init__.py").write_text("VERSION = (5, 2)\n")
    (tmp_path / "django" / "conf.py").write_text("settings = object()\n")
    code = (
        "import sys; from orchestrator.settings import Redis, Settings\n"
        "from orchestrator.adapters.celery.app import make_celery\n"
        "before = list(sys.path)\n"
        "app = make_celery(Settings(redis=Redis(url='redis://127.0.0.1:1/0')))\n"
        "assert app.Task.__mro__[1].__module__ == 'celery.app.task', app.Task.__mro__\n"
        "assert 'django.conf' not in sys.modules and sys.path == before, sys.path\n"
    )
    path = os.pathsep.join([ROOT, str(tmp_path)])
    here = tmp_path / "here"
    here.mkdir()
    done = subprocess.run(
        [sys.executable, "-P", "-c", code],
        cwd=here, env={**os.environ, "PYTHONPATH": path, "DJANGO_SETTINGS_MODULE": "site"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_what_only_the_hidden_package_has_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_spec("web.reports") is None
    (tmp_path / "web").mkdir()
    told = (
        f"'web.reports': {tmp_path}/web and ZQAutoNXG's own {ROOT}/web have the same name. Rename"
    )
    with pytest.raises(ModuleNotFoundError, match=told):
        find_spec("web.reports")


@pytest.mark.parametrize("name", ["workers", "web.api", " migrations ", "mine, orchestrator.demo"])
def test_names_of_ours_are_no_modules_of_users(name: str) -> None:
    with pytest.raises(SettingsError, match="is a package of ZQAutoNXG itself"):
        refuse_unusable(Settings(worker=replace(Worker(), modules=name)))


@pytest.mark.parametrize("name", ["", "mine,webs", "my.workers", own_packages.DEMO])
def test_other_names_are(name: str) -> None:
    refuse_unusable(Settings(worker=replace(Worker(), modules=name)))


@pytest.mark.parametrize(
    ("broker", "redis", "setting"),
    [
        ("amqp://rabbit//", "redis://r/0", "ZQ_BROKER__URL"),
        ("sqs://", "", "ZQ_BROKER__URL"),
        ("", "unix:///run/redis.sock", "ZQ_REDIS__URL"),
    ],
)
def test_a_broker_that_is_not_supported_is_refused(broker: str, redis: str, setting: str) -> None:
    with pytest.raises(SettingsError, match=f"{setting} begins with .* no other broker"):
        refuse_unusable(Settings(broker=Broker(url=broker), redis=Redis(url=redis)))


@pytest.mark.parametrize("url", ["", "redis://r/1", "rediss://r/1"])
def test_redis_is_a_broker(url: str) -> None:
    refuse_unusable(Settings(broker=Broker(url=url)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    return tmp_path


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("import zq_nothing", "ZQ_WORKER__MODULES: zq_bad cannot be loaded: ModuleNotFoundError"),
        ("raise KeyboardInterrupt", "loading zq_bad ends the process"),
        ("import os\nos._exit(0)", "loading zq_bad ends the process"),
        ("raise ValueError('x' * 9000)", "zq_bad cannot be loaded: ValueError: xxx"),
    ],
)
def test_what_cannot_be_loaded_is_told(here: Path, source: str, told: str) -> None:
    (here / "zq_bad.py").write_text(source)
    with pytest.raises(SettingsError, match=told):
        loadable.refuse_unloadable("zq_bad")


def test_what_takes_too_long_is_told(here: Path) -> None:
    (here / "zq_slow.py").write_text("import signal\nsignal.pause()\n")
    with pytest.raises(SettingsError, match=r"zq_slow takes longer than 0\.2 s"):
        loadable.refuse_unloadable("zq_slow", timeout_s=0.2)


def test_what_can_be_loaded_leaves_nothing_behind(here: Path) -> None:
    (here / "zq_good.py").write_text("import threading\nLIVES = threading.Thread\n")
    loadable.refuse_unloadable("zq_good")
    assert "zq_good" not in sys.modules
    assert str(here) not in sys.path
