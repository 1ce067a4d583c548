"""The command line answers, and its user's mistakes end with code 2 and one line."""

import json
import sys

import pytest
from PIL import Image

from grip_vlm import benchmarks, checkpoint, pruners, vlms
from grip_vlm.benchmarks.scenes.pixels import digits
from grip_vlm.cli import main
from grip_vlm.evaluation.rows import read
from grip_vlm.pruners.methods import random


@pytest.fixture(scope="module")
def image(tmp_path_factory):
    path = tmp_path_factory.mktemp("cli") / "scene.png"
    benchmarks.example("reading", "dev", 0).image.save(path)
    return str(path)


@pytest.fixture
def ask(image, vlm_dir):
    """Arguments of `answer`, with some of them changed; None takes one out."""

    def arguments(**changes):
        flags = {"image": image, "question": "What number is it?", "vlm": str(vlm_dir), "pruner": "random", **changes}
        given = [(f"--{name}", value) for name, value in flags.items() if value is not None]
        return ["answer", *(word for pair in given for word in pair)]

    return arguments


@pytest.fixture
def mistake(capsys):
    """Run arguments that must fail the right way; returns the line on stderr."""

    def run(arguments):
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        said = capsys.readouterr()
        assert stop.value.code == 2
        assert said.out == ""
        (line,) = said.err.splitlines()
        assert line.startswith("grip-vlm: ")
        assert "Traceback" not in line
        return line

    return run


# ---- mistakes --------------------------------------------------------------------------------------------------------


def test_a_wrong_flag_is_named(mistake, ask):
    assert "--colour" in mistake([*ask(), "--colour", "red"])


@pytest.mark.parametrize(
    "arguments", [[], ["reply"], ["list"], ["list", "scorers"], ["answer", "--seed", "x"]], ids=str
)
def test_arguments_that_make_no_command_are_refused(mistake, arguments):
    assert len(mistake(arguments)) > 20


def test_a_forgotten_question_is_named(mistake, ask):
    assert "--question" in mistake(ask(question=None))


def test_a_missing_image_is_named(mistake, ask, tmp_path):
    assert mistake(ask(image=str(tmp_path / "no.png"))).endswith("no.png'")


def test_a_broken_image_is_named(mistake, ask, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and then nothing")
    assert "broken.png' is not an image that can be read" in mistake(ask(image=str(tmp_path / "broken.png")))


def test_a_folder_is_not_an_image(mistake, ask, tmp_path):
    assert "is not an image that can be read" in mistake(ask(image=str(tmp_path)))


def test_an_unknown_pruner_is_refused_with_the_known_ones(mistake, ask):
    assert "unknown pruner 'magic'; choose from attention_distill, blind, " in mistake(ask(pruner="magic"))


def test_an_untrained_pruner_refuses_a_scorer(mistake, ask, tmp_path):
    assert "pruner 'random' has no scorer" in mistake(ask(scorer=str(tmp_path)))


def test_a_vlm_without_a_scorer_is_named(mistake, ask, vlm_dir):
    assert f"no scorer is shipped for '{vlm_dir}'" in mistake(ask(pruner="grip"))


@pytest.mark.parametrize("name", ["no/such-model", "no-such-model", "no such model", "../nowhere"])
def test_an_unknown_vlm_is_named(mistake, ask, name):
    assert f"no VLM '{name}'" in mistake(ask(vlm=name))


def test_a_vlm_without_weights_is_named(mistake, ask, vlm_dir, tmp_path):
    (tmp_path / "config.json").write_bytes((vlm_dir / "config.json").read_bytes())
    assert str(tmp_path) in mistake(ask(vlm=str(tmp_path)))


def test_a_model_without_an_adapter_is_named(mistake, ask, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "bert has no image_token_id; verified families: aya_vision, " in mistake(ask(vlm=str(tmp_path)))


@pytest.mark.parametrize("budget", ["0", "2.5", "nan", "-3", "inf", "150%", "some", ""])
def test_an_impossible_budget_is_refused_with_the_rule(mistake, ask, budget):
    assert "a budget is a whole number of tokens (64)" in mistake([*ask(), f"--budget={budget}"])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--benchmarks", "vqa"], "unknown benchmark 'vqa'"),
        (["--benchmarks", "scenes,pope:loose"], "benchmark 'pope' has no variant 'loose'"),
        (["--benchmarks", "no.jsonl"], "no benchmark file 'no.jsonl'"),
        (["--benchmarks", "pope", "--data-root", "nowhere"], "no copy of benchmark 'pope' in nowhere"),
        (["--shard", "0/2"], "a shard is i/n with 1 <= i <= n, got 0/2"),
        (["--shard", "half"], "a shard is i/n, such as 2/8, got 'half'"),
        (["--pruners", "full,nothing"], "unknown pruner 'nothing'"),
        (["--pruners", "grip=tiny-llava,full,grip=tiny-llava"], "a pruner is named twice"),
        (["--budgets", "0.1,2.5"], "a budget is a whole number of tokens (64)"),
        (["--limit", "0"], "limit and batch must be at least 1"),
        (["--batch", "0"], "limit and batch must be at least 1"),
        (["--pruners", "full", "--vlm", "no/such-model"], "no VLM 'no/such-model'"),
        (["--split", "holdout"], "split"),
    ],
)
def test_evaluate_names_what_is_wrong_before_it_writes(mistake, tmp_path, vlm_dir, flags, said):
    arguments = ["evaluate", "--out", str(tmp_path / "rows.jsonl"), "--vlm", str(vlm_dir), "--pruners", "full"]
    assert said in mistake([*arguments, *flags])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("flag", ["--draw", "--out"])
def test_a_file_that_cannot_be_written_is_named(capsys, ask, image, vlm_dir, flag):
    """The VLM is loaded by then, and its progress bar stands before the line."""
    below_a_file = f"{image}/file"
    evaluate = ["evaluate", "--vlm", str(vlm_dir), "--pruners", "full", "--limit", "1"]
    with pytest.raises(SystemExit) as stop:
        main([*(ask() if flag == "--draw" else evaluate), flag, below_a_file])
    assert stop.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("grip-vlm: ")
    assert image in last


def test_pareto_names_rows_that_are_missing(mistake, tmp_path):
    rows, figure, table = (str(tmp_path / name) for name in ("no.jsonl", "figure.png", "table.md"))
    assert f"no rows at '{rows}'" in mistake(["pareto", rows, "--out", figure, "--table", table])


# ---- what it does ----------------------------------------------------------------------------------------------------


def test_a_missing_extra_is_named_with_what_brings_it(capsys, monkeypatch, tmp_path):
    digits.cache_clear()
    monkeypatch.setitem(sys.modules, "sklearn.datasets", None)
    words = ["--pruners", "full", "--benchmarks", "reading", "--budgets", "0.1", "--out", str(tmp_path / "rows.jsonl")]
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *words])
    assert stop.value.code == 2
    assert capsys.readouterr().err.endswith("grip-vlm: sklearn is missing; pip install 'grip-vlm[scenes]'\n")


def test_a_tracker_that_is_not_installed_is_named(capsys, tmp_path, vlm_dir):
    words = ["--vlm", str(vlm_dir), "--examples", "2", "--dev-examples", "2", "--log", "comet_ml"]
    with pytest.raises(SystemExit):
        main(["warmup", *words, "--out", str(tmp_path / "run")])
    assert "tracker 'comet_ml' is not installed" in capsys.readouterr().err


def test_help_is_not_a_mistake(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert not stop.value.code
    assert "answer" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("what", "names"),
    [("pruners", pruners.names()), ("benchmarks", benchmarks.descriptions()), ("vlms", vlms.verified())],
)
def test_list_prints_a_name_per_line(capsys, what, names):
    main(["list", what])
    printed = capsys.readouterr().out.splitlines()
    assert [line.removesuffix(" (verified family)") for line in printed if "(shipped)" not in line] == names


def test_an_answer_is_text_and_what_it_cost(capsys, ask):
    main(ask(budget="10%"))
    assert "(20 of 196 visual tokens, " in capsys.readouterr().out


def test_an_answer_as_json_is_one_object_of_the_contract(capsys, ask):
    main([*ask(budget="9"), "--json"])
    (line,) = capsys.readouterr().out.splitlines()
    answer = json.loads(line)
    assert list(answer) == ["text", "tokens", "kept", "kept_indices", "seconds"]
    assert (answer["tokens"], answer["kept"], len(answer["kept_indices"])) == (196, 9, 9)
    assert isinstance(answer["text"], str)
    assert answer["seconds"] > 0


def test_the_same_question_has_the_same_answer_again(capsys, ask):
    answers = []
    for _ in range(2):
        main([*ask(budget="9"), "--json"])
        answers.append({**json.loads(capsys.readouterr().out), "seconds": 0})
    assert answers[0] == answers[1]


def test_the_seed_changes_what_random_keeps(capsys, ask):
    kept = []
    for seed in ("0", "1"):
        main([*ask(budget="9", seed=seed), "--json"])
        kept.append(json.loads(capsys.readouterr().out)["kept_indices"])
    assert kept[0] != kept[1]


def test_a_picture_of_the_kept_tokens_is_written(capsys, ask, tmp_path):
    main(ask(draw=str(tmp_path / "new" / "kept.png")))
    with Image.open(tmp_path / "new" / "kept.png") as picture:
        assert (picture.format, picture.size) == ("PNG", (336, 336))


def test_the_tprl_like_rival_goes_on_from_its_imitation(tmp_path, vlm_dir):
    small = ["--examples", "4", "--dev-examples", "2", "--steps", "1", "--batch", "2", "--vlm", str(vlm_dir)]
    start, out = str(tmp_path / "start"), tmp_path / "tprl"
    main(["warmup", "--imitation", "bernoulli", "--attention-share", "1", "--width", "16", "--out", start, *small])
    main(["ppo", "--init", start, "--out", str(out), *small])
    assert checkpoint.read_notes(out)["provenance"]["method"] == "tprl"
    assert pruners.load("tprl", scorer=out).checkpoint.startswith(str(out))


def test_evaluate_and_pareto_go_from_items_to_a_figure(capsys, tmp_path, vlm_dir):
    rows, figure, table = (str(tmp_path / name) for name in ("rows.jsonl", "figure.png", "table.md"))
    words = ["--vlm", str(vlm_dir), "--pruners", "full,random,blind", "--benchmarks", "reading", "--limit", "2"]
    main(["evaluate", "--out", rows, *words, "--budgets", "0.05,0.1"])
    printed = capsys.readouterr().out
    assert "| random | 0.05 | 5.1 % |" in printed
    assert printed.startswith("| pruner | budget |")
    assert printed.endswith(f"8 rows in {rows}\n")
    main(["pareto", rows, "--out", figure, "--table", table])
    assert capsys.readouterr().out.strip() == (tmp_path / "table.md").read_text().strip()
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


def test_evaluate_answers_the_items_of_its_split_and_shard_below_its_limit(tmp_path, vlm_dir):
    words = ["--vlm", str(vlm_dir), "--pruners", "blind", "--benchmarks", "pointing,presence", "--split", "dev"]
    main(["evaluate", "--out", str(tmp_path / "rows.jsonl"), *words, "--shard", "2/2", "--limit", "5"])
    rows, _ = read(tmp_path / "rows.jsonl")
    assert [row.item for row in rows] == [f"{name}/dev/{i}" for name in ("pointing", "presence") for i in (1, 3)]


def test_evaluates_seed_changes_what_random_keeps(tmp_path, vlm_dir, monkeypatch):
    kept, select = [], random.Pruner.select
    monkeypatch.setattr(random.Pruner, "select", lambda *given: kept.append(select(*given)) or kept[-1])
    words = ["--vlm", str(vlm_dir), "--pruners", "random", "--benchmarks", "presence", "--limit", "1", "--budgets", "9"]
    for seed in ("0", "1", "0"):
        main(["evaluate", "--out", str(tmp_path / f"{len(kept)}.jsonl"), *words, "--seed", seed])
    one, other, again = (action.indices() for action in kept)
    assert one == again != other


def test_a_report_compares_ours_with_the_others_over_counted_flops(capsys, tmp_path, vlm_dir):
    rows, flops, report = (str(tmp_path / name) for name in ("rows.jsonl", "flops.json", "report"))
    common = ["--vlm", str(vlm_dir), "--pruners", "full,random,uniform", "--budgets", "0.05,0.1"]
    main(["evaluate", "--out", rows, "--benchmarks", "reading", "--limit", "2", *common])
    main(["flops", "--out", flops, *common])
    capsys.readouterr()
    main(["pareto", rows, "--report", report, "--flops", flops, "--ours", "uniform"])
    said = capsys.readouterr().out
    assert said.startswith("**At 5 %**, uniform gets ")
    assert "Frontier over FLOPs per answer: " in said
    assert (tmp_path / "report" / "frontier.html").is_file()


def test_an_impossible_setting_is_told_in_the_settings_own_words(capsys, tmp_path):
    with pytest.raises(SystemExit) as stop:
        main(["warmup", "--looked", "0", "--out", str(tmp_path / "run")])
    assert stop.value.code == 2
    assert capsys.readouterr().err.startswith("grip-vlm: looked must be at least 1, got 0")
