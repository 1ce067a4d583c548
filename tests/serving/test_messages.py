"""Messages of an evaluation are checked and their images opened as everywhere else."""

import pytest
from PIL import Image
from toolkit.families import load

from grip_vlm import vlms
from grip_vlm.serving.chats import checked, processor_inputs


def message(*parts):
    return {"role": "user", "content": list(parts)}


def test_an_image_is_upright_and_the_evaluations_own_message_is_left_alone():
    photo = Image.new("RGBA", (30, 20), (255, 0, 0, 255))
    photo.getexif()[0x0112] = 6
    own = message({"type": "image", "image": photo}, {"type": "text", "text": "what ?"})
    found = checked(own)["content"][0]["image"]
    assert (found.mode, found.size) == ("RGB", (20, 30))
    assert own["content"][0]["image"] is photo


@pytest.mark.parametrize("text", [None, b"what ?", "caf\udce9"])
def test_a_text_that_is_none_is_refused(text):
    with pytest.raises(ValueError, match=r"the message (must be text|.*is not text)"):
        checked(message({"type": "text", "text": text}))


def test_a_broken_chat_template_is_a_sentence():
    family = load("llava")
    vlm = vlms.wrap(family.model, family.processor, "mine")
    before = family.processor.chat_template
    family.processor.chat_template = "{{ raise_exception('one image alone') }}"
    try:
        with pytest.raises(ValueError, match="the processor does not take the conversations: one image alone"):
            processor_inputs(vlm, [[message({"type": "text", "text": "what ?"})]], None)
    finally:
        family.processor.chat_template = before
