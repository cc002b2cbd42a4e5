"""Boards as LaTeX: as many cells as columns, names escaped, citations that resolve, flags explained; compiled where TeX is."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest

from leaderboard.bibtex import bibtex, parse
from leaderboard.latex import latex
from leaderboard.rows import boards


def body(text):
    """The lines of cells between the rules."""
    return [line.strip().removesuffix(r"\\").strip() for line in text.splitlines() if line.endswith(r" \\")]


def cells(line):
    return re.split(r"(?<!\\)&", line)


def test_every_line_has_as_many_cells_as_columns(made):
    for table in latex(boards(made.store())).split(r"\begin{table}")[1:]:
        (columns,) = re.findall(r"\\begin\{tabular\}\{(\w+)\}", table)
        assert len(body(table)) >= 2
        assert {len(cells(line)) for line in body(table)} == {len(columns)}


def test_values_ranks_and_the_caption(made):
    text = latex(boards([made.system("a", robust=0.5), made.system("a", robust=0.5), made.failed("b")]))
    head, first, _, failed = body(text)
    assert [cell.strip() for cell in cells(first)][:4] == ["$=$1", "a", "90.0", "50.0 (46.9--53.1)"]
    assert [cell.strip() for cell in cells(failed)][::3][:2] == ["--", "--"]
    assert r"\shortstack[r]{$\ell_\infty$ 0.1\\oblivious (\%)}" in head
    (caption,) = re.findall(r"\\caption\{(.*)\}", text)
    assert r"fashion\_mnist, cnn; $\ell_\infty$ 0.1, adaptive" in caption
    assert r"Suite fashion-1, size official, seed 0, 1\,000 test inputs, 2026-11-24." in caption


def test_flags_are_a_dagger_with_a_note(made):
    flags = [made.flag("zero-gradient", fired=True), made.flag("random", fired=True, severity="info")]
    text = latex(boards([made.system("a_b", flags=flags), made.system("c", flags=flags[1:])]))
    assert r"a\_b$^{\dagger}$" in text
    assert r"A flag speaks against the number: a\_b: zero-gradient." in text
    assert "random" not in text


def test_citations_resolve(made):
    told = {"name": "Mine", "authors": ["A. B."], "paper": "https://example.org"}
    found = boards([*made.store(), made.system("x.py:X", submission=told)])
    cited = {key for group in re.findall(r"\\cite\{([^}]*)\}", latex(found)) for key in group.split(",")}
    assert {"madry2018towards", "jamil2023leveraging"} <= cited
    assert any(key.startswith("mine-") for key in cited)
    assert cited <= {entry.key for entry in parse(bibtex(found))}


def test_patches_notes_and_earlier_suites(made):
    patch = {"norm": "patch", "epsilon": 5, "knowledge": "adaptive"}
    text = latex(boards([made.system(headline=patch, dataset_note="A stand-in."), made.system(suite="fashion-0")]))
    assert r"patch 5$\times$5 px" in text
    assert "{\\footnotesize A stand-in.}" in text
    assert "An earlier suite" in text


def test_results_that_ship_are_marked(made):
    text = latex(boards([made.system("a", reference=True), made.system("b")]))
    assert r"a$^{\circ}$" in text
    assert r"b$^{\circ}$" not in text
    assert r"$^{\circ}$~A result that ships with the package." in text


def test_an_empty_store_is_a_comment():
    assert latex([]).startswith("% No systems yet")


NASTY = 'a & b_c $x^2$ 50% #1 {y} ~ \\input{/etc/passwd} <t> | "q" } é'


def test_a_stranger_cannot_write_latex(made):
    text = latex(boards([made.system(NASTY, dataset="d_1%", victim="#v", suite="s_1")]))
    _, line = body(text)
    assert r"\textbackslash{}input\textbraceleft{}/etc/passwd\textbraceright{}" in line
    assert len(cells(line)) == len(cells(body(text)[0]))
    assert r"d\_1\%, \#v" in text


@pytest.mark.skipif(not (shutil.which("pdflatex") and shutil.which("bibtex")), reason="no TeX here")
def test_tex_sets_it(made, tmp_path):
    told = {"name": NASTY, "authors": [NASTY], "paper": "https://example.org/a_b%20c#d?e={f}&g=~h"}
    found = boards([*made.store(), made.system(NASTY, submission=told)])
    (tmp_path / "board.tex").write_text(latex(found), encoding="utf-8")
    (tmp_path / "board.bib").write_text(bibtex(found), encoding="utf-8")
    (tmp_path / "main.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs,graphicx}\\begin{document}\\input{board}"
        "\\nocite{*}\\bibliographystyle{plain}\\bibliography{board}\\end{document}"
    )
    tex = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "main"]
    for command in (tex, ["bibtex", "main"], tex, tex):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=60)
        assert done.returncode == 0, done.stdout[-2000:]
    log = (tmp_path / "main.log").read_text(encoding="latin-1")
    assert "undefined" not in log
    assert (tmp_path / "main.pdf").stat().st_size > 10_000
