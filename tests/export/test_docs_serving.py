"""docs/serving: what a server would read is read here, and what is shown is run."""

import http.server
import json
import re
import shlex
import subprocess
import textwrap
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from packaging.version import Version

from export import export_saved_model
from export.signatures import Settings
from tests.export import servers

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "docs" / "serving"
GUIDE = (FOLDER / "README.md").read_text()
SHAPE = (32, 32, 3)
# Of tensorflow_serving/servables/tensorflow/session_bundle_config.proto; the package
# tensorflow-serving-api has no module of it.
BATCHING = {
    "max_batch_size",
    "batch_timeout_micros",
    "max_enqueued_batches",
    "num_batch_threads",
}
MODEL = "/v1/models/lcnn"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", GUIDE, re.DOTALL)


def code(name):
    """The lines of a file without comments and blank ones."""
    lines = (FOLDER / name).read_text().splitlines()
    return [line for line in lines if line.strip() and not line.strip().startswith("#")]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """What the guide exports, but for its layers and its training."""
    layers = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
    folder = tmp_path_factory.mktemp("served") / servers.NAME
    signatures = ("serving_default", "predict_bytes", "explain")
    model = keras.Sequential([keras.Input(SHAPE), *layers])
    return tf.saved_model.load(export_saved_model(model, folder, signatures=signatures))


@pytest.fixture
def asked(loaded, tmp_path, monkeypatch):
    """Runs a snippet of the guide against a server; returns what it printed."""
    pytest.importorskip("tensorflow_serving.apis")
    (tmp_path / "cat.png").write_bytes(
        tf.io.encode_png(np.full([5, 4, 3], 9, np.uint8)).numpy()
    )
    monkeypatch.chdir(tmp_path)

    def run(snippet):
        printed = []
        with servers.rest(loaded, servers.Script()) as rest:
            with servers.grpc(loaded, servers.Script()) as grpc:
                text = snippet.replace("http://localhost:8501", rest)
                text = text.replace("localhost:8500", grpc)
                text = text.replace("lcnn", servers.NAME)
                scope = {"print": lambda *values: printed.extend(values)}
                exec(compile(text, "guide", "exec"), scope)
        return printed

    return run


def test_batching_parameters():
    settings = {}
    for line in code("batching_parameters.txt"):
        match = re.fullmatch(r"(\w+) \{ value: (\d+) \}", line)
        assert match and match[1] not in settings, line
        settings[match[1]] = int(match[2])
    # Neither allowed_batch_sizes nor pad_variable_length_inputs: the file says why.
    assert set(settings) == BATCHING
    # What the graph refuses in a request it refuses in a batch.
    assert settings["max_batch_size"] <= Settings().max_gradients


def parsed(text):
    """The one model of a file of models."""
    configs = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    (model,) = text_format.Parse(
        text, configs.ModelServerConfig()
    ).model_config_list.config
    return model


def test_models_config():
    model = parsed((FOLDER / "models.config").read_text())
    assert (model.name, model.base_path) == ("lcnn", "/models/lcnn")
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.latest.num_versions == 2


def test_going_back():
    """What the comment and the guide say to write instead is of the same format."""
    text = (FOLDER / "models.config").read_text()
    policy = r" {4}model_version_policy \{\n {6}latest \{\n.*\n {6}\}\n {4}\}\n"
    other = re.search(r"    model_version_policy \{\n.*\n    \}\n", GUIDE)[0]
    assert re.search(r"folder: (specific.*)", text)[1] in other
    changed, count = re.subn(policy, other, text)
    assert count == 1
    assert list(parsed(changed).model_version_policy.specific.versions) == [1]
    label = re.search(r"`(version_labels \{.*?\})`", GUIDE)[1]
    labeled = parsed(changed.replace(other, other + label))
    assert labeled.version_labels == {"stable": 1}


def test_monitoring_config():
    assert " ".join(code("monitoring.config")).split() == [
        "prometheus_config",
        "{",
        "enable:",
        "true",
        "path:",
        '"/monitoring/prometheus/metrics"',
        "}",
    ]


@pytest.mark.parametrize("name", ["compose.yaml", "kubernetes.yaml"])
def test_yaml_is_indented_as_it_nests(name):
    """No YAML parser is among the requirements, so this is about its frame."""
    depth = 0
    text = (FOLDER / name).read_text()
    for written in re.findall(r": \|\n((?: {4}.*\n|\n)+)", text):
        text = text.replace(written, "")
    for line in text.splitlines():
        if not line.strip() or line.strip().startswith("#"):
            continue
        if line == "---":
            depth = 0
            continue
        assert "\t" not in line and line == line.rstrip()
        indent = len(line) - len(line.lstrip(" "))
        assert indent % 2 == 0 and indent <= depth + 4, line
        assert re.match(r" *(- )?[\w./-]+:( |$)| *- ", line), line
        depth = indent


def test_compose_mounts_what_it_names():
    lines = [line.strip() for line in code("compose.yaml")]
    mounts = dict(
        match.groups()
        for line in lines
        if (match := re.fullmatch(r"- (\S+):(/\S+):ro", line))
    )
    # Folders, not files: a file that takes the place of another one is seen.
    assert mounts == {"../../served": "/models", "./": "/config"}
    assert (FOLDER / "../../served").resolve() == REPOSITORY / "served"
    text = (FOLDER / "compose.yaml").read_text()
    named = re.findall(r"_file=(\S+)", text)
    assert len(named) == 3
    for path in named:
        folder, name = path.rsplit("/", 1)
        assert folder == "/config" and (FOLDER / name).is_file()
    published = re.findall(r'"(\S+):850[01]:(850[01])"', text)
    assert [port for _, port in published] == ["8500", "8501"]
    assert {address for address, _ in published} == {"127.0.0.1"}


@pytest.mark.parametrize("status", [200, 404, 503])
def test_compose_is_healthy_only_at_200(status):
    """The check itself, of a server whose every body has 200 and AVAILABLE in it."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{ "error": " 200 OK, "AVAILABLE"" }\n')

        def log_message(self, *args):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            # A string of YAML in double quotes is one of JSON here.
            (check,) = re.findall(r'- ("exec .*")', "\n".join(code("compose.yaml")))
            check = json.loads(check).replace("/8501", f"/{server.server_port}")
            done = subprocess.run(["bash", "-c", check], timeout=30)
        finally:
            server.shutdown()
            thread.join()
    assert asked == [f"{MODEL}/metadata"]
    assert (done.returncode == 0) == (status == 200)


def test_compose_is_not_healthy_without_a_server():
    (check,) = re.findall(r'- ("exec .*")', "\n".join(code("compose.yaml")))
    # Nobody listens on port 1.
    check = json.loads(check).replace("/8501", "/1")
    done = subprocess.run(["bash", "-c", check], capture_output=True, timeout=30)
    assert done.returncode != 0


def test_kubernetes_has_the_models_config_of_this_folder():
    config = (FOLDER / "kubernetes.yaml").read_text().split("---\n")[0]
    assert "kind: ConfigMap" in config
    written = config.split("  models.config: |\n")[1]
    assert textwrap.dedent(written) == (FOLDER / "models.config").read_text()


def test_kubernetes_mounts_its_config_as_a_folder():
    """Of a file, by subPath, the pod would never see a change."""
    config, deployment, _ = "\n".join(code("kubernetes.yaml")).split("---\n")
    name = re.search(r"metadata:\s+name: (\S+)", config)[1]
    assert re.search(rf"- name: config\s+configMap:\s+name: {name}\n", deployment)
    mounted = re.search(
        r"- name: config\s+mountPath: (\S+)\s+readOnly: true", deployment
    )
    assert mounted[1] == "/config" and "subPath" not in deployment
    both = (deployment, (FOLDER / "compose.yaml").read_text())
    for flag in (
        "model_config_file=(.*)",
        r"model_config_file_poll_wait_seconds=(\d+)",
    ):
        (first,), (second,) = (re.findall(f"- --{flag}", text) for text in both)
        assert first == second
    assert f"kubectl edit configmap {name}`" in GUIDE


def test_kubernetes_probes_the_model_that_it_serves():
    text = "\n".join(code("kubernetes.yaml"))
    _, deployment, service = text.split("---\n")
    assert "kind: Deployment" in deployment and "kind: Service" in service
    for probe in ("startupProbe", "readinessProbe"):
        path = re.search(rf"{probe}:\s+httpGet:\s+path: (\S+)\s+port: rest", deployment)
        # 200 only while a version can be asked, unlike the model's own path.
        assert path[1] == f"{MODEL}/metadata"
    # Five tries of a minute each must not be the end of a start.
    every, often = re.search(
        r"startupProbe:.*?periodSeconds: (\d+).*?failureThreshold: (\d+)",
        deployment,
        re.DOTALL,
    ).groups()
    assert int(every) * int(often) > 5 * 60
    ports = dict(re.findall(r"name: (\w+)\s+containerPort: (\d+)", deployment))
    assert ports == {"grpc": "8500", "rest": "8501"}
    exposed = re.findall(r"port: (\d+)\s+targetPort: (\w+)", service)
    assert {target: port for port, target in exposed} == ports
    mounted = re.search(r"- name: models\s+mountPath: (\S+)\s+readOnly: true", text)
    assert mounted[1] == "/models"
    assert re.search(r"selector:\s+app: lcnn", service)
    assert deployment.count("app: lcnn") == 3
    assert re.search(r"requests:\s+cpu: \S+\s+memory: 1Gi", deployment)


def test_one_limit_of_memory():
    """The same in both files, and the one that the guide works out."""
    deployment = "\n".join(code("kubernetes.yaml"))
    limit = re.search(r"limits:\s+memory: (\d+)Gi", deployment)[1]
    assert f"    mem_limit: {limit}g" in code("compose.yaml")
    assert f"So {limit} GB hold one request" in GUIDE


def test_what_a_status_looks_like():
    """The JSON of the guide, by the fields of get_model_status.proto."""
    statuses = pytest.importorskip("tensorflow_serving.apis.get_model_status_pb2")
    from google.protobuf import json_format

    (shown,) = blocks("json")
    status = json_format.Parse(shown, statuses.GetModelStatusResponse())
    states = statuses.ModelVersionStatus
    assert [
        (version.version, version.state) for version in status.model_version_status
    ] == [
        (2, states.END),
        (1, states.AVAILABLE),
    ]


def test_one_image_no_older_than_the_exporter():
    texts = [path.read_text() for path in FOLDER.iterdir()]
    texts.append((REPOSITORY / "README.md").read_text())
    images = [
        tag for text in texts for tag in re.findall(r"tensorflow/serving:(\S+)", text)
    ]
    tags = {tag.rstrip("`;") for tag in images}
    assert len(images) >= 5 and len(tags) == 1, tags
    lock = (REPOSITORY / "requirements.lock").read_text()
    exporter = re.search(r"^tensorflow==(\S+)", lock, re.MULTILINE)[1]
    assert Version(tags.pop()) >= Version(exporter)


def test_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", GUIDE):
        assert (FOLDER / target).exists(), target


def test_shell_lines_are_whole():
    """Quotes close, and only what the guide is about is called."""
    called = set()
    for block in blocks("sh"):
        words = shlex.split(block.replace("\\\n", " "))
        assert words
        called.add(words[0])
    assert called == {"tfrobust", "docker", "curl", "printf"}


def test_curl_is_answered(loaded):
    bodies = [
        json.loads(body)
        for block in blocks("sh")
        for body in re.findall(r"-d '(\{.*?\})'", block, re.DOTALL)
    ]
    assert len(bodies) == 1
    (body,) = bodies
    arrays = {name: servers.read(value) for name, value in body["inputs"].items()}
    answer = servers.run(loaded, body["signature_name"], arrays)
    # A grey pixel is a grey image.
    gray = np.full([1, *SHAPE], 128 / 255, np.float32)
    direct = servers.run(loaded, "serving_default", {"images": gray})
    np.testing.assert_allclose(answer["logits"], direct["logits"], rtol=1e-5)
    # The one that is put together by printf has the same form.
    (line,) = re.findall(r"printf '(\{.*\})'", GUIDE)
    assert set(json.loads(line)["inputs"]) == set(body["inputs"])
    assert json.loads(line)["signature_name"] == body["signature_name"]


@pytest.mark.parametrize("index", range(3))
def test_snippets_run(asked, index):
    snippets = blocks("python")
    assert len(snippets) == 3
    printed = asked(snippets[index])
    assert len(printed) == [2, 1, 2][index]
    for answer in printed:
        assert len(answer) == 1 and np.isfinite(answer).all()
