"""Plans single replicas of services, those of the start and those that are added while the mesh runs."""

from collections.abc import Callable, Mapping

from mesh.instance_plan import InstancePlan, Kind, Part, address, url
from mesh.ports import Ports
from mesh.processes import ProcessSpec
from mesh.state import StateDirectory
from services.script import Instance


class ReplicaPlanner:
    """Reserves a replica's ports and says what its two processes are; nothing is started.

    `environment` is that of the person who typed the command; programs of a `command:` inherit it. Those of
    sidecars and scripted services hold their tokens. The latter read the topology's working copy in the state
    directory, which changes while the mesh runs. `outbound_traffic_policy` is for all but the ingress, which
    passes no stranger's host on.
    """

    def __init__(
        self,
        ports: Ports,
        state: StateDirectory,
        environment: Mapping[str, str],
        registry_url: str,
        control_url: str,
        drain_s: float,
        sidecar_environment: Mapping[str, str],
        app_environment: Mapping[str, str],
        outbound_traffic_policy: str = "REGISTRY_ONLY",
    ) -> None:
        default = outbound_traffic_policy == "REGISTRY_ONLY"
        self._outside = () if default else ("--outbound-traffic-policy", outbound_traffic_policy)
        self._ports = ports
        self._state = state
        self._environment = environment
        self._registry_url = registry_url
        self._control_url = control_url
        self._drain = ("--drain-timeout", f"{drain_s:g}s")
        self._sidecar_environment = sidecar_environment
        self._app_environment = app_environment

    def plan(self, instance: Instance, fixed: int | None = None) -> InstancePlan:
        """One replica; `fixed` is the app's port when it was reserved already. OSError: none is kept."""
        ports = self._reserve(fixed)
        service = instance.service
        flags = ["--service", service.name, "--version", instance.version]
        if instance.zone:
            flags += ["--zone", instance.zone]
        for key, value in service.labels:
            flags += ["--label", f"{key}={value}"]
        flags += ["--inbound", address(ports["inbound"]), "--app", address(ports["app"])]
        if service.health.path:
            flags += ["--app-health", service.health.path]
        flags += ["--app-health-interval", f"{service.health.interval:g}s", *self._outside]
        parts = {
            Part.SIDECAR: self.sidecar(instance.name, ports, *flags),
            Part.APP: self._command(instance, ports) if service.command else self._scripted(instance, ports),
        }
        return InstancePlan(
            instance.name, Kind.SERVICE, service.name, instance.version, instance.zone, parts, ports
        )

    def _reserve(self, fixed: int | None) -> dict[str, int]:
        ports: dict[str, int] = {}
        try:
            for role in ("inbound", "outbound", "admin"):
                ports[role] = self._ports.free()
            ports["app"] = self._ports.free() if fixed is None else fixed
        except OSError:
            for port in ports.values():
                self._ports.release(port)
            raise
        return ports

    def release(self, plan: InstancePlan) -> None:
        """Give the ports of a replica back."""
        for port in plan.ports.values():
            self._ports.release(port)

    def sidecar(self, name: str, ports: Mapping[str, int], *flags: str) -> ProcessSpec:
        """A sidecar process, of an instance or the ingress."""
        return module_spec(
            self._state,
            name,
            Part.SIDECAR,
            "sidecar.__main__",
            *("--name", name, *flags),
            *("--outbound", address(ports["outbound"]), "--admin", address(ports["admin"])),
            *("--registry", self._registry_url, "--otlp", self._control_url),
            *("--access-log", str(self._state.access_log_path(name))),
            *self._drain,
            env=self._sidecar_environment,
        )

    def _scripted(self, instance: Instance, ports: Mapping[str, int]) -> ProcessSpec:
        return module_spec(
            self._state,
            instance.name,
            Part.APP,
            "services.__main__",
            *("--topology", str(self._state.topology_path)),
            *("--service", instance.service.name, "--instance", instance.name),
            *("--listen", address(ports["app"]), "--outbound", address(ports["outbound"])),
            *("--otlp", self._control_url),
            *self._drain,
            env=self._app_environment,
        )

    def _command(self, instance: Instance, ports: Mapping[str, int]) -> ProcessSpec:
        assert instance.service.command is not None
        fill = _filler(port=str(ports["app"]), name=instance.name)
        return ProcessSpec(
            name=f"{instance.name}.{Part.APP}",
            log=self._state.log_path(instance.name, Part.APP),
            command=tuple(fill(word) for word in instance.service.command),
            env=command_environment(self._environment, instance, ports),
        )


def module_spec(
    state: StateDirectory, name: str, part: Part, module: str, *argv: str, env: Mapping[str, str]
) -> ProcessSpec:
    """A process of one of our own programs, with its log."""
    log = state.log_path(name, part)
    return ProcessSpec(name=f"{name}.{part}", log=log, module=module, argv=argv, env=env)


def command_environment(
    environment: Mapping[str, str], instance: Instance, ports: Mapping[str, int]
) -> dict[str, str]:
    """What a program of a `command:` finds in its environment: who it is, its port, and its way out.

    Both spellings of HTTP_PROXY, because curl honours only the small one for http. Calls to this machine
    by address do not go through the sidecar.
    """
    proxy = url(ports["outbound"])
    direct = "localhost,127.0.0.1,::1"
    return dict(environment) | {
        "PORT": str(ports["app"]),
        "SERVICE_NAME": instance.service.name,
        "INSTANCE": instance.name,
        "HTTP_PROXY": proxy,
        "http_proxy": proxy,
        "NO_PROXY": direct,
        "no_proxy": direct,
    }


def _filler(**words: str) -> Callable[[str], str]:
    # not str.format: a program's own braces (awk, JSON) stay as they are
    def fill(text: str) -> str:
        for name, value in words.items():
            text = text.replace("{" + name + "}", value)
        return text

    return fill
