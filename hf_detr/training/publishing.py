"""How a trainer publishes: one commit of what a user of the model needs, proven possible before the run."""

from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_utils import HubStrategy

from hf_detr.evaluation.report import evaluated_pair, write_json
from hf_detr.hub.card import METRICS_FILE, write_model_card, write_run_facts
from hf_detr.hub.publish import check_login, push_folder
from hf_detr.training.facts import run_facts


class HubTrainer(Trainer):
    """Transformers' `Trainer`, which with `push_to_hub` would upload checkpoints, logs and pickles as it goes.

    Attributes:
        last_evaluation: the numbers that the card shows, None before the first evaluation.
    """

    last_evaluation: dict[str, Any] | None = None

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """Prove that we may publish, and make the repository; with `push_to_hub=True` before the run.

        Raises:
            HubError: not logged in, no network, no permission to write, or the name cannot be used.
        """
        args = self.args
        args.hub_strategy = HubStrategy.END
        if self.is_world_process_zero():
            self.hub_model_id = check_login(
                args.hub_model_id or Path(args.output_dir).resolve().name,
                token=token or args.hub_token,
                private=args.hub_private_repo if private is None else private,
            )

    def create_model_card(self, *, dataset: str | None = None, license_id: str = "apache-2.0") -> None:
        """Write `metrics.json` (of the last evaluation), `run.json` and the model card into `output_dir`.

        Args:
            dataset: what the card calls the data; by default the folder above the training pictures.
            license_id: the Hub's id of a licence.
        """
        if not self.is_world_process_zero():
            return
        run = Path(self.args.output_dir)
        if self.last_evaluation is not None:
            evaluated = evaluated_pair(self.hub_model_id or run.name, self.eval_dataset)
            write_json(run / METRICS_FILE, {**evaluated, **self.last_evaluation})
        write_run_facts(run, run_facts(self, dataset or self.train_dataset.index.images_dir.resolve().parent.name))
        write_model_card(run, self.hub_model_id, license_id=license_id)

    def push_to_hub(
        self,
        commit_message: str | None = None,
        *,
        token: str | None = None,
        private: bool | None = None,
        dataset: str | None = None,
        license_id: str = "apache-2.0",
    ) -> str | None:
        """Evaluate, save and publish the model with its processor, numbers and card in one commit.

        The repository is `hub_model_id`, or else one's own of the name of `output_dir`.

        Args:
            commit_message: what the Hub's history says.
            token: access token; by default `hub_token` or that of `hf auth login`.
            private: whether a new repository is private; by default `hub_private_repo`, which is True.
            dataset: see `create_model_card`.
            license_id: the Hub's id of a licence.

        Returns:
            The page of the model, None on other processes than the first.

        Raises:
            HubError: as `init_hf_repo`, or the upload failed.
        """
        if self.hub_model_id is None:
            self.init_hf_repo(token, private)
        if self.eval_dataset is not None:
            self.evaluate()
        self.save_model()
        if not self.is_world_process_zero():
            return None
        self.create_model_card(dataset=dataset, license_id=license_id)
        return push_folder(
            self.args.output_dir,
            self.hub_model_id,
            token=token or self.args.hub_token,
            commit_message=commit_message,
            license_id=license_id,
        )
