// Without a model a preview voice speaks: what is missing, how large it is, and, if the operator allows it, a button.
"use strict";

const WANTED_MODEL = "qwen3-tts-0.6b";
let pullTimer = null;

const size = bytes => bytes >= 1e9 ? `${(bytes / 1e9).toFixed(1)} GB` : `${(bytes / 1e6).toFixed(0)} MB`;

function showPull(pull) {
  const running = pull !== null && pull.state === "running";
  $("pull").hidden = running || (pull !== null && pull.state === "done");
  $("pull-stop").hidden = !running;
  $("pull-progress").hidden = !running;
  if (running && pull.total > 0) $("pull-progress").value = pull.done / pull.total;
  else $("pull-progress").removeAttribute("value");
  const left = pull && pull.total > 0 ? `${size(pull.done)} of ${size(pull.total)}` : "asking what there is";
  $("pull-status").textContent = pull === null ? "" : {
    running: `Downloading: ${left}`,
    done: "Downloaded. It speaks from the next start of the server on.",
    stopped: "Stopped. What has come is kept for the next try.",
    failed: "",
  }[pull.state];
  if (pull && pull.state === "failed") showError(new Refused(`The download failed: ${pull.error}`), "pull-error");
  clearTimeout(pullTimer);
  if (running) pullTimer = setTimeout(() => loadModels().catch(error => showError(error, "pull-error")), 1000);
}

async function loadModels() {
  const { models, may_pull: mayPull, pull } = await (await call(`${API}/models`)).json();
  const model = models.find(one => one.name === WANTED_MODEL);
  $("model-offer").textContent = `${model.title}: ${size(model.bytes)}, licence ${model.license}. ` +
      (mayPull ? "It is downloaded to the server's machine." :
                 `For a clone, run “timbre pull ${WANTED_MODEL}” on the server's machine, and start it again.`);
  $("model-actions").hidden = !mayPull;
  $("model").hidden = model.state === "complete" && pull === null; // the operator chose the preview voice
  if (mayPull) showPull(pull);
}

async function askPull(method) {
  showError(null);
  const options = method === "POST" ?
      { headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name: WANTED_MODEL }) } : {};
  try {
    const { pull } = await (await call(`${API}/models/pull`, { method, ...options })).json();
    showPull(pull);
  } catch (error) {
    showError(error, "pull-error");
  }
}

$("pull").addEventListener("click", () => askPull("POST"));
$("pull-stop").addEventListener("click", () => askPull("DELETE"));
