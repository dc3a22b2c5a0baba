"""The command line: parse, call, print."""

from __future__ import annotations

import logging
import os
import sys
import traceback

import click

from hf_emms import __version__
from hf_emms.cli.cache_commands import cache
from hf_emms.cli.card_command import card
from hf_emms.cli.demo_command import demo
from hf_emms.cli.evaluation_commands import compare, validate
from hf_emms.cli.leaderboard_command import leaderboard
from hf_emms.cli.presets_commands import checkpoints, datasets, presets
from hf_emms.cli.publish_commands import metric, publish, publish_results, pull
from hf_emms.cli.rank_command import rank
from hf_emms.cli.score_command import score
from hf_emms.cli.search_command import search
from hf_emms.errors import EmmsError, redacted

__all__ = ["app", "main"]

INTERRUPTED = 130


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="hf-emms")
@click.option("--debug", is_flag=True, envvar="HF_EMMS_DEBUG", help="Show the traceback of errors.")
@click.pass_context
def app(context: click.Context, debug: bool) -> None:
    """Which pretrained checkpoint should you fine-tune for your dataset?

    Start with hf-emms demo; then hf-emms rank --dataset ./FOLDER, or a dataset of the Hub.
    """
    context.obj = debug
    if debug:
        logging.basicConfig(level=logging.INFO, stream=sys.stderr)
        logging.getLogger("hf_emms").setLevel(logging.DEBUG)


for command in (
    rank,
    search,
    score,
    validate,
    compare,
    card,
    demo,
    leaderboard,
    metric,
    publish,
    pull,
    presets,
    datasets,
    checkpoints,
    cache,
):
    app.add_command(command)

publish.add_command(publish_results)


def main() -> None:
    """Runs the command line; exits with 0, 1 (a known error), 2 (usage) or 130 (interrupted)."""
    _prepare_libraries()
    debug = "--debug" in sys.argv[1:] or os.environ.get("HF_EMMS_DEBUG", "0").lower() not in (
        "",
        "0",
        "false",
    )
    try:
        code = app.main(prog_name="hf-emms", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except EmmsError as error:
        if debug:
            click.echo(redacted(traceback.format_exc()), err=True)
        click.echo(f"Error: {error}", err=True)
        sys.exit(1)
    except click.Abort:
        click.echo("Stopped. Finished checkpoints are kept; run the same command again to go on.", err=True)
        sys.exit(INTERRUPTED)
    sys.exit(code if isinstance(code, int) else 0)


def _prepare_libraries() -> None:
    """Settings that the libraries underneath read when they are imported; what the user has set stays."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # One core is for decoding pictures ahead: a thread too many makes small products several times slower.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) - 1)))
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
