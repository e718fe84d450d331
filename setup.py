"""All is in pyproject.toml, but that a package to install carries the configs inside."""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithConfigs(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:  # there they are beside the package
            for source in sorted(Path("configs").rglob("*.yaml")):
                target = Path(self.build_lib, "bench", source)
                self.mkpath(str(target.parent))
                self.copy_file(str(source), str(target))


setup(cmdclass={"build_py": BuildWithConfigs})
