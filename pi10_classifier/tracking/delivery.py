"""Delivers one run's events to MLflow, each exactly once despite retries.

What was sent before is recognised: a run by its tag ``pi10.run_id``, a metric by its key and step,
a model version by the tag ``pi10.event``. An artifact is replaced by the same content.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from pi10_classifier.foundation.redaction import redacted, scrub
from pi10_classifier.tracking import spool as sp
from pi10_classifier.tracking.registry import register, write_mlmodel
from pi10_classifier.tracking.spool import RunSpool, Sent

RUN_TAG = "pi10.run_id"
ONE_BATCH = {"metrics": 1000, "params": 100, "tags": 100}  # MLflow's limits of log_batch
_REFUSALS = {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}
_ENDED = {"FINISHED", "FAILED", "KILLED"}


class UnsentError(Exception):
    """The run cannot be sent now, for the reason in the message."""


class Delivery:
    """A run in MLflow, and what has been delivered to it."""

    def __init__(self, client: Any, uri: str, spool: RunSpool, sent: Sent, root: Path) -> None:
        self.client, self.uri, self.spool = client, uri, spool
        destination = redacted(uri)
        run = self._find(sent, destination) or self._create(root)
        if run.info.lifecycle_stage == "deleted":
            raise UnsentError(
                f"run {run.info.run_id} was deleted in MLflow; restore it there"
                f" (mlflow runs restore --run-id {run.info.run_id}), or delete {spool.path}"
            )
        self.run_id = run.info.run_id
        self.artifacts = run.info.artifact_uri
        self.params: dict[str, str] = dict(run.data.params)
        self._present = set(run.data.metrics)  # keys whose steps must be fetched
        self._steps: dict[str, set[int]] = {}
        if (sent.run_id, sent.destination) != (self.run_id, destination):
            sent.run_id, sent.destination = self.run_id, destination
            spool.acknowledge(sent)

    def _find(self, sent: Sent, destination: str) -> Any:
        from mlflow.entities import ViewType

        header = self.spool.header
        if sent.run_id and sent.destination == destination:
            return self.client.get_run(sent.run_id)
        experiment = self.client.get_experiment_by_name(header.experiment)
        runs = []
        if experiment is not None:
            if experiment.lifecycle_stage == "deleted":
                raise UnsentError(
                    f"experiment {header.experiment!r} was deleted in MLflow; restore it there"
                    f" (mlflow experiments restore --experiment-id {experiment.experiment_id})"
                )
            runs = self.client.search_runs(
                [experiment.experiment_id], f"tags.`{RUN_TAG}` = '{header.id}'", ViewType.ALL
            )
        if sent.run_id and sent.run_id not in {run.info.run_id for run in runs}:
            raise UnsentError(
                f"part of this run is in {sent.destination}, not in {destination}; set"
                " MLFLOW_TRACKING_URI to the former"
            )
        return runs[0] if runs else None

    def _create(self, root: Path) -> Any:
        header = self.spool.header
        tags = header.tags | {RUN_TAG: header.id}
        if header.parent:
            parents = [s for s in sp.runs_of(root) if s.header.id == header.parent]
            if not parents or not parents[0].sent.run_id:
                raise UnsentError("its parent run is not in MLflow yet")
            tags["mlflow.parentRunId"] = parents[0].sent.run_id
        began = next((e["at"] for e, _ in self.spool.events() if e), None)
        return self.client.create_run(
            self._experiment(header.experiment), start_time=began, tags=tags, run_name=header.name
        )

    def _experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        def existing() -> str | None:
            experiment = self.client.get_experiment_by_name(name)
            return None if experiment is None else str(experiment.experiment_id)

        try:
            return existing() or str(
                self.client.create_experiment(name, artifacts_beside(self.uri, name))
            )
        except MlflowException:
            experiment_id = existing()  # another process was faster
            if experiment_id is None:
                raise
            return experiment_id

    def send(self, sent: Sent, secrets: tuple[str, ...]) -> None:
        """Send the events after the acknowledged ones, in order."""
        batch: list[dict[str, Any]] = []
        offset = sent.offset
        for event, after in self.spool.events(sent.offset):
            if event is None:
                sent.refused.append(f"a damaged line before byte {after} of {sp.EVENTS}")
            elif event["kind"] in ONE_BATCH:
                batch.append(event)
            else:
                self._flush(batch, sent, secrets, offset)
                self._refusable(lambda e=event: self._single(e, sent), event, sent, secrets)
                self._acknowledge(sent, after)
                if "stored" in event:
                    shutil.rmtree((self.spool.path / event["stored"]).parent, ignore_errors=True)
            offset = after
        self._flush(batch, sent, secrets, offset)

    def _acknowledge(self, sent: Sent, offset: int) -> None:
        sent.offset = offset
        self.spool.acknowledge(sent)

    def _refusable(self, act: Any, event: dict[str, Any], sent: Sent, secrets: Any) -> None:
        """Send an event; if MLflow will never accept it, record that and go on with the rest."""
        from mlflow.exceptions import MlflowException

        try:
            act()
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            reason = scrub(str(error).splitlines()[0][:300], secrets)
            sent.refused.append(f"{event['kind']} {event.get('name', '')}: {reason}")
        except FileNotFoundError as error:
            sent.refused.append(f"{event['kind']}: {error.filename} is gone from the spool")

    def _flush(self, batch: list[dict[str, Any]], sent: Sent, secrets: Any, offset: int) -> None:
        from mlflow.entities import Metric, Param, RunTag

        entities: dict[str, list[Any]] = {kind: [] for kind in ONE_BATCH}
        for event in batch:
            for key, value in event["values"].items():
                if event["kind"] == "metrics":
                    if self._is_new(key, event["step"]):
                        metric = Metric(key, float(value), event["at"], event["step"])
                        entities["metrics"].append(metric)
                elif event["kind"] == "tags":
                    entities["tags"].append(RunTag(key, value))
                elif self.params.setdefault(key, value) != value:
                    # MLflow's parameters cannot change, so changes by a resume are reported
                    entities["tags"].append(RunTag(f"changed.{key}", value))
                else:
                    entities["params"].append(Param(key, value))
        batch.clear()
        for kind, items in entities.items():
            for i in range(0, len(items), ONE_BATCH[kind]):
                self._log({kind: items[i : i + ONE_BATCH[kind]]}, sent, secrets)
        if offset > sent.offset:
            self._acknowledge(sent, offset)

    def _log(self, part: dict[str, list[Any]], sent: Sent, secrets: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self.client.log_batch(self.run_id, **part)
        except MlflowException as error:
            if error.error_code not in _REFUSALS:
                raise
            ((kind, items),) = part.items()
            for item in items:  # one by one, to find the refused one

                def act(kind: str = kind, item: Any = item) -> None:
                    self.client.log_batch(self.run_id, **{kind: [item]})

                self._refusable(act, {"kind": kind, "name": item.key}, sent, secrets)

    def _is_new(self, key: str, step: int) -> bool:
        """False if the key already has this step; the first value of a step is kept."""
        steps = self._steps.get(key)
        if steps is None:
            history = (
                self.client.get_metric_history(self.run_id, key) if key in self._present else []
            )
            steps = self._steps[key] = {metric.step for metric in history}
        new = step not in steps
        steps.add(step)
        return new

    def _single(self, event: dict[str, Any], sent: Sent) -> None:
        kind = event["kind"]
        if kind == "open":
            if sent.status in _ENDED:  # a finished run was resumed
                self.client.update_run(self.run_id, "RUNNING")
            sent.status = "RUNNING"
        elif kind == "end":
            self.client.set_terminated(self.run_id, event["status"], event["at"])
            sent.status = event["status"]
        elif kind in ("artifact", "package"):
            self._upload(event)
            if event.get("model"):
                register(self.client, self.run_id, self.artifacts, self.spool.header.id, event)
        # an event from a later version of this program is ignored

    def _upload(self, event: dict[str, Any]) -> None:
        stored, folder = self.spool.path / event["stored"], event["folder"]
        if not stored.exists():
            name = stored.name if event["kind"] == "artifact" else ""
            path = "/".join(part for part in (folder, name) if part)
            present = self.client.list_artifacts(self.run_id, path.rpartition("/")[0] or None)
            if path in {item.path for item in present}:
                return  # it was sent before, but the acknowledgement was lost
            raise FileNotFoundError(2, "gone", str(stored))
        if event["kind"] == "package":
            write_mlmodel(stored, self.run_id, folder)
            self.client.log_artifacts(self.run_id, str(stored), folder)
        elif stored.is_dir():
            path = f"{folder}/{stored.name}" if folder else stored.name
            self.client.log_artifacts(self.run_id, str(stored), path)
        else:
            self.client.log_artifact(self.run_id, str(stored), folder or None)


def artifacts_beside(uri: str, experiment: str) -> str | None:
    """The artifact folder of a local store: ``mlruns`` beside its database; None for a server."""
    if not uri.startswith("sqlite:///"):
        return None
    slug = "".join(c if c.isalnum() or c in "._-" else "_" for c in experiment).strip(".")
    return (Path(uri.removeprefix("sqlite:///")).parent / "mlruns" / (slug or "_")).as_uri()
