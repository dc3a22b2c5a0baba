"""hf-emms metric install|uninstall|path."""

from __future__ import annotations

import click

from hf_emms.cli import output
from hf_emms.errors import EmmsError
from hf_emms.metrics import install as installation


@click.group(short_help='Put evaluate.load("emms") in place, or take it away.')
def metric() -> None:
    """The metric for the evaluate library.

    evaluate.load("emms") finds it in the modules cache of evaluate (HF_MODULES_CACHE). `import hf_emms` puts it there
    too, unless HF_EMMS_INSTALL_METRIC=0 is set.
    """


@metric.command()
def install() -> None:
    """Put the metric where evaluate.load("emms") looks for it; prints the module's path."""
    output.emit(str(installation.install()))
    output.say('evaluate.load("emms") finds it, online and offline')


@metric.command()
def uninstall() -> None:
    """Take the metric away; `import hf_emms` will not put it back."""
    gone = installation.uninstall()
    output.say("\n".join(f"removed {folder}" for folder in gone) or "there was nothing to remove")
    output.say("hf-emms metric install puts it back")


@metric.command()
def path() -> None:
    """Print the metric's own folder, which evaluate.load takes as well and hf-emms publish metric uploads."""
    output.emit(str(installation.source_folder()))
    try:
        state = "installed as" if installation.is_installed() else "not installed as"
        output.say(f"{state} {installation.installed_module()}")
    except EmmsError as error:
        output.say(f"not installed: {error}")
