"""What an installation takes: every file counted once."""

from benchmarks.install import Figures, Package, lines, sizes


def distribution(site_packages, name, files):
    """A package as pip leaves it."""
    info = site_packages / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    for path, size in files.items():
        (site_packages / path).parent.mkdir(parents=True, exist_ok=True)
        (site_packages / path).write_bytes(b"\0" * size)
    (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))


def test_every_file_counts_once_and_pip_does_not(tmp_path):
    """One that two packages name is the first one's; what nobody names is told too."""
    distribution(tmp_path, "large", {"large/a.so": 5_000, "shared/x.txt": 100})
    distribution(tmp_path, "small", {"small/b.py": 700, "shared/x.txt": 100})
    distribution(tmp_path, "pip", {"pip/__init__.py": 9_000})
    (tmp_path / "large" / "stray.bin").write_bytes(b"\0" * 300)
    found = sizes(tmp_path)
    assert [package.name for package in found[:1]] == ["large"]
    by_name = {package.name: package.size for package in found}
    assert "pip" not in by_name
    assert by_name["large"] + by_name["small"] == 5_800
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.dist-info/*")) + 300 == next(
        package.size for package in found if package.name.startswith("(")
    )


def test_the_marks_are_named_with_their_verdicts():
    """The largest packages, and the rest in one line."""
    packages = tuple(Package(f"p{n}", "1.0", (30 - n) * 1_000_000) for n in range(12))
    figures = Figures(total=450_000_000, packages=packages, help_s=0.05, import_s=0.02, ready_s=0.8)
    told = lines(figures)
    assert told[0] == "installed: 450 MB (mark 400 MB: missed)"
    assert "30.0 MB  p0 1.0" in told[1]
    assert "39.0 MB  2 others" in told[11]
    assert "streamasr --help: 0.05 s (mark 0.3 s: held)" in told
