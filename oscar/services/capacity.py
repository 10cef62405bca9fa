"""Computes how many workers a cluster can take, from ``/system/status``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pi10_classifier.errors import SettingError
from pi10_classifier.oscar.services.fdl import Service, quantity

# the published coordinator uses the same share; the rest is for other users
SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Capacity:
    """Free cores and bytes: in total, and the largest amount on one node."""

    cores: float
    bytes: float
    node_cores: float
    node_bytes: float

    @classmethod
    def of(cls, status: Any) -> Capacity:
        """Read the status of OSCAR 4 (``cluster.metrics``) or 3 (``cpuFreeTotal``).

        Both count cores in thousandths, in spite of the keys' names. Raises SettingError.
        """
        try:
            if "cluster" in status:
                metrics = status["cluster"]["metrics"]
                cpu, memory = metrics["cpu"], metrics["memory"]
                values = (
                    cpu["total_free_cores"],
                    memory["total_free_bytes"],
                    cpu["max_free_on_node_cores"],
                    memory["max_free_on_node_bytes"],
                )
            else:
                values = (
                    status["cpuFreeTotal"],
                    status["memoryFreeTotal"],
                    status["cpuMaxFree"],
                    status["memoryMaxFree"],
                )
            cores, total_memory, node_cores, node_memory = (float(value) for value in values)
        except (LookupError, TypeError, ValueError) as error:
            raise SettingError(
                f"the cluster's status has an unknown form ({type(error).__name__}: {error}); "
                "set the number of workers with --workers"
            ) from None
        return cls(cores / 1000, total_memory, node_cores / 1000, node_memory)

    def workers(self, cpu: float, memory: float) -> int:
        """How many workers of ``cpu`` cores and ``memory`` bytes fit; 0 if none fits on a node."""
        if cpu > self.node_cores or memory > self.node_bytes:
            return 0
        return max(1, int(min(SHARE * self.cores / cpu, SHARE * self.bytes / memory)))


@dataclass(frozen=True, slots=True)
class Need:
    """The cores and bytes that one worker requests."""

    cpu: float
    memory: float

    @classmethod
    def of(cls, fdl: Mapping[str, Any]) -> Need:
        """Read it from a service: from its FDL, or from a cluster's description."""
        try:
            need = cls(quantity(str(fdl.get("cpu") or "0.2")),
                       quantity(str(fdl.get("memory") or "256Mi")))  # fmt: skip
        except (ValueError, KeyError) as error:
            raise SettingError(
                f"the service's cpu or memory is not a quantity such as 2 or 512Mi: {error}; "
                "correct its FDL"
            ) from None
        if need.cpu <= 0 or need.memory <= 0:
            raise SettingError("the service requests no cpu or no memory; correct its FDL")
        return need

    @classmethod
    def of_service(cls, service: Service) -> Need:
        return cls.of(service.fdl)

    def workers(self, free: Capacity) -> int:
        """How many workers fit now. Raises SettingError if none does."""
        workers = free.workers(self.cpu, self.memory)
        if not workers:
            raise SettingError(
                f"no worker fits: one requests {self.cpu:g} cores and {_gib(self.memory)}, but the "
                f"largest free node has {free.node_cores:g} cores and {_gib(free.node_bytes)} "
                "free; deploy the service with less cpu or memory, or wait"
            )
        return workers


def _gib(count: float) -> str:
    return f"{count / 2**30:.3g} GiB"
