"""The README of a family: what it tells, that it fits, and that no text of a manifest breaks it."""

from __future__ import annotations

import itertools
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from harness import run
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.tree import SyntaxTreeNode

from bakegen.build.plan import check_current
from bakegen.expressions.scope import EMPTY_NAME, Expression
from bakegen.expressions.syntax import split_expressions
from bakegen.graph.tag_names import join_names
from bakegen.manifest.model import Deprecation
from bakegen.project import Project, load_project
from bakegen.render.files import render_readme
from bakegen.render.markdown import code, link, paragraph, prose
from bakegen.render.pages import pages_of
from bakegen.render.readme import DETAILS, LIMIT, readme_of
from bakegen.render.tag_patterns import TagPart, TagPattern, picture

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
from families import SHAPES, Shape, write_project

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
thorough = settings(max_examples=300, deadline=None, derandomize=True)
TEXTS = st.text(st.one_of(st.sampled_from("`|[]()<>*_~#&;!\\-+=.1a \n"), st.characters(exclude_categories=["C"])))

MANIFEST = """\
image: app
platforms: [linux/amd64, linux/arm64]
variables: {VERSION: {default: "1.0", description: what is served}}
registries: [ghcr.io/acme/app]
template: Dockerfile.j2
dockerfile: "{{ release }}/{{ distro }}/Dockerfile"
axes: {python: ["3.8", "3.9"], distro: {debian: {}, alpine: {platforms: [linux/amd64]}}}
args: {PYTHON: "{{ python }}", VERSION: "{{ VERSION }}"}
from: "python:{{ python }}-{{ distro }}"
"""
RELEASES = 'releases: {runtime: {tags: ["{{ VERSION }}-{{ python }}-{{ distro }}"]}}\n'


def make(root: Path, manifest: str) -> Path:
    (root / "manifest").mkdir(parents=True)
    (root / "templates").mkdir()
    (root / "manifest" / "app.yml").write_text(manifest)
    (root / "templates" / "Dockerfile.j2").write_text("ARG PYTHON=3\nARG VERSION=0\nFROM {{ parent }}\n")
    return root


def readme(root: Path, manifest: str) -> str:
    """The README that a manifest makes."""
    outcome = run(make(root, manifest), ["generate"])
    assert outcome.code == 0, outcome.stderr
    return (root / "generated" / "app" / "README.md").read_text()


def section(text: str, heading: str) -> list[SyntaxTreeNode]:
    """What stands under a heading of a document."""
    nodes = iter(SyntaxTreeNode(MARKDOWN.parse(text)).children)
    next(node for node in nodes if node.type == "heading" and seen(node) == heading)
    return list(itertools.takewhile(lambda node: node.type != "heading", nodes))


def items(nodes: Iterable[SyntaxTreeNode]) -> list[str]:
    """The items of all lists, as what a reader sees; items of items come after theirs."""
    return [seen(part.children[0]) for node in nodes for part in node.walk() if part.type == "list_item"]


def blocks(nodes: Iterable[SyntaxTreeNode]) -> list[list[str]]:
    """The lines of all blocks of code."""
    return [node.content.splitlines() for node in nodes if node.type == "fence"]


def seen(node: SyntaxTreeNode) -> str:
    """The text that a reader sees."""
    if node.type in {"softbreak", "hardbreak"}:
        return "\n"
    return "".join(map(seen, node.children)) if node.children else node.content


def headings(text: str) -> list[str]:
    return [seen(node) for node in SyntaxTreeNode(MARKDOWN.parse(text)).children if node.type == "heading"]


# --- text of a manifest as Markdown ---


def plain(text: str) -> str:
    """Text as it is to be seen: one line, code without its backticks."""
    return re.sub(r"(?<!`)`(?!`)([^`]+)`(?!`)", lambda match: match[1].strip() or match[1], " ".join(text.split()))


@thorough
@given(text=TEXTS)
def test_any_text_is_seen_as_it_is_in_an_item(text: str) -> None:
    assert items(SyntaxTreeNode(MARKDOWN.parse(f"- **a**: {prose(text)}\n- b\n")).children) == [
        f"a: {plain(text)}".rstrip(),
        "b",
    ]


@thorough
@given(text=TEXTS)
@example(text="see `a | b` and a | b")
def test_any_text_is_seen_as_it_is_in_a_paragraph(text: str) -> None:
    [*before, last] = SyntaxTreeNode(MARKDOWN.parse(f"{paragraph(text)}\n\nlast\n")).children

    assert [node.type for node in before] == ["paragraph"] * bool(text.split())
    assert "".join(map(seen, before)) == plain(text)
    assert seen(last) == "last"


@thorough
@given(text=TEXTS.filter(lambda text: bool(text.split())))
def test_any_text_is_seen_as_it_is_as_code(text: str) -> None:
    assert items(SyntaxTreeNode(MARKDOWN.parse(f"- {code(text)} (x)\n- b\n")).children) == [
        f"{' '.join(text.split())} (x)",
        "b",
    ]


def test_a_link_leads_to_paths_with_anything_in_them() -> None:
    [paragraph_] = SyntaxTreeNode(MARKDOWN.parse(link("a (b)|[c].txt", "https://x.test/", "a (b)|[c].txt"))).children
    [shown] = paragraph_.children[0].children

    assert (shown.type, shown.attrs["href"], seen(shown)) == (
        "link",
        "https://x.test/a%20%28b%29%7C%5Bc%5D.txt",
        "a (b)|[c].txt",
    )


def test_a_long_text_is_cut() -> None:
    assert [prose("one two three", most) for most in (7, 8, 9, 12)] == ["one…", "one two…", "one two…", "one two…"]
    assert prose("one-two", 5) == "one-…"
    assert prose("one two", 7) == "one two"


# --- how tags are made ---


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("plain", ["plain"]),
        ("", [""]),
        ("{{ a }}", ["", "a", ""]),
        ("v{{a}}-{{ b | default('}}') }}x", ["v", "a", "-", "b | default('}}')", "x"]),
        ("{% if a %}x{% endif %}", None),
        ("x{# why #}", None),
        ("{% raw %}{{ a }}{% endraw %}", None),
    ],
)
def test_expressions_are_told_from_text(text: str, parts: list[str] | None) -> None:
    assert split_expressions(text) == parts


@pytest.mark.parametrize(
    ("literals", "texts", "shown"),
    [
        (("py", ""), [("3", "4")], "py<a>"),
        (("py", ""), [("3",)], "py3"),
        (("py-", ""), [(EMPTY_NAME, "3")], "py[-<a>]"),
        (("py-", ""), [(EMPTY_NAME,)], "py"),
        (("", "-slim"), [(EMPTY_NAME, "3")], "[<a>-]slim"),
        (("", ""), [(EMPTY_NAME, "3")], "[<a>]"),
        (("", ""), [(EMPTY_NAME,)], "latest"),
        (("py", ""), [("", "-x")], "py[<a>]"),
        (("", "-", ""), [("1", "2"), ("3",)], "<a>-3"),
    ],
)
def test_a_pattern_shows_what_differs(literals: tuple[str, ...], texts: Sequence[tuple[str, ...]], shown: str) -> None:
    parts = tuple(TagPart(name, Expression(f"{{{{ {name} }}}}", ())) for name in "ab"[: len(texts)])

    assert TagPattern(literals, parts).text(dict(zip("ab", texts, strict=False))) == shown
    assert join_names("-".join(literals)) or shown  # the rule for empty names is that of tags


def test_a_picture_leads_from_each_part_to_its_note() -> None:
    assert picture("x-<a><b>[-<a>]", {"a": "one", "b": "two"}) == [
        "x-<a><b>[-<a>]",
        "   │  │",
        "   │  └─ b: two",
        "   └─ a: one",
    ]


def test_the_values_of_parts_are_those_of_tags(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST + 'names: {distro: [{name: "", for: debian}, "{{ distro }}"], python: ["{{ python | replace(\'.\', \'\') }}", "{{ python | major }}"]}\n'
        'define: {flavour: "{{ \'small\' if distro == \'alpine\' else \'\' }}"}\n'
        'releases: {runtime: {tags: ["{{ VERSION }}-py{{ python }}-{{ distro }}{{ flavour }}-{{ release }}"]}}\n',
    )  # fmt: skip

    assert [line for line in text.splitlines() if "─" in line] == [
        " │           │         │         └─ flavour: small, or left out",
        " │           │         └─ distro: debian, alpine, or left out",
        " │           └─ python: 38, 39, 3",
        " └─ VERSION: 1.0 (what is served)",
    ]
    assert "<VERSION>-py<python>[-<distro>][<flavour>]-runtime\n" in text


def test_what_a_pattern_computes_is_a_part_of_its_own(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST + 'names: {distro: [{name: "", for: debian}, {name: alpine, for: alpine}]}\n'
        "define: {kind: \"{{ 'v-' ~ distro }}\"}\n"
        'releases: {runtime: {tags: ["{{ python }}-{{ distro }}-{{ kind }}", "{{ distro }}-{{ python }}"]}}\n',
    )

    assert "3.8-debian-v-debian" not in text
    assert "\n3.8-v-debian = 3.8\n3.9-v-debian = 3.9\n" in text
    assert "<python>[-<distro>]-<kind>\n" in text
    assert "└─ kind: v-debian, v-alpine\n" in text


def test_tags_with_statements_are_listed_only(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST
        + "releases: {runtime: {tags: [\"{% if distro == 'alpine' %}a{% endif %}{{ python }}-{{ distro }}\"]}}\n",
    )

    assert headings(text) == ["app", "Tags"]
    assert "\na3.8-alpine\na3.9-alpine\n" in text


def test_parts_of_unpublished_tags_are_not_told(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST + 'define: {kind: "{{ distro ~ python }}"}\n'
        'releases: {deps: {publish: false, tags: ["{{ python }}-{{ distro }}-{{ kind }}"]},'
        ' app: {from: deps, tags: ["{{ python }}-{{ distro }}"]}}\n',
    )

    assert blocks(section(text, "How tags are made"))[0][0] == "<python>-<distro>"
    assert "kind" not in text


# --- what is told ---


def test_every_tag_is_listed_with_its_platforms(tmp_path: Path) -> None:
    text = readme(tmp_path, MANIFEST + RELEASES)

    assert text.split("## Tags\n\n")[1].split("\n\nGenerated")[0].split("\n\n") == [
        "4 tags: 4 for linux/amd64 and 2 for linux/arm64.",
        "For linux/amd64 and linux/arm64, from [runtime/debian/Dockerfile](runtime/debian/Dockerfile):",
        "```text\n1.0-3.8-debian\n1.0-3.9-debian\n```",
        "For linux/amd64, from [runtime/alpine/Dockerfile](runtime/alpine/Dockerfile):",
        "```text\n1.0-3.8-alpine\n1.0-3.9-alpine\n```",
    ]
    listed = json.loads(run(tmp_path, ["list", "tags", "--format", "json"]).stdout)
    assert sorted(row["tag"] for row in listed) == sorted(itertools.chain(*blocks(section(text, "Tags"))))


def test_tags_of_single_platforms_stand_below_their_target(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST + "deprecated: [{tags: '*-amd64', because: it has siblings}]\n"
        'platform-tags: [{tag: "{{ python }}-{{ distro }}-{{ platform.arch }}", when: distro == "debian"}]\n'
        + RELEASES,
    )

    tags = section(text, "Tags")
    assert seen(tags[0]) == "4 tags: 4 for linux/amd64 and 2 for linux/arm64, and 4 more tags of single platforms."
    assert blocks(tags) == [
        [
            "1.0-3.8-debian",
            "  3.8-debian-amd64 (deprecated) (linux/amd64 only)",
            "  3.8-debian-arm64 (linux/arm64 only)",
            "1.0-3.9-debian",
            "  3.9-debian-amd64 (deprecated) (linux/amd64 only)",
            "  3.9-debian-arm64 (linux/arm64 only)",
        ],
        ["1.0-3.8-alpine", "1.0-3.9-alpine"],
    ]
    assert items(section(text, "Deprecated")) == ["*-amd64 (2 tags still published): it has siblings"]


def test_aliases_stand_beside_the_tag_that_they_are_names_of(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST + 'names: {python: ["{{ python }}", "{{ python | major }}"], distro: ["{{ distro }}", {name: "", for: debian}]}\n' + RELEASES,
    )  # fmt: skip

    assert "\n1.0-3.9-debian = 1.0-3.9 = 1.0-3-debian = 1.0-3\n" in text
    assert "\n1.0-3.8-debian = 1.0-3.8\n" in text
    assert "docker pull ghcr.io/acme/app:1.0-3\ndocker run --rm ghcr.io/acme/app:1.0-3\n" in text


def test_licence_and_where_to_report_are_told(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST + "source: https://github.com/acme/app/blob/main\n"
        "labels: {org.opencontainers.image.licenses: MIT}\n" + RELEASES,
    )

    assert "- Report problems: <https://github.com/acme/app/issues>\n- Licence: MIT\n" in text


def test_each_repository_has_a_command_to_pull(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST.replace("[ghcr.io/acme/app]", '["docker.io/acme/{{ release }}", "ghcr.io/acme/{{ release }}"]')
        + "releases: {one: {tags: ['{{ python }}-{{ distro }}']}, two: {from: one, tags: ['two-{{ python }}-{{ distro }}']}}\n",
    )

    assert re.findall("docker pull .*", text) == [
        "docker pull docker.io/acme/one:3.9-debian",
        "docker pull ghcr.io/acme/one:3.9-debian",
        "docker pull docker.io/acme/two:two-3.9-debian",
        "docker pull ghcr.io/acme/two:two-3.9-debian",
    ]


@pytest.mark.parametrize(
    ("source", "target", "manifest"),
    [
        ("", "runtime/debian/Dockerfile", "manifest/app.yml"),
        (
            "source: https://git.test/acme/blob/main/\n",
            "https://git.test/acme/blob/main/generated/app/runtime/debian/Dockerfile",
            "[manifest/app.yml](https://git.test/acme/blob/main/manifest/app.yml)",
        ),
    ],
)
def test_links_lead_to_dockerfiles_from_wherever_the_readme_is_read(
    source: str, target: str, manifest: str, tmp_path: Path
) -> None:
    text = readme(tmp_path, MANIFEST + source + RELEASES)

    assert f"[runtime/debian/Dockerfile]({target})" in text
    assert text.endswith(f"\nGenerated by bakegen from {manifest}; edits here are lost.\n")


def test_deprecated_tags_are_marked_or_gone(tmp_path: Path) -> None:
    text = readme(
        tmp_path,
        MANIFEST + "deprecated:\n"
        "  - {tags: latest, because: 'it names no Python | nor anything', use: a tag with a Python}\n"
        "  - {tags: ['*-3.8-*', '0.?'], because: no longer supported}\n" + RELEASES,
    )

    assert items(section(text, "Deprecated")) == [
        "latest (no longer published): it names no Python | nor anything",
        "Use instead: a tag with a Python",
        "*-3.8-* 0.? (2 tags still published): no longer supported",
    ]
    assert "\n1.0-3.8-alpine (deprecated)\n1.0-3.9-alpine\n" in text
    assert "docker pull ghcr.io/acme/app:1.0-3.9-debian" in text


# --- pages of repositories ---

SEVERAL = (
    MANIFEST.replace(
        "[ghcr.io/acme/app]",
        """
  - {repository: "docker.io/acme/{{ release }}", readme: true}
  - "ghcr.io/acme/{{ release }}"
  - {repository: quay.io/acme/one, readme: true, when: release == "one"}
""",
    )
    + """\
names: {python: ["{{ python }}", {name: "", for: "3.9"}], distro: ["{{ distro }}", {name: "", for: debian}]}
deprecated:
  - {tags: "*-alpine", because: too small}
  - {tags: "two-*-alpine", because: far too small}
  - {tags: "*-jessie", because: too old}
releases:
  one: {tags: ["{{ python }}-{{ distro }}"]}
  two: {from: one, tags: ["two-{{ python }}-{{ distro }}"]}
"""
)


def pages(root: Path) -> dict[str, str]:
    """The pages of repositories, by their paths from the folder of the family."""
    family = root / "generated" / "app"
    return {file.relative_to(family).as_posix(): file.read_text() for file in sorted((family / "readme").rglob("*.md"))}


def test_repositories_that_hold_different_images_have_pages_of_their_own(tmp_path: Path) -> None:
    family = readme(tmp_path, SEVERAL)
    made = pages(tmp_path)
    one, two = made["readme/docker.io/acme/one.md"], made["readme/docker.io/acme/two.md"]

    assert len(made) == 2
    assert [headings(text)[0] for text in (family, one, two)] == ["app", "one", "two"]
    assert re.findall("docker (?:pull|run) .*", one) == [
        "docker pull docker.io/acme/one:latest",
        "docker pull ghcr.io/acme/one:latest",
        "docker pull quay.io/acme/one:latest",
        "docker run --rm docker.io/acme/one:latest",
    ]
    assert re.findall("docker (?:pull|run) .*", two) == [
        "docker pull docker.io/acme/two:two",
        "docker pull ghcr.io/acme/two:two",
        "docker run --rm docker.io/acme/two:two",
    ]
    assert [("There is no `latest`" in text) for text in (family, one, two)] == [False, False, True]
    assert "(../../../one/debian/Dockerfile)" in one
    assert "**one** in `docker.io/acme/one`, `ghcr.io/acme/one` and `quay.io/acme/one` for " in family
    listed = json.loads(run(tmp_path, ["list", "tags", "--format", "json"]).stdout)
    for text, repository in ((one, "quay.io/acme/one"), (two, "ghcr.io/acme/two")):
        told = [tag for block in blocks(section(text, "Tags")) for line in block for tag in line.split(" = ")]
        held = [row["tag"] for row in listed if repository in row["repositories"]]
        assert sorted(tag.removesuffix(" (deprecated)") for tag in told) == sorted(held)


def test_a_page_tells_of_tags_that_are_deprecated_in_its_repository(tmp_path: Path) -> None:
    readme(tmp_path, SEVERAL)
    made = pages(tmp_path)

    assert items(section(made["readme/docker.io/acme/one.md"], "Deprecated")) == [
        "*-alpine (2 tags still published): too small",
        "*-jessie (no longer published): too old",
    ]
    assert items(section(made["readme/docker.io/acme/two.md"], "Deprecated"))[1] == (
        "two-*-alpine (2 tags still published): far too small"
    )


@pytest.mark.parametrize(
    ("registries", "pulled"),
    [
        ("[{repository: docker.io/acme/app, readme: true}, ghcr.io/acme/app]", {}),
        ("['docker.io/acme/{{ release }}', 'ghcr.io/acme/app']", {}),
        (
            """
  - {repository: acme/app, readme: true, when: release == 'one'}
  - {repository: docker.io/acme/app, readme: true, when: release == 'two'}
  - ghcr.io/acme/app
""",
            {},
        ),
        (
            "[{repository: 'acme/{{ release }}', readme: true, when: release == 'one'}]",
            {"docker.io/acme/one": ["acme/one"]},
        ),
        (
            """
  - {repository: "hub.test:8443/app", kind: harbor, readme: true}
  - {repository: quay.io/acme/app, readme: true, when: release == 'one'}
  - {repository: index.docker.io/acme/app, readme: true, when: release == 'one'}
""",
            {
                "hub.test_8443/app": ["hub.test:8443/app"],
                "quay.io/acme/app": ["quay.io/acme/app", "index.docker.io/acme/app"],
            },
        ),
    ],
)
def test_only_what_shows_other_images_has_a_page(
    registries: str, pulled: Mapping[str, Sequence[str]], tmp_path: Path
) -> None:
    readme(
        tmp_path,
        MANIFEST.replace("[ghcr.io/acme/app]", registries)
        + "releases: {one: {tags: ['{{ python }}-{{ distro }}']}, two: {tags: ['two-{{ python }}-{{ distro }}']}}\n",
    )

    found = {name: re.findall("docker pull (.*):.*", text) for name, text in pages(tmp_path).items()}
    assert found == {f"readme/{name}.md": repositories for name, repositories in pulled.items()}


def test_pages_are_documentation(tmp_path: Path) -> None:
    readme(tmp_path, SEVERAL)
    page = tmp_path / "generated" / "app" / "readme" / "docker.io" / "acme" / "one.md"
    page.unlink()

    check_current(load_project(tmp_path), ["app_one_python3-9_debian"])  # nothing is built from it
    assert run(tmp_path, ["generate", "--dockerfiles", "--bake"]).code == 0
    assert not page.exists()
    assert run(tmp_path, ["generate", "--docs", "--check"]).code == 1
    assert run(tmp_path, ["generate", "--docs"]).code == 0
    assert page.exists()
    (tmp_path / "manifest" / "app.yml").write_text(SEVERAL.replace("readme: true", "readme: false"))
    assert run(tmp_path, ["generate"]).code == 0
    assert [*pages(tmp_path)] == []


# --- how long it is ---


@pytest.mark.parametrize("targets", [100, 1000, 10_000])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_family_of_any_size_fits_a_registry(shape: Shape, targets: int, tmp_path: Path) -> None:
    write_project(tmp_path, shape, targets, 1)
    project = load_project(tmp_path)
    with project.evaluator.limits:
        text = render_readme(project, pages_of(project.graph, project.graph.manifests[0])[0]).decode()

    assert len(text.encode()) <= LIMIT
    published = [target for target in project.graph.targets.values() if target.publish]
    listed = targets == 100 or (shape, targets) == ("wide", 1000)
    assert f"\n{sum(len(target.tags) for target in published)} tags" in text
    assert (len(re.findall(r"^1\.2\.3-[^<\n]+$", text, re.MULTILINE)) >= targets / 2) == listed
    assert ("`bakegen list tags bench` lists every tag" in text) == (not listed)
    if not listed:
        [_size, _left_out, *titles, _generated] = [
            seen(node) for node in section(text, "Tags") if node.type == "paragraph"
        ]
        assert all(re.fullmatch(r"(\w+ for|For) linux/.+, \d+ tags? from .+:", title) for title in titles)
        assert len(titles) == len(blocks(section(text, "Tags")))


def test_as_much_is_told_as_fits(tmp_path: Path) -> None:
    write_project(tmp_path, "wide", 1300, 1)
    project = load_project(tmp_path)
    [page] = pages_of(project.graph, project.graph.manifests[0])
    with project.evaluator.limits:
        text = render_readme(project, page).decode()

    assert LIMIT * 0.9 < len(text.encode()) <= LIMIT
    assert len(set(itertools.chain(*blocks(section(text, "Tags"))))) == len(page.targets) == 1300


def test_a_family_of_many_repositories_fits_a_registry(tmp_path: Path) -> None:
    write_project(tmp_path, "mixed", 1000, 1)
    manifest = tmp_path / "manifest" / "bench.yml"
    repository = '{repository: "docker.io/acme/{{ release }}-{{ track }}-{{ distro }}", readme: true}'
    manifest.write_text(manifest.read_text().replace("docker.io/acme/bench\n", f"{repository}\n"))
    project = load_project(tmp_path)
    family, *own = pages_of(project.graph, project.graph.manifests[0])

    assert len(own) == len({target.repositories[0] for target in family.targets if target.publish})
    for page in (family, *own[:3]):
        with project.evaluator.limits:
            text = render_readme(project, page).decode()
        assert len(text.encode()) <= LIMIT
        assert f"\n{sum(len(target.tags) for target in page.targets)} tags" in text


def test_every_tag_is_counted_however_they_are_summed_up(tmp_path: Path) -> None:
    write_project(tmp_path, "mixed", 100, 10)
    project = load_project(tmp_path)
    [page] = pages_of(project.graph, project.graph.manifests[0])
    published = [target for target in project.graph.targets.values() if target.publish]

    for detail, told in zip(DETAILS, readme_of(project.graph, page, project.evaluator), strict=True):
        if len(told.lists) == detail.most:
            continue
        if detail.line == "target":
            number = sum(len(re.split(r"\s=\s", line)) for found in told.lists for line in found.lines)
        else:
            number = sum(int(re.findall(r", (\d+) tags?\b", found.title)[-1]) for found in told.lists)
        assert number == sum(len(target.tags) for target in published)
        assert bool(told.left_out) == (detail.line != "target")


def test_a_manifest_of_long_texts_fits(tmp_path: Path) -> None:
    manifest = MANIFEST + f"description: '{'long ' * 8000}'\nreleases:\n"
    for number in range(300):
        tag = f"r{number}-{{{{ python }}}}-{{{{ distro }}}}"
        manifest += f"  r{number}: {{description: '{'words ' * 100}', tags: ['{tag}']}}\n"
    text = readme(tmp_path, manifest)

    assert len(text.encode()) <= LIMIT
    assert "\n1200 tags: " in text
    assert "only the first 60 of anything are listed" in text


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return load_project(make(tmp_path_factory.mktemp("project"), MANIFEST + RELEASES))


@thorough
@given(whole=TEXTS, release=TEXTS, why=TEXTS)
def test_no_text_of_a_manifest_breaks_the_readme(project: Project, whole: str, release: str, why: str) -> None:
    [app] = project.graph.manifests
    manifest = replace(
        app,
        description=whole,
        releases=(replace(app.releases[0], description=f"x{release}"),),
        deprecated=(Deprecation(("latest",), why, ""),),
    )
    [page] = pages_of(project.graph, manifest)
    told = next(readme_of(project.graph, page, project.evaluator))
    text = project.evaluator.templates.get_template("README.md.j2").render(readme=told)

    assert headings(text) == ["app", "Releases", "How tags are made", "Tags", "Deprecated"]
    assert items(section(text, "Releases")) == [f"runtime: {plain(f'x{release}')}"]
    assert items(section(text, "Deprecated")) == [f"latest (no longer published): {plain(why)}".rstrip()]
