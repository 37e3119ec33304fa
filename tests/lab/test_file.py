"""Lab files as people write them, right and wrong."""

from pathlib import Path

import pytest

from shoal.errors import LabFileError
from shoal_lab.faults import Cut, Restart
from shoal_lab.file import load_faults, load_lab, parse_lab
from shoal_lab.spec import LanWan

KITCHEN = """
hosts:
  gate: {preset: laptop}
  pi: {preset: raspberry-pi-4, memory_mb: 1024, run: [shoal worker]}
  nano: {share: 0.2}
  cloud:
topology:
  kind: lan+wan
  cloud: cloud
  link: {mbit: 20, delay_ms: 2}
  wan: {up_mbit: 5, down_mbit: 20, delay_ms: 15, loss: 0.001}
links:
  - {between: [pi, nano], mbit: 100}
faults:
  - {kind: cut, at_s: 3, link: [switch, pi], for_s: 2}
  - {kind: restart, at_s: 9, host: nano}
"""


def test_a_lab_file_says_hosts_links_and_faults() -> None:
    lab = parse_lab(KITCHEN, name="kitchen")
    assert list(lab.hosts) == ["gate", "pi", "nano", "cloud"]
    assert lab.hosts["pi"].core_share == pytest.approx(0.095)
    assert lab.hosts["pi"].memory_limit_mb == 1024
    assert lab.hosts["cloud"].core_share == 1.0
    assert isinstance(lab.topology, LanWan)
    assert lab.topology.wan.rates_mbit == (5, 20)
    assert lab.faults == (
        Cut(at_s=3, link=("switch", "pi"), for_s=2),
        Restart(at_s=9, host="nano"),
    )


def test_the_name_of_a_file_names_its_lab(tmp_path: Path) -> None:
    file = tmp_path / "My_Kitchen.yaml"
    file.write_text(KITCHEN)
    assert load_lab(file).name == "my-kitchen"


def test_a_preset_may_be_changed_in_part() -> None:
    lab = parse_lab("hosts: {a: {preset: jetson-nano, share: 0.5}}")
    assert (lab.hosts["a"].core_share, lab.hosts["a"].memory_limit_mb) == (0.5, 4096)


def test_a_faster_machine_gives_smaller_shares() -> None:
    assert parse_lab("{core: 2.0, hosts: {a: {share: 0.5, cores: 3}}}").quota("a") == 0.75


def test_a_topology_may_be_one_word() -> None:
    assert parse_lab("{hosts: {a: {}, b: {}}, topology: star}").topology is not None


TWO = "hosts: {a: {}, b: {}}\ntopology: star\n"
WRONG = {
    "unknown host in a link": (TWO + "links: [{between: [a, c]}]", "no host 'c'"),
    "a rate of 0": (TWO + "links: [{between: [a, b], mbit: 0}]", "mbit is 0"),
    "a negative rate": (TWO + "links: [{between: [a, b], up_mbit: -3}]", "up_mbit is -3"),
    "a rate that is no number": (TWO + "links: [{between: [a, b], mbit: .nan}]", "mbit is nan"),
    "a share over 100 %": ("hosts: {a: {share: 1.2}}", "120 %"),
    "a share of 0": ("hosts: {a: {share: 0}}", "share of 0"),
    "a share that is no number": ("hosts: {a: {share: .nan}}", "share of nan"),
    "a device faster than this machine": (
        "{core: 0.1, hosts: {a: {preset: server}}}",
        "670 %",
    ),
    "two hosts with one name": ("hosts: {a: {}, b: {}, a: {}}", "'a' stands here twice"),
    "an unknown preset": ("hosts: {a: {preset: cray}}", "there are jetson-nano"),
    "an unknown field": ("hosts: {a: {shares: 1}}", "host 'a': Object contains unknown"),
    "an unknown key": (TWO + "machines: 3", "unknown key 'machines'"),
    "a wrong type": ("hosts: {a: {cores: two}}", "host 'a': Expected `int`"),
    "no hosts": ("hosts: {}", "'hosts' must map"),
    "nothing": ("", "must be a mapping"),
    "a host without any link": ("hosts: {a: {}, b: {}}", "host 'a' has no link"),
    "a link to itself": (TWO + "links: [{between: [a, a]}]", "same host"),
    "a link twice": (
        "hosts: {a: {}, b: {}}\nlinks: [{between: [a, b]}, {between: [b, a]}]",
        "two links between a and b",
    ),
    "a link with one end": (TWO + "links: [{between: [a]}]", "links[0]"),
    "both kinds of rates": (TWO + "links: [{between: [a, b], mbit: 1, up_mbit: 2}]", "'mbit' for"),
    "a loss of all": (TWO + "links: [{between: [a, b], loss: 1}]", "use 'cut'"),
    "a negative delay": (TWO + "links: [{between: [a, b], delay_ms: -1}]", "delay_ms is -1"),
    "a trace beside a rate": (TWO + "links: [{between: [a, b], trace: walk, mbit: 2}]", "trace"),
    "an unknown topology": ("{hosts: {a: {}, b: {}}, topology: tree}", "kinds are star, ring"),
    "a cloud that is no host": (
        "{hosts: {a: {}, b: {}}, topology: {kind: device-cloud, cloud: c}}",
        "cloud 'c'",
    ),
    "an unknown fault": (TWO + "faults: [{kind: melt, at_s: 1, host: a}]", "kinds are kill"),
    "a fault on no host": (TWO + "faults: [{kind: kill, at_s: 1, host: c}]", "no host 'c'"),
    "a fault on no link": (TWO + "faults: [{kind: cut, at_s: 1, link: [a, b]}]", "no link a:b"),
    "a fault before the start": (TWO + "faults: [{kind: kill, at_s: -1, host: a}]", "at_s is -1"),
    "a fault that ends before": (
        TWO + "faults: [{kind: freeze, at_s: 1, host: a, for_s: -1}]",
        "for_s is -1",
    ),
    "a name for the shell": ("hosts: {'a; rm -rf': {}}", "a name is a lower-case letter"),
    "a host called switch": ("hosts: {switch: {}}", "belongs to the switch"),
    "aliases": ("hosts: &all {a: {}}\nlinks: *all", "aliases"),
    "no YAML": ("hosts: {a: {}", ":1:14: is not valid YAML"),
    "a deep hole": ("[" * 5000, "not valid YAML"),
    "faults that are no list": (TWO + "faults: 3", "'faults' must be a list"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_makes_no_sense_is_refused_with_its_place(case: str) -> None:
    text, words = WRONG[case]
    with pytest.raises(LabFileError) as caught:
        parse_lab(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabFileError, match="cannot be read"):
        load_lab(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(LabFileError, match="not UTF-8 text"):
        load_lab(tmp_path / "binary.yaml")
    with (tmp_path / "huge.yaml").open("wb") as huge:
        huge.truncate(2 << 20)
    with pytest.raises(LabFileError, match="larger than"):
        load_lab(tmp_path / "huge.yaml")


def test_the_traces_of_a_lab_file_are_read_with_it(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_text("hosts: {a: {}, b: {}}\nlinks: [{between: [a, b], trace: mine.csv}]")
    with pytest.raises(LabFileError, match=r"mine\.csv"):
        load_lab(file)
    (tmp_path / "mine.csv").write_text("time_s,down_mbit,up_mbit,rtt_ms\n0,1,1,5\n")
    assert load_lab(file).links[0].trace == "mine.csv"


def test_faults_may_lie_in_a_file_of_their_own(tmp_path: Path) -> None:
    file = tmp_path / "faults.yaml"
    file.write_text("- {kind: restart, at_s: 1, host: a, for_s: 2}")
    assert load_faults(file) == (Restart(at_s=1, host="a", for_s=2),)
    file.write_text("faults: [{kind: restart, at_s: 1}]")
    with pytest.raises(LabFileError, match=r"faults\[0\].*host"):
        load_faults(file)
