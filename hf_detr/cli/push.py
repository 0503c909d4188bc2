"""`hf-detr push`: publish a trained folder on the Hugging Face Hub."""

import argparse

from hf_detr.hub.card import write_model_card
from hf_detr.hub.publish import check_login, published_files, push_folder

_DESCRIPTION = """\
Publish a trained model on the Hugging Face Hub, privately unless you say --public: the model and its image processor,
a model card, and the recipe, the metrics and the picture of predictions where the folder has them. Log in once with
`hf auth login`, or give --token.

  hf-detr push runs/first me/my-detector --card_only     # write and read the card first
  hf-detr push runs/first me/my-detector
"""


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="hf-detr push", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", metavar="DIR", help="what `hf-detr train` wrote")
    parser.add_argument("repo_id", metavar="USER/NAME", help="where it goes; NAME alone means your own account")
    parser.add_argument("--public", action="store_true", help="let everybody see it")
    parser.add_argument("--token", help="access token, where `hf auth login` has not been run")
    parser.add_argument("--commit_message", metavar="TEXT", help="what the Hub's history says")
    parser.add_argument("--license", default="apache-2.0", help="the Hub's id of your licence (default: %(default)s)")
    parser.add_argument("--card_only", action="store_true", help="write README.md, list the files, and upload nothing")
    args = parser.parse_args(argv)

    files = published_files(args.folder)
    if args.card_only:
        card = write_model_card(args.folder, args.repo_id, license_id=args.license)
        print("\n".join(str(path) for path in sorted({*files, card})))
        return 0
    repo_id = check_login(args.repo_id, token=args.token, private=not args.public)
    url = push_folder(
        args.folder, repo_id, token=args.token, commit_message=args.commit_message, license_id=args.license
    )
    print(f"Published: {url}")
    return 0
