"""The README's submission is short, keeps the contract and is scored."""

import re
from pathlib import Path

import pytest

from harness import check
from harness.submit import submit

README = Path(__file__).parent.parent / "README.md"
SMALL = {
    "datasets": ["digits"],
    "victims": [{"mlp": {"epochs": 3}}],
    "attacks": ["fgsm", {"pgd": {"steps": 5}}],
    "threats": [{"norm": "linf", "epsilons": [0.2], "knowledge": ["adaptive"]}],
    "headline": {"norm": "linf", "epsilon": 0.2, "knowledge": "adaptive"},
    "shifts": [],
    "inputs": 32,
}


@pytest.fixture
def submission(tmp_path):
    (code,) = re.findall(r"<!-- submission -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "my_defense.py"
    path.write_text(code, encoding="utf-8")
    assert len(code.splitlines()) <= 20
    return f"{path}:MyDefense"


def test_submission_keeps_the_contract(submission):
    assert [finding for finding in check.check(submission) if not finding.passed] == []


def test_submission_is_scored(submission, tmp_path):
    answer, result = submit(submission, changes=SMALL, home=tmp_path / "runs", track=False)
    assert answer["verdict"] == "scored", answer["reason"]
    assert answer["rank"] in (1, 2, 3)
    assert answer["of"] == 3
    assert result is not None
    assert 0 <= answer["robust_accuracy"] <= answer["clean_accuracy"] <= 1
