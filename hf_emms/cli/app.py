"""The command group, and error reporting."""

from __future__ import annotations

import io
import logging
import os
import sys
import traceback

import click
import cloup

from hf_emms import __version__
from hf_emms.cli.card_command import card
from hf_emms.cli.demo_command import demo
from hf_emms.cli.evaluation_commands import validate
from hf_emms.cli.interrupts import STOPPED, exit_code, interruptions, system_error
from hf_emms.cli.lookup_commands import presets
from hf_emms.cli.merge_command import merge
from hf_emms.cli.option_flags import FLAGS
from hf_emms.cli.output import out
from hf_emms.cli.publish_commands import leaderboard, publish, publish_results
from hf_emms.cli.rank_commands import confirm, rank
from hf_emms.cli.recommend_command import recommend
from hf_emms.cli.score_command import score
from hf_emms.cli.search_command import search
from hf_emms.cli.sweep_command import sweep
from hf_emms.errors import EmmsError
from hf_emms.options.calls import known_as
from hf_emms.texts import hint_style, setting_ref

# Words that users type as commands → where they find it.
_ELSEWHERE = {
    "cache": "hf cache",
    "compare": "hf-emms leaderboard, see docs/leaderboard.md",
    "pull": "hf download",
}


class _LogHandler(logging.Handler):
    """Prints logged messages and warnings of libraries as `Output.message` does."""

    def emit(self, record: logging.LogRecord) -> None:
        out.message(self.format(record))


@cloup.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, "--version", prog_name="hf-emms")
@cloup.option(
    "--debug",
    is_flag=True,
    envvar="HF_EMMS_DEBUG",
    help="Show the traceback of errors, and run checkpoints in this process, for debuggers.",
)
def app(debug: bool) -> None:
    """Which pretrained checkpoint should you fine-tune for your dataset?

    Start with hf-emms demo; then hf-emms rank --dataset ./FOLDER, or a dataset of the Hub.
    """
    out.reset(debug=debug)
    if debug:
        os.environ["HF_EMMS_WORKER"] = "0"
        logging.getLogger().setLevel(logging.INFO)
    logging.getLogger("hf_emms").setLevel(logging.DEBUG if debug else logging.NOTSET)


publish.add_command(publish_results)
app.section("Rank", demo, recommend, search, rank, sweep, merge, confirm, score)
app.section("Check", validate)
app.section("Publish", card, publish, leaderboard)
app.section("Look up", presets)


def main() -> None:
    """Run the command line and exit with 0, 1 (an error), 2 (usage), 130 (interrupted) or 143 (terminated)."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    _set_library_defaults()
    logging.basicConfig(handlers=[_LogHandler()], format="%(levelname)s:%(name)s:%(message)s")
    logging.captureWarnings(True)
    with hint_style(FLAGS):
        try:
            result = app.main(prog_name="hf-emms", standalone_mode=False)
            code = result if isinstance(result, int) else 0
        except Exception as error:  # noqa: BLE001 (`_report` masks access tokens in tracebacks)
            code = _report(error)
        if out.problem is not None:
            code = code or _report(out.problem)
    sys.exit(code)


def _report(error: Exception) -> int:
    """Print an error and return its exit code."""
    if isinstance(error, click.Abort) or interruptions:
        out.message(STOPPED)
        return exit_code(error.__cause__)
    if isinstance(error, click.ClickException):
        usage = io.StringIO()
        _with_other_names(error).show(usage)
        out.message(usage.getvalue().removesuffix("\n"))
        return error.exit_code
    if isinstance(error, (OSError, MemoryError)) and not out.debug:
        out.message(system_error(error))
        return 1
    is_expected = isinstance(error, EmmsError)
    if out.debug or not is_expected:
        out.message("".join(traceback.format_exception(error)))
    out.message(f"Error: {error}" if is_expected else f"Error: {type(error).__name__}, which hf-emms did not expect")
    return 1


def _with_other_names(error: click.ClickException) -> click.ClickException:
    """Return an error about an unknown command or flag with a suggestion, if users know it by another name."""
    suggestion = None
    if isinstance(error, click.exceptions.NoSuchCommand):
        suggestion = _ELSEWHERE.get(error.command_name)
    elif isinstance(error, click.NoSuchOption) and error.ctx is not None:
        flags = {flag for parameter in error.ctx.command.params for flag in parameter.opts}
        names = known_as(error.option_name.removeprefix("--").replace("-", "_"))
        suggestion = next((flag for name in names if (flag := str(setting_ref(name))) in flags), None)
    if suggestion is None:
        return error
    return click.UsageError(f"{error.message} Did you mean {suggestion}?", error.ctx)  # type: ignore[attr-defined]


def _set_library_defaults() -> None:
    """Set environment variables that libraries read on import, unless the user has set them."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DATASETS_VERBOSITY", "critical")
    # They warn about missing metadata of repositories, which users of a ranking cannot change, and about retries.
    for name in ("repocard", "utils._http"):
        logging.getLogger(f"huggingface_hub.{name}").setLevel(logging.ERROR)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # One core stays free for decoding images. With one thread too many, small products take several times longer.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) - 1)))
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
