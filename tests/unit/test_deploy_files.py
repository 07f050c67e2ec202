"""The files in which spantree is deployed keep what docs/collector.md promises of them."""

from __future__ import annotations

import configparser
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from spantree_api.config import ApiConfig
from spantree_collector.config import CollectorConfig
from spantree_deploy.settings import load

ROOT = Path(__file__).resolve().parents[2]
COLLECTOR_FILE = ROOT / "otel-collector.yaml"
JAEGER_FILE = ROOT / "deploy" / "jaeger.yaml"
TWO_COPIES = ROOT / "deploy" / "two-copies" / "otel-collector.yaml"
TWO_COPIES_JAEGER = ROOT / "deploy" / "two-copies" / "jaeger.yaml"
COMPOSE_FILE = ROOT / "deploy" / "compose.yaml"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"
KUBERNETES = ROOT / "deploy" / "kubernetes"
PLACEHOLDER = re.compile(r"\$\{env:([A-Z0-9_]+):-([^}]*)\}")
MIB = 2**20


DATABASE_ROLES = ("spantree_owner", "spantree_writer", "spantree_reader")


def parsed(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def with_defaults(path: Path) -> Any:
    """The file as the Collector reads it when no environment variable is set."""
    return yaml.safe_load(PLACEHOLDER.sub(lambda match: match[2], path.read_text(encoding="utf-8")))


def variables(path: Path) -> set[str]:
    return {match[1] for match in PLACEHOLDER.finditer(path.read_text(encoding="utf-8"))}


@pytest.fixture(scope="module", params=[COLLECTOR_FILE, TWO_COPIES], ids=["one road", "two copies"])
def collector(request: pytest.FixtureRequest) -> Any:
    return with_defaults(request.param)


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = parsed(COMPOSE_FILE)["services"]
    return found


def exporters_of(collector: Any) -> dict[str, Any]:
    return {name: collector["exporters"][name] for name in collector["service"]["pipelines"]["traces"]["exporters"]}


class TestOtelCollector:
    def test_leads_from_otlp_to_spantree_behind_nothing_but_a_memory_limiter(self, collector: Any) -> None:
        (pipeline,) = collector["service"]["pipelines"].values()
        assert (pipeline["receivers"], pipeline["processors"]) == (["otlp"], ["memory_limiter"])
        assert pipeline["exporters"] in (["otlp_http/spantree"], ["otlp_http/spantree", "otlp_http/jaeger"])
        assert list(collector["processors"]) == ["memory_limiter"], "a batch processor answers before the queue has it"

    def test_gives_each_exporter_an_fsynced_storage_of_its_own(self, collector: Any) -> None:
        storages = [exporter["sending_queue"]["storage"] for exporter in exporters_of(collector).values()]
        assert storages == [name.replace("otlp_http", "file_storage") for name in exporters_of(collector)]
        assert set(storages) <= set(collector["service"]["extensions"])
        assert [collector["extensions"][storage] for storage in storages] == [
            {"directory": f"./otel-collector-queue/{name}", "create_directory": True, "fsync": True}
            for name in ("spantree", "jaeger")[: len(storages)]
        ]

    def test_queues_block_when_full_batch_behind_the_disk_and_retry_for_ever(self, collector: Any) -> None:
        for name, exporter in exporters_of(collector).items():
            queue = exporter["sending_queue"]
            assert queue["enabled"] and queue["block_on_overflow"] and queue["sizer"] == "bytes", name
            # max_size would drop every span that follows one larger than it.
            assert queue["batch"] == {"sizer": "bytes", "flush_timeout": "200ms", "min_size": MIB}, name
            assert exporter["retry_on_failure"]["enabled"], name
            assert exporter["retry_on_failure"]["max_elapsed_time"] == 0, name

    def test_sends_no_batch_that_spantree_or_jaeger_refuses_for_its_size(self, collector: Any) -> None:
        protocols = collector["receivers"]["otlp"]["protocols"]
        largest_request = max(
            protocols["grpc"]["max_recv_msg_size_mib"] * MIB, protocols["http"]["max_request_body_size"]
        )
        jaeger = with_defaults(TWO_COPIES_JAEGER)["receivers"]["otlp"]["protocols"]
        accepted = {
            "otlp_http/spantree": CollectorConfig(database_url="").max_body_bytes,
            "otlp_http/jaeger": jaeger["http"]["max_request_body_size"],
        }
        for name, exporter in exporters_of(collector).items():
            assert largest_request + exporter["sending_queue"]["batch"]["min_size"] <= accepted[name], name

    def test_listens_on_the_loopback_and_clear_of_jaeger_and_spantree(self) -> None:
        text = "".join(PLACEHOLDER.sub(r"\2", path.read_text()) for path in (TWO_COPIES, TWO_COPIES_JAEGER))
        listening = re.findall(r"^\s+endpoint: ([^/\s]+):(\d+)$", text, re.MULTILINE)
        assert {host for host, _ in listening} == {"127.0.0.1"}
        metrics = with_defaults(COLLECTOR_FILE)["service"]["telemetry"]["metrics"]["readers"][0]["pull"]["exporter"]
        assert metrics == {"prometheus": {"host": "127.0.0.1", "port": 8888}}
        ports = [*sorted(int(port) for _, port in listening), 8888]
        assert ports == [4317, 4318, 13133, 16685, 16686, 24133, 24317, 24318, 8888]
        # What the head of the file tells a person to start beside it.
        assert (
            "spantree up --otlp-grpc-port 14317 --otlp-http-port 14318 --set otlp_endpoint=http://127.0.0.1:4318"
            in text
        )
        assert with_defaults(COLLECTOR_FILE)["exporters"]["otlp_http/spantree"]["endpoint"] == "http://127.0.0.1:14318"
        assert with_defaults(TWO_COPIES)["exporters"]["otlp_http/jaeger"]["endpoint"] == "http://127.0.0.1:24318"

    @pytest.mark.parametrize("path", [JAEGER_FILE, TWO_COPIES_JAEGER], ids=["view", "copy"])
    def test_jaeger_does_not_trace_itself(self, path: Path) -> None:
        assert with_defaults(path)["extensions"]["jaeger_query"]["enable_tracing"] is False

    def test_jaeger_reads_from_spantree_and_is_sent_nothing(self) -> None:
        jaeger = with_defaults(JAEGER_FILE)
        backend = jaeger["extensions"]["jaeger_storage"]["backends"]["spantree"]["grpc"]
        assert backend["endpoint"] == f"127.0.0.1:{ApiConfig().jaeger_port}"
        assert jaeger["service"]["pipelines"]["traces"] == {"receivers": ["nop"], "exporters": ["nop"]}
        pages = orjson.loads((ROOT / "deploy" / "jaeger-ui.json").read_bytes())
        (link,) = pages["linkPatterns"]
        assert (link["type"], link["url"]) == ("traces", "http://127.0.0.1:8000/executions/#{traceID}")

    def test_live_marks_stay_out_of_a_copy(self) -> None:
        jaeger = with_defaults(TWO_COPIES_JAEGER)
        (name,) = jaeger["service"]["pipelines"]["traces"]["processors"]
        assert jaeger["processors"][name]["traces"]["span"] == ['attributes["spantree.span_type"] == "pending_span"']

    @pytest.mark.parametrize(
        "path", [COLLECTOR_FILE, JAEGER_FILE, TWO_COPIES, TWO_COPIES_JAEGER], ids=lambda path: str(path.name)
    )
    def test_every_variable_is_in_the_reference(self, path: Path) -> None:
        reference = (ROOT / "docs" / "collector.md").read_text(encoding="utf-8")
        assert sorted(name for name in variables(path) if f"`{name}`" not in reference) == []


class TestCompose:
    def test_runs_the_whole_road(self, services: dict[str, Any]) -> None:
        assert set(services) == {
            "postgres",
            "migrate",
            "collector",
            "api",
            "retention",
            "queue-volume",
            "otel-collector",
            "jaeger",
        }

    def test_publishes_on_the_loopback_unless_told_otherwise(self, services: dict[str, Any]) -> None:
        published = {name: service["ports"] for name, service in services.items() if "ports" in service}
        assert "postgres" not in published
        assert [
            port for ports in published.values() for port in ports if not port.startswith("${BIND_ADDRESS:-127.0.0.1}:")
        ] == []

    def test_no_service_is_root_or_may_write_outside_its_volumes(self, services: dict[str, Any]) -> None:
        for name, service in services.items():
            assert "mem_limit" in service, name
            assert service["user"] in ("10001:10001", "postgres"), name
            assert service["read_only"] is True, name
            assert service["cap_drop"] == ["ALL"], name
            assert service["security_opt"] == ["no-new-privileges:true"], name

    def test_no_log_grows_for_ever(self, services: dict[str, Any]) -> None:
        kept = {"driver": "json-file", "options": {"max-size": "20m", "max-file": "3"}}
        assert {name: service.get("logging") for name, service in services.items()} == dict.fromkeys(services, kept)

    def test_images_are_pinned(self, services: dict[str, Any]) -> None:
        images = {name: service["image"] for name, service in services.items()}
        assert [name for name, service in services.items() if "build" in service] == ["migrate"]
        assert {name: image for name, image in images.items() if image != "spantree:local"} == {
            "postgres": "postgres:17.6",
            "otel-collector": "otel/opentelemetry-collector-contrib:0.155.0",
            "jaeger": "jaegertracing/jaeger:2.13.0",
        }

    def test_collector_and_api_wait_for_the_one_migration(self, services: dict[str, Any]) -> None:
        assert services["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}
        for name in ("collector", "api"):
            assert services[name]["depends_on"] == {"migrate": {"condition": "service_completed_successfully"}}, name
        assert [services[name]["command"] for name in ("migrate", "collector", "api")] == [
            ["migrate"],
            ["collector"],
            ["api"],
        ]

    def test_only_the_spantree_services_reach_the_database(self, services: dict[str, Any]) -> None:
        on_store = {name for name, service in services.items() if "store" in service.get("networks", [])}
        assert on_store == {"postgres", "migrate", "collector", "api", "retention"}
        assert parsed(COMPOSE_FILE)["networks"] == {"store": {"internal": True}}

    def test_durable_state_lies_in_named_volumes(self, services: dict[str, Any]) -> None:
        mounted = {
            name: [volume for volume in service["volumes"] if not volume.endswith(":ro")]
            for name, service in services.items()
            if "volumes" in service
        }
        assert mounted == {
            "postgres": ["postgres-data:/var/lib/postgresql/data"],
            "collector": ["spool:/var/lib/spantree"],
            "queue-volume": ["queue:/var/lib/spantree"],
            "otel-collector": ["queue:/var/lib/otelcol"],
            "jaeger": [],
        }

    def test_sets_only_variables_that_the_mounted_files_read(self, services: dict[str, Any]) -> None:
        assert set(services["otel-collector"]["environment"]) <= variables(COLLECTOR_FILE)
        assert set(services["jaeger"]["environment"]) <= variables(JAEGER_FILE)
        addresses = services["otel-collector"]["environment"]
        assert addresses["OTEL_COLLECTOR_SPANTREE_ENDPOINT"] == "http://collector:4318"
        assert services["jaeger"]["environment"]["JAEGER_SPANTREE_ENDPOINT"] == f"api:{ApiConfig().jaeger_port}"

    def test_passwords_are_files_and_no_variable_of_a_container(self, services: dict[str, Any]) -> None:
        text = COMPOSE_FILE.read_text(encoding="utf-8")
        passwords = {f"{name}_password" for name in ("postgres", *DATABASE_ROLES)}
        assert set(parsed(COMPOSE_FILE)["secrets"]) == passwords == set(services["postgres"]["secrets"])
        assert "${POSTGRES_PASSWORD" not in text
        assert "POSTGRES_PASSWORD_FILE" in services["postgres"]["environment"]
        for name in ("migrate", "collector", "api", "retention"):
            entrypoint = services[name]["entrypoint"][-1]
            assert "cat /run/secrets/database_password" in entrypoint and 'spantree "$$0" "$$@"' in entrypoint, name

    def test_each_service_connects_as_the_role_with_the_least_rights_it_needs(self, services: dict[str, Any]) -> None:
        connected = {
            name: (service["environment"]["SPANTREE_DATABASE_URL"], service["secrets"])
            for name, service in services.items()
            if "SPANTREE_DATABASE_URL" in service.get("environment", {})
        }
        assert connected == {
            name: (
                f"postgresql://{role}@postgres:5432/spantree",
                [{"source": f"{role}_password", "target": "database_password"}],
            )
            for name, role in {
                "migrate": "spantree_owner",
                "collector": "spantree_writer",
                "api": "spantree_reader",
                "retention": "spantree_owner",
            }.items()
        }
        assert services["api"]["environment"]["SPANTREE_API_COLLECTOR_URLS"] == "http://collector:4318"
        # Nothing is deleted unless it is asked for.
        assert services["retention"]["profiles"] == ["retention"]

    def test_spantrees_accounts_are_no_superusers_and_have_a_password_each(self) -> None:
        script = (ROOT / "deploy" / "postgres-init.sh").read_text(encoding="utf-8")
        secrets = (ROOT / "deploy" / "make-secrets.sh").read_text(encoding="utf-8")
        for role in DATABASE_ROLES:
            assert f"CREATE ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE " in script
            assert f"{role}_password" in secrets
        for name in ("postgres-init.sh", "make-secrets.sh"):
            subprocess.run(["sh", "-n", str(ROOT / "deploy" / name)], check=True, timeout=10)

    def test_every_published_port_can_be_changed(self, services: dict[str, Any]) -> None:
        published = [port for service in services.values() for port in service.get("ports", ())]
        assert [
            port for port in published if not re.fullmatch(r"\$\{BIND_ADDRESS:-[^}]*\}:\$\{\w+:-\d+\}:\d+", port)
        ] == []


class TestDockerfile:
    def test_runs_spantree_as_an_account_of_its_own(self) -> None:
        last_stage = DOCKERFILE.read_text(encoding="utf-8").split("\nFROM ")[-1]
        assert re.findall(r"^USER (.*)$", last_stage, re.MULTILINE) == ["10001:10001"]
        assert last_stage.index("USER 10001") < last_stage.index('ENTRYPOINT ["spantree"]')

    def test_its_settings_and_those_of_compose_are_settings_of_spantree(
        self, services: dict[str, Any], tmp_path: Path
    ) -> None:
        of_image = dict(re.findall(r"(SPANTREE_[A-Z_]+)=(\S+)", DOCKERFILE.read_text(encoding="utf-8")))
        settings = load({}, of_image | services["api"]["environment"], directory=tmp_path)
        assert (settings.host, settings.data_dir) == ("0.0.0.0", Path("/var/lib/spantree"))
        assert settings.database_url == "postgresql://spantree_reader@postgres:5432/spantree"
        assert (settings.otlp_grpc_port, settings.otlp_http_port, settings.api_port) == (4317, 4318, 8000)

    def test_names_no_package_index(self) -> None:
        text = DOCKERFILE.read_text(encoding="utf-8")
        assert re.findall(r"index|PIP_|--find-links|--trusted-host|https?://", text) == []

    def test_copies_every_package_of_the_distribution_past_dockerignore(self) -> None:
        packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
        copied = re.findall(r"^COPY (\S+/) ", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
        kept = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
        for package in packages["packages"]:
            assert any(f"{package}/".startswith(source) for source in copied), f"{package} is not copied"
            assert any(f"{package}/".startswith(source) for source in kept), f"{package} is kept out by .dockerignore"
        assert {"pyproject.toml", "README.md"} <= set(kept)


@pytest.mark.parametrize("name", ["try-collector.sh OTELCOL JAEGER", "demo-collector.sh OTELCOL [JAEGER]"])
def test_a_script_for_real_programs_is_valid_bash_and_says_how_to_call_it(name: str) -> None:
    script = ROOT / "deploy" / name.split()[0]
    subprocess.run(["bash", "-n", str(script)], check=True, timeout=10)
    outcome = subprocess.run(["bash", str(script)], capture_output=True, text=True, timeout=10, check=False)
    assert outcome.returncode == 2
    assert f"deploy/{name}" in outcome.stdout


class TestKafka:
    @pytest.mark.parametrize("name", ["to-kafka.yaml", "from-kafka.yaml"])
    def test_nothing_is_acknowledged_that_only_memory_holds(self, name: str) -> None:
        of = yaml.safe_load((ROOT / "deploy" / "kafka" / name).read_text(encoding="utf-8"))
        for exporter in of["exporters"].values():
            assert exporter["sending_queue"] == {"enabled": False}
        (pipeline,) = of["service"]["pipelines"].values()
        assert "batch" not in pipeline.get("processors", ())
        if name == "from-kafka.yaml":
            receiver = of["receivers"]["kafka"]
            assert receiver["message_marking"] == {"after": True, "on_error": False}
            assert receiver["error_backoff"]["max_elapsed_time"] == 0
        else:
            assert of["exporters"]["kafka"]["producer"]["required_acks"] == -1


class TestSystemd:
    @pytest.fixture
    def units(self) -> dict[str, configparser.ConfigParser]:
        found = {}
        for path in sorted((ROOT / "deploy" / "systemd").iterdir()):
            found[path.stem] = configparser.ConfigParser(interpolation=None)
            found[path.stem].optionxform = str  # type: ignore[assignment,method-assign]
            found[path.stem].read(path)
        return found

    def test_each_part_has_a_unit_that_runs_it_confined(self, units: dict[str, configparser.ConfigParser]) -> None:
        assert {name: unit["Service"]["ExecStart"].split()[1:] for name, unit in units.items()} == {
            "spantree-api": ["api"],
            "spantree-collector": ["collector"],
        }
        confined = {"NoNewPrivileges": "true", "ProtectSystem": "strict", "User": "spantree", "KillMode": "mixed"}
        for unit in units.values():
            assert confined.items() <= dict(unit["Service"]).items()

    def test_a_collector_that_is_stopped_has_time_to_write_what_it_holds(
        self, units: dict[str, configparser.ConfigParser]
    ) -> None:
        service = units["spantree-collector"]["Service"]
        given = dict(one.split("=") for one in service["Environment"].split())
        assert float(service["TimeoutStopSec"]) >= float(given["SPANTREE_DRAIN_S"]) + 10
        assert given["SPANTREE_DATA_DIR"] == f"/var/lib/{service['StateDirectory']}"
        assert (service["SuccessExitStatus"], service["OOMPolicy"]) == ("3", "continue")


class TestKubernetes:
    @pytest.fixture
    def objects(self) -> dict[tuple[str, str], Any]:
        kustomization = parsed(KUBERNETES / "kustomization.yaml")
        files = {path.name for path in KUBERNETES.iterdir()} - {"kustomization.yaml"}
        assert set(kustomization["resources"]) == files
        found = [
            one for name in sorted(files) for one in yaml.safe_load_all((KUBERNETES / name).read_text(encoding="utf-8"))
        ]
        return {(one["kind"], one["metadata"]["name"]): one for one in found}

    @pytest.fixture
    def pods(self, objects: dict[tuple[str, str], Any]) -> dict[str, Any]:
        return {
            name: one["spec"]["template"]
            for (kind, name), one in objects.items()
            if kind in ("Job", "StatefulSet", "Deployment")
        } | {
            name: one["spec"]["jobTemplate"]["spec"]["template"]
            for (kind, name), one in objects.items()
            if kind == "CronJob"
        }

    def test_what_there_is(self, objects: dict[tuple[str, str], Any]) -> None:
        assert set(objects) == {
            ("Job", "spantree-migrate"),
            ("Service", "spantree-collector"),
            ("Service", "spantree-collector-pods"),
            ("StatefulSet", "spantree-collector"),
            ("PodDisruptionBudget", "spantree-collector"),
            ("Service", "spantree-api"),
            ("Deployment", "spantree-api"),
            ("PodDisruptionBudget", "spantree-api"),
            ("HorizontalPodAutoscaler", "spantree-collector"),
            ("HorizontalPodAutoscaler", "spantree-api"),
            ("NetworkPolicy", "spantree-collector"),
            ("NetworkPolicy", "spantree-api"),
            ("NetworkPolicy", "spantree-migrate"),
            ("CronJob", "spantree-retention"),
            ("NetworkPolicy", "spantree-retention"),
        }

    def test_an_autoscaler_alone_says_how_many_there_are(self, objects: dict[tuple[str, str], Any]) -> None:
        of = {name: one["spec"] for (kind, name), one in objects.items() if kind == "HorizontalPodAutoscaler"}
        for name, spec in of.items():
            target = spec["scaleTargetRef"]
            scaled = objects[target["kind"], target["name"]]
            assert (target["name"], target["apiVersion"]) == (name, scaled["apiVersion"])
            assert "replicas" not in scaled["spec"], "an apply would undo what the autoscaler has chosen"
            # A budget of one leaves something running at the least number.
            assert spec["minReplicas"] > objects["PodDisruptionBudget", name]["spec"]["maxUnavailable"]
        lag = of["spantree-collector"]["metrics"][1]["pods"]["metric"]["name"]
        source = (ROOT / "collector" / "spantree_collector" / "readiness.py").read_text(encoding="utf-8")
        assert f'"{lag}"' in source, "the metric that it goes by is one that the collector has"

    def test_a_collector_that_goes_has_time_to_write_what_it_holds(
        self, objects: dict[tuple[str, str], Any], pods: dict[str, Any]
    ) -> None:
        (container,) = pods["spantree-collector"]["spec"]["containers"]
        given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        pause_s = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        grace_s = pods["spantree-collector"]["spec"]["terminationGracePeriodSeconds"]
        assert grace_s >= pause_s + float(given["SPANTREE_DRAIN_S"]) + 10
        scaling = objects["HorizontalPodAutoscaler", "spantree-collector"]["spec"]["behavior"]["scaleDown"]
        assert all(one["value"] == 1 and one["periodSeconds"] > grace_s for one in scaling["policies"])
        kept = objects["StatefulSet", "spantree-collector"]["spec"]["persistentVolumeClaimRetentionPolicy"]
        assert kept == {"whenDeleted": "Retain", "whenScaled": "Retain"}

    def test_who_is_asked_until_balancers_know_is_left_to_them_first(self, pods: dict[str, Any]) -> None:
        for name in ("spantree-collector", "spantree-api"):
            (container,) = pods[name]["spec"]["containers"]
            assert container["lifecycle"] == {"preStop": {"exec": {"command": ["sleep", "10"]}}}

    def test_nodes_can_be_drained_while_nothing_is_ready(self, objects: dict[tuple[str, str], Any]) -> None:
        budgets = [one["spec"] for (kind, _), one in objects.items() if kind == "PodDisruptionBudget"]
        assert [one["unhealthyPodEvictionPolicy"] for one in budgets] == ["AlwaysAllow", "AlwaysAllow"]

    def test_a_writer_is_replaced_before_the_container_meets_its_limit(self, pods: dict[str, Any]) -> None:
        (container,) = pods["spantree-collector"]["spec"]["containers"]
        assert container["resources"]["limits"] == {"memory": "3Gi"}
        config = CollectorConfig(database_url="")
        assert config.writers * config.writer_max_bytes + config.max_in_flight_bytes + 512 * MIB <= 3 * 1024 * MIB

    def test_every_pod_is_reached_on_its_ports_alone(
        self, objects: dict[tuple[str, str], Any], pods: dict[str, Any]
    ) -> None:
        for name, pod in pods.items():
            spec = objects["NetworkPolicy", name]["spec"]
            assert spec["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
            assert spec["policyTypes"] == ["Ingress"]
            opened = {port["port"] for rule in spec.get("ingress", ()) for port in rule["ports"]}
            assert opened == {port["name"] for port in pod["spec"]["containers"][0].get("ports", ())}, name

    def test_no_container_is_root_or_may_write_outside_its_volumes(self, pods: dict[str, Any]) -> None:
        for name, pod in pods.items():
            security = pod["spec"]["securityContext"]
            assert (security["runAsNonRoot"], security["runAsUser"], security["runAsGroup"]) == (True, 10001, 10001), (
                name
            )
            assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
            assert pod["spec"]["automountServiceAccountToken"] is False, name
            for container in pod["spec"]["containers"]:
                assert container["securityContext"] == {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                }, name

    def test_every_container_says_what_it_needs_and_a_server_whether_it_is_well(self, pods: dict[str, Any]) -> None:
        for name, pod in pods.items():
            (container,) = pod["spec"]["containers"]
            assert set(container["resources"]["requests"]) == {"cpu", "memory"}, name
            assert "memory" in container["resources"]["limits"], name
            if name in ("spantree-migrate", "spantree-retention"):
                continue
            named = {port["name"]: port["containerPort"] for port in container["ports"]}
            for probe, path in (
                ("startupProbe", "/healthz"),
                ("livenessProbe", "/healthz"),
                ("readinessProbe", "/readyz"),
            ):
                get = container[probe]["httpGet"]
                assert (get["path"], named[get["port"]] in (4318, 8000)) == (path, True), (name, probe)

    def test_services_and_budgets_lead_to_the_pods_and_their_ports(
        self, objects: dict[tuple[str, str], Any], pods: dict[str, Any]
    ) -> None:
        for (kind, name), one in objects.items():
            spec = one["spec"]
            if kind in ("Service", "PodDisruptionBudget"):
                selector = spec["selector"] if kind == "Service" else spec["selector"]["matchLabels"]
                pod = pods[name.removesuffix("-pods")]
                assert selector.items() <= pod["metadata"]["labels"].items(), (kind, name)
            if kind == "Service":
                named = {port["name"]: port["containerPort"] for port in pod["spec"]["containers"][0]["ports"]}
                assert {port["targetPort"]: port["port"] for port in spec["ports"]} == named, name
            if kind in ("StatefulSet", "Deployment"):
                assert spec["selector"]["matchLabels"] == pods[name]["metadata"]["labels"], (kind, name)
        assert objects["StatefulSet", "spantree-collector"]["spec"]["serviceName"] == "spantree-collector-pods"
        assert objects["Service", "spantree-collector-pods"]["spec"]["clusterIP"] == "None"

    def test_the_spool_lies_on_a_volume_of_its_own_that_is_larger_than_it(
        self, objects: dict[tuple[str, str], Any], pods: dict[str, Any], tmp_path: Path
    ) -> None:
        (claim,) = objects["StatefulSet", "spantree-collector"]["spec"]["volumeClaimTemplates"]
        (container,) = pods["spantree-collector"]["spec"]["containers"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        of_image = dict(re.findall(r"(SPANTREE_[A-Z_]+)=(\S+)", DOCKERFILE.read_text(encoding="utf-8")))
        given = {one["name"]: one["value"] for one in container["env"] if "value" in one}
        settings = load({}, of_image | given, directory=tmp_path)
        assert Path(mounted[claim["metadata"]["name"]]) == settings.data_dir
        volume_bytes = int(claim["spec"]["resources"]["requests"]["storage"].removesuffix("Gi")) * 2**30
        assert settings.spool_max_bytes + settings.spool_reserve_bytes < volume_bytes
        assert pods["spantree-collector"]["spec"]["terminationGracePeriodSeconds"] > settings.drain_s + 10

    def test_days_are_dropped_only_if_asked_for(self, objects: dict[tuple[str, str], Any]) -> None:
        assert objects["CronJob", "spantree-retention"]["spec"]["suspend"] is True

    def test_the_database_is_named_by_one_secret_and_the_image_by_the_kustomization(self, pods: dict[str, Any]) -> None:
        keys = {"spantree-collector": "writer-url", "spantree-api": "reader-url"}
        (image,) = parsed(KUBERNETES / "kustomization.yaml")["images"]
        for name, pod in pods.items():
            (container,) = pod["spec"]["containers"]
            assert container["image"] == image["name"], name
            assert container["env"][0] == {
                "name": "SPANTREE_DATABASE_URL",
                "valueFrom": {"secretKeyRef": {"name": "spantree-database", "key": keys.get(name, "url")}},
            }, name
            assert container["args"] == [name.removeprefix("spantree-")], name


def test_the_licence_is_the_one_that_the_distribution_names() -> None:
    text = (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["license"] == "Apache-2.0"
    assert text.split()[:5] == ["Apache", "License", "Version", "2.0,", "January"]
    assert "END OF TERMS AND CONDITIONS" in text
