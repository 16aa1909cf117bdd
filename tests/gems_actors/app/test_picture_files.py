"""Files of pictures with their metadata, and the description of a draw."""

from __future__ import annotations

import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import piexif
import piexif.helper
import pytest
import sd_parsers
from msgspec import structs
from PIL import Image, ImageCms, PngImagePlugin

from gems_actors.app.picture_files import (
    BLIND_VERIFIER,
    ENDINGS,
    OutputError,
    PictureError,
    PictureFormat,
    check_writable,
    encode_json,
    parameters_of,
    picture_of,
    story_of,
    summary_lines,
    texts_of,
    write_whole,
)
from protocol.messages import AttemptPlace, DrawSettings, Failure
from tests.gems_actors.cli.stories import FIRST_PROMPT, PICTURE, SECOND_PROMPT, attempt
from tests.processes import environment


def picture_bytes(kind: str, **options: Any) -> bytes:
    """Return a small picture."""
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((64, 48)).convert("RGB").save(buffer, kind, **options)
    return buffer.getvalue()


def test_texts_are_added_to_a_png_and_its_pixels_keep_their_bytes() -> None:
    data = picture_bytes("PNG")
    tagged = picture_of(data, "image/png", "png", {"parameters": "a red dog\nSteps: 1", "gems": '{"prompt":"開店"}'})
    with Image.open(io.BytesIO(tagged)) as image:
        image.load()
        assert image.text == {"parameters": "a red dog\nSteps: 1", "gems": '{"prompt":"開店"}'}  # type: ignore[attr-defined]  # PNG only
    assert tagged.endswith(data[33:])


def test_a_picture_of_another_type_becomes_png() -> None:
    data = picture_of(picture_bytes("JPEG"), "image/jpeg", "png", {"parameters": "x"})
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("PNG", (64, 48))


@pytest.mark.parametrize(("kind", "named"), [("jpeg", "JPEG"), ("webp", "WEBP")])
def test_a_picture_is_encoded_in_a_format_with_its_parameters(kind: PictureFormat, named: str) -> None:
    texts = {"parameters": "a sign that says 開店", "gems": "{}"}
    data = picture_of(picture_bytes("PNG"), "image/png", kind, texts)
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == (named, (64, 48))
        comment = image.getexif().get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + texts["parameters"].encode("utf-16-be")
    long = picture_of(picture_bytes("PNG"), "image/png", kind, {"parameters": "x" * 33_000})
    with Image.open(io.BytesIO(long)) as image:
        assert dict(image.getexif()) == {}, "more than a JPEG can hold"


def test_a_picture_that_has_the_format_is_encoded_again_only_for_another_quality() -> None:
    data = picture_of(picture_bytes("PNG"), "image/png", "jpeg", {})
    assert picture_of(data, "image/jpeg", "jpeg", {}) == data
    assert picture_of(data, "image/jpeg", "jpeg", {}, quality=20) != data


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("jpeg", {}),
        ("jpeg", {"progressive": True}),
        ("jpeg", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0"}),
        ("webp", {}),
        ("webp", {"lossless": True}),
        ("webp", {"exif": b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0", "xmp": b"<x/>"}),
    ],
)
def test_a_picture_that_has_its_format_is_not_encoded_again_and_gets_its_parameters(
    kind: PictureFormat, options: dict[str, Any]
) -> None:
    made = picture_bytes(kind.upper(), **options)
    data = picture_of(made, f"image/{kind}", kind, {"parameters": "a red dog"})
    with Image.open(io.BytesIO(made)) as before, Image.open(io.BytesIO(data)) as after:
        assert (before.format, before.size, before.tobytes()) == (after.format, after.size, after.tobytes())
    user_comment = piexif.load(data)["Exif"][piexif.ExifIFD.UserComment]
    assert piexif.helper.UserComment.load(user_comment) == "a red dog"
    untold = picture_of(made, f"image/{kind}", kind, {})
    with Image.open(io.BytesIO(made)) as before, Image.open(io.BytesIO(untold)) as after:
        assert before.tobytes() == after.tobytes()
        assert dict(after.getexif()) == {}
    assert untold == made or options.keys() & {"exif", "xmp"}


FOREIGN = b"of the server"
FOREIGN_XMP = b"<x:xmpmeta>" + FOREIGN + b"</x:xmpmeta>"


def foreign_exif() -> bytes:
    """Return EXIF in which every field that readers look at is the server's."""
    exif = piexif.helper.UserComment.dump(FOREIGN.decode())
    first = {piexif.ImageIFD.ImageDescription: FOREIGN, piexif.ImageIFD.Software: FOREIGN}
    return bytes(piexif.dump({"0th": first, "Exif": {piexif.ExifIFD.UserComment: exif}}))


def foreign_picture(kind: PictureFormat, **options: Any) -> bytes:
    """Return a small picture of a server that writes about it wherever its format has room."""
    exif = foreign_exif()
    if kind == "webp":
        return picture_bytes("WEBP", exif=exif, xmp=FOREIGN_XMP, icc_profile=PROFILE, **options)
    if kind == "jpeg":
        made = picture_bytes("JPEG", exif=exif, comment=FOREIGN, icc_profile=PROFILE, **options)
        segment = b"Photoshop 3.0\0" + FOREIGN
        made = made[:2] + b"\xff\xed" + (len(segment) + 2).to_bytes(2, "big") + segment + made[2:]
        xmp = b"http://ns.adobe.com/xap/1.0/\0" + FOREIGN_XMP
        made = made[:2] + b"\xff\xe1" + (len(xmp) + 2).to_bytes(2, "big") + xmp + made[2:]
        comment = b"\xff\xfe" + (len(FOREIGN) + 2).to_bytes(2, "big") + FOREIGN
        return made[:-2] + comment + made[-2:] + FOREIGN
    texts = PngImagePlugin.PngInfo()
    texts.add_text("parameters", FOREIGN.decode(), zip=True)
    texts.add_text("parameters", FOREIGN.decode())
    texts.add_text("gems", FOREIGN.decode())
    texts.add_itxt("gems", FOREIGN.decode())
    texts.add_text("Parameters", FOREIGN.decode())
    texts.add_text("workflow", FOREIGN.decode())
    texts.add(b"tEXt", b"parameters\0" + FOREIGN, True)
    texts.add_itxt("XML:com.adobe.xmp", FOREIGN_XMP.decode())
    return picture_bytes("PNG", pnginfo=texts, exif=exif, icc_profile=PROFILE, **options) + FOREIGN


PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("png", {}),
        ("jpeg", {}),
        ("jpeg", {"progressive": True, "restart_marker_rows": 1}),
        ("webp", {"lossless": True}),
    ],
)
@pytest.mark.parametrize("target", [*ENDINGS])
def test_what_the_server_wrote_about_a_picture_is_not_in_its_file(
    kind: PictureFormat, options: dict[str, Any], target: PictureFormat
) -> None:
    made, ours = foreign_picture(kind, **options), "ours\nSteps: 1"
    data = picture_of(made, f"image/{kind}", target, {"parameters": ours, "gems": '{"a":1}'})
    assert FOREIGN in made
    assert FOREIGN not in data
    assert FOREIGN.decode().encode("utf-16-be") not in data
    with Image.open(io.BytesIO(made)) as before, Image.open(io.BytesIO(data)) as after:
        assert after.info.get("icc_profile") == before.info["icc_profile"]
        if target == kind:
            assert before.tobytes() == after.tobytes()
        known = {"icc_profile", "exif", "gamma", "dpi", "progressive", "progression", "loop", "background", "timestamp"}
        known |= {"duration", "jfif", "jfif_version", "jfif_unit", "jfif_density", "adobe", "adobe_transform"}
        assert after.info.keys() - known == ({"parameters", "gems"} if target == "png" else set())
        after.load()
        if target == "png":
            assert after.text == {"parameters": ours, "gems": '{"a":1}'}  # type: ignore[attr-defined]  # PNG only
            assert dict(after.getexif()) == {}
    if target != "png":
        exif = piexif.load(data)
        assert [*exif["0th"]] == [piexif.ImageIFD.ExifTag]
        assert piexif.helper.UserComment.load(exif["Exif"][piexif.ExifIFD.UserComment]) == ours
    again = picture_of(made, f"image/{kind}", target, {})
    assert FOREIGN not in again, "neither is it without texts of our own"


def test_a_jpeg_with_bytes_between_its_segments_is_encoded_again_rather_than_kept_with_the_server_s_texts() -> None:
    made = picture_bytes("JPEG", comment=FOREIGN)
    at = made.index(b"\xff\xdb")
    data = picture_of(made[:at] + b"\0" + made[at:], "image/jpeg", "jpeg", {"parameters": "ours"})
    assert FOREIGN not in data
    user_comment = piexif.load(data)["Exif"][piexif.ExifIFD.UserComment]
    assert piexif.helper.UserComment.load(user_comment) == "ours"


def test_bytes_that_are_not_a_picture_are_refused() -> None:
    with pytest.raises(
        PictureError, match=r"^image/webp: expected a complete PNG, JPEG or WebP picture, got 12 bytes: "
    ):
        picture_of(b"RIFF nothing", "image/webp", "png", {})
    whole = picture_bytes("PNG")
    head, pixels = whole.split(b"IDAT")
    for damaged in (whole[:100], head[:-1] + b"\x05IDAT" + pixels):
        for format_ in ENDINGS:
            with pytest.raises(PictureError, match=r"^image/png: expected a complete PNG, JPEG or WebP picture, got"):
                picture_of(damaged, "image/png", format_, {})


def test_parameters_have_the_form_that_image_tools_read() -> None:
    assert parameters_of(PICTURE, "storyboard") == (
        f"{SECOND_PROMPT}\n"
        "Steps: default, Sampler: default, Seed: 8, Size: 64x48, Model: storyboard, Rounds: 2, GEMS: 2/3 met"
    )
    settings = DrawSettings(steps=8, guidance=3.5, negative_prompt="blurry")
    assert parameters_of(structs.replace(PICTURE, settings=settings), "z-image") == (
        f"{SECOND_PROMPT}\nNegative prompt: blurry\n"
        "Steps: 8, Sampler: default, CFG scale: 3.5, Seed: 8, Size: 64x48, Model: z-image, Rounds: 2, GEMS: 2/3 met"
    )


PROMPTS = {
    "one line": "a red dog",
    "not Latin": "a sign that says 開店 🐕",
    "several lines": "a red dog,\nseen from above",
    "like settings": "a list of\nSteps: 1. sit, 2. stay",
    "like a negative prompt": "a poster that reads Negative prompt: none",
    "with commas and colons": "a poster: one, two, three: four",
}


@pytest.mark.parametrize("format_", ENDINGS)
@pytest.mark.parametrize("steps", [None, 8])
@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS)
def test_public_readers_read_prompt_negative_seed_steps_size_and_model(
    format_: PictureFormat, steps: int | None, prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It remembers the last picture by its place in memory, which the next one may have.
    monkeypatch.setattr("sd_parsers.extractors._jpeg_usercomment._image_id", None)
    attempts = tuple(structs.replace(attempt, prompt=prompt) for attempt in PICTURE.attempts)
    settings = DrawSettings(steps=steps, negative_prompt="blurry, dark" if steps else None)
    picture = structs.replace(PICTURE, attempts=attempts, settings=settings)
    data = picture_of(picture_bytes("PNG"), "image/png", format_, texts_of(picture, seed=7, model="owner/z-image"))
    shown = prompt.replace("\nSteps:", " Steps:").replace("Negative prompt:", "Negative prompt -")

    read = sd_parsers.ParserManager().parse(io.BytesIO(data))
    assert read is not None
    (sampler,) = read.samplers
    assert [item.value for item in sampler.prompts] == [shown]
    assert [item.value for item in sampler.negative_prompts] == (["blurry, dark"] if steps else [])
    assert sampler.parameters == {"seed": "8", "steps": str(steps or "default")}
    assert sampler.model is not None
    assert (sampler.model.name, read.metadata["Size"]) == ("owner/z-image", "64x48")

    if format_ == "png":
        with Image.open(io.BytesIO(data)) as image:
            text = str(image.info["parameters"])
    else:
        text = piexif.helper.UserComment.load(piexif.load(data)["Exif"][piexif.ExifIFD.UserComment])
    words, _, values = text.partition("\nSteps:")  # as the reader of the web UI, and sd-prompt-reader after it
    positive, _, negative = words.partition("\nNegative prompt:")
    assert (positive, negative.strip()) == (shown, "blurry, dark" if steps else "")
    assert dict(re.findall(r"\s*([^:,]+):\s*([^,]+)", f"Steps:{values}"))["Seed"] == "8"


def test_the_description_has_every_verdict_of_every_round() -> None:
    story = json.loads(encode_json(story_of(PICTURE, seed=7, model="storyboard")))
    assert story["requirements"][1] == {
        "id": "r2",
        "question": "Are there exactly four rabbits?",
        "kind": "count",
        "depends_on": "r1",
        "answer": "met",
        "answers": [
            {"round": 1, "candidate": 1, "answer": "unmet"},
            {"round": 2, "candidate": 1, "answer": "met"},
        ],
    }
    assert (story["met"], story["rounds"], story["images"], story["all_met"]) == (2, 2, 2, False)
    assert (story["final_prompt"], story["outcome"], story["seed"]) == (SECOND_PROMPT, "rounds_spent", 7)
    assert (story["verify_calls"], story["verify_calls_saved"]) == (4, 2)


def test_an_edited_picture_has_the_prompt_that_it_goes_back_to_and_every_instruction() -> None:
    first, second = PICTURE.attempts
    edits = [
        structs.replace(second, round=round_, prompt=f"Make {round_}.", edited=AttemptPlace(round=of, candidate=1))
        for round_, of in ((2, 1), (3, 1), (4, 2))
    ]
    ending = structs.replace(PICTURE.ending, best_round=4)
    picture = structs.replace(PICTURE, attempts=(first, *edits), ending=ending)
    told = f"{first.prompt}\nEdit: Make 2.\nEdit: Make 4."
    assert (picture.final_prompt, story_of(picture, seed=7, model="m")["final_prompt"]) == (told, told)
    assert parameters_of(picture, "m").startswith(f"{told}\nSteps: ")
    assert structs.replace(picture, attempts=edits).final_prompt == "Make 2.\nEdit: Make 4.", "the first is lost"


def test_equal_draws_have_equal_descriptions() -> None:
    slower = (attempt(1, "met", "unmet", "unsure", seconds=9.0), attempt(2, "met", "met", "unmet", seconds=9.0))
    other = msgspec.structs.replace(PICTURE, trajectory="1" * 32, attempts=slower)
    assert story_of(other, seed=7, model="m") == story_of(PICTURE, seed=7, model="m")


def test_the_summary_has_unmet_requirements_and_the_round_of_an_early_stop() -> None:
    stopped = structs.replace(PICTURE, ending=structs.replace(PICTURE.ending, outcome="wound_down"))
    lines = list(summary_lines(stopped, seed=7, seconds=1.26))
    assert lines == [
        "2 of 3 met, 2 rounds, 2 images, seed 7, 1.3 s",
        "chosen: round 2 (2 of 3 requirements met)",
        "not met: Is the sign's text 開店?",
        "stopped after round 2 of 2; 1 requirement unmet",
    ]


def test_the_failure_that_ended_a_draw_is_in_its_summary_and_description() -> None:
    failure = Failure(code="refused", message="image server: answered 400:\nsafety")
    ending = structs.replace(PICTURE.ending, outcome="refused", best_round=1, failure=failure)
    picture = structs.replace(PICTURE, ending=ending, attempts=PICTURE.attempts[:1])
    lines = list(summary_lines(picture, seed=7, seconds=1.0))
    assert lines[-1] == "stopped after round 1 of 2: refused: image server: answered 400: safety"
    story = story_of(picture, seed=7, model="m")
    assert (story["outcome"], story["failure"]) == ("refused", "refused: image server: answered 400: safety")
    assert story_of(PICTURE, seed=7, model="m")["failure"] is None


def test_a_blind_verifier_is_named_next_to_what_it_says_is_met() -> None:
    seen, *others = PICTURE.attempts
    blind = structs.replace(PICTURE, attempts=(structs.replace(seen, is_judged_blind=True), *others))
    assert BLIND_VERIFIER in list(summary_lines(blind, seed=7, seconds=1.0))[:3]
    assert BLIND_VERIFIER not in list(summary_lines(PICTURE, seed=7, seconds=1.0))
    assert [story_of(picture, seed=7, model="m")["judged_blind"] for picture in (blind, PICTURE)] == [True, False]


def test_words_that_could_not_be_checked_are_named_and_count_as_requirements_that_are_not_met() -> None:
    *others, sign = PICTURE.requirements
    last = structs.replace(PICTURE.attempts[1], verdicts=attempt(2, "met", "met", "unsure").verdicts)
    picture = structs.replace(
        PICTURE,
        requirements=(*others, structs.replace(sign, not_understood="at golden\nhour")),
        attempts=(PICTURE.attempts[0], last),
        ending=structs.replace(PICTURE.ending, outcome="checkable_met"),
    )
    lines = list(summary_lines(picture, seed=7, seconds=1.0))
    assert lines[0].startswith("2 of 3 met, 2 rounds")
    unchecked = [line for line in lines if "could not be checked" in line]
    assert unchecked == ["1 of 3 could not be checked: 'at golden hour'"]
    assert not any(line.startswith("not met") for line in lines)
    story = story_of(picture, seed=7, model="m")
    assert (story["outcome"], story["all_met"], story["not_understood"]) == (
        "checkable_met",
        False,
        ["at golden\nhour"],
    )
    assert "GEMS: 2/3 met and 1 not understood" in parameters_of(picture, "m")


def test_the_summary_of_a_draw_without_requirements() -> None:
    bare = msgspec.structs.replace(PICTURE.attempts[0], verdicts=())
    ending = msgspec.structs.replace(PICTURE.ending, best_round=1)
    picture = msgspec.structs.replace(PICTURE, requirements=(), attempts=(bare,), ending=ending)
    assert next(summary_lines(picture, seed=7, seconds=1.0)).startswith("nothing to check, 1 round,")
    assert parameters_of(picture, "storyboard").startswith(FIRST_PROMPT)


def test_a_file_is_replaced_atomically_without_leftovers(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(b"old")
    write_whole(path, b"new")
    assert [(item.name, item.read_bytes()) for item in tmp_path.iterdir()] == [("picture.png", b"new")]


def test_a_folder_is_created_and_checked_by_writing(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep")
    assert list((tmp_path / "new" / "deep").iterdir()) == []
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="expected a folder to write into, got: Not a directory"):
        check_writable(tmp_path / "file" / "folder")


def test_what_a_killed_writer_of_a_locked_folder_left_is_replaced_with_the_file(tmp_path: Path) -> None:
    killed = """if True:
        import os, signal, sys
        from pathlib import Path
        from gems_actors.app.picture_files import write_whole
        os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
        write_whole(Path(sys.argv[1]), b"cut", is_only_writer=True)
    """
    target = tmp_path / "a.png"
    done = subprocess.run([sys.executable, "-P", "-c", killed, str(target)], check=False, env=environment())
    assert done.returncode == -signal.SIGKILL
    assert len([*tmp_path.iterdir()]) == 1
    write_whole(target, b"whole", is_only_writer=True)
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.png", b"whole")]
