// The page: a voice in, a text in, speech out.
"use strict";

const $ = id => document.getElementById(id);
const API = "/api/v1";
const STAGES = [
  ["resample_reference", "recording prepared"], ["enhance_reference", "noise removed from it"], ["speech", "speaking"],
  ["resample_speech", "speech prepared"], ["enhance_speech", "noise removed from it"],
];
const ERRORS = ["voice-error", "error", "queue-error"];
const LONGEST_SECONDS = 600; // of a recording that is sent
const CUT_SECONDS = 30;      // what is offered of a longer one
const state = { reference: null, file: null, sound: null, name: "", reading: 0, referencePlayer: null, resultPlayer: null, abort: null,
  recorder: null, ticket: 0, spoken: null };

// ---- Talking to the server

function headers(extra) {
  const key = sessionStorage.getItem("timbre-key");
  return key ? { ...extra, "x-api-key": key } : { ...extra };
}

class Refused extends Error {}
class NoVoice extends Refused {}

async function call(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { ...options, headers: headers(options.headers) });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused("The server cannot be reached.");
  }
  if (response.ok) return response;
  let detail = `${response.status} ${response.statusText}`;
  try { detail = (await response.json()).detail || detail; } catch { /* not JSON: the status says it */ }
  if (response.status === 401) askForKey(sessionStorage.getItem("timbre-key") ? "This key is not accepted. " + detail : "");
  throw new Refused(detail);
}

// Says what went wrong beside what it concerns, where it can be seen; null takes all such messages back.
function showError(error, place = "error") {
  if (error && error.name === "AbortError") return;
  for (const id of ERRORS) {
    $(id).textContent = error && id === place ? (error instanceof Refused ? error.message : `${error.name}: ${error.message}`) : "";
    $(id).hidden = !(error && id === place);
  }
  if (error && !$("key-dialog").open) $(place).scrollIntoView({ block: "center" });
}

const showVoiceError = error => showError(error, "voice-error");
const showQueueError = error => showError(error, "queue-error");

function askForKey(problem = "") {
  $("key-button").hidden = false;
  $("key-error").textContent = problem;
  $("key-error").hidden = !problem;
  $("key").value = sessionStorage.getItem("timbre-key") || "";
  if (!$("key-dialog").open) $("key-dialog").showModal();
}

$("key-button").addEventListener("click", () => askForKey());
$("key-dialog").addEventListener("close", () => {
  if ($("key-dialog").returnValue !== "ok") return;
  sessionStorage.setItem("timbre-key", $("key").value);
  showError(null);
  refresh();
});

// ---- The reference

async function upload(blob, name) {
  const form = new FormData();
  form.append("file", blob, name);
  return (await call(`${API}/files/upload`, { method: "POST", body: form })).json();
}

// Nothing of an earlier recording may speak for a new one, whatever becomes of that.
function forgetReference() {
  state.file = state.reference = state.sound = null;
  if (state.referencePlayer) state.referencePlayer.halt();
  state.referencePlayer = null;
  $("reference-player").hidden = true;
  $("store-row").hidden = true;
  $("cut-row").hidden = true;
  $("reference-status").textContent = "";
}

// While a recording is on its way there is no voice to use.
function reading(change) {
  state.reading += change;
  for (const id of ["go", "enqueue", "copy", "voice-store"]) $(id).disabled = state.reading > 0 || (id === "go" && state.abort !== null);
}

function offerCut(seconds) {
  $("cut-from").value = "0";
  $("cut-to").value = Math.min(seconds, CUT_SECONDS).toFixed(1);
  $("cut-row").hidden = false;
}

// A recording of any kind becomes 48 kHz WAV here; what the browser cannot decode goes as it is.
async function useReference(blob, name) {
  const ticket = ++state.ticket;
  showError(null);
  forgetReference();
  reading(1);
  let done = false;
  $("voice").value = "";
  $("voice-delete").disabled = true;
  $("reference-status").textContent = "Reading the recording …";
  try {
    let sound = null;
    try { sound = await Sound.decode(await blob.arrayBuffer()); } catch { /* the server may know it */ }
    if (ticket !== state.ticket) return;
    state.sound = sound;
    state.name = name;
    const seconds = sound ? sound.samples.length / sound.rate : 0;
    if (seconds > LONGEST_SECONDS) {
      offerCut(seconds);
      throw new Refused(`This recording is ${(seconds / 60).toFixed(1)} minutes long. 3 to 30 seconds do best: choose a part below.`);
    }
    const wav = sound ? Sound.encodeWav(sound.samples, sound.rate) : blob;
    const file = await upload(wav, name.replace(/\.[^.]*$/, "") + (sound ? ".wav" : ""));
    if (ticket !== state.ticket) return;
    if (!sound) sound = await Sound.decode(await (await call(file.url)).arrayBuffer()).catch(() => null);
    state.file = file;
    state.reference = wav;
    $("store-row").hidden = false;
    $("reference-status").textContent = `${name}: ${file.duration.toFixed(1)} s`;
    done = true;
    reading(-1);
    if (!sound) return;
    if (seconds > 3) offerCut(seconds);
    state.referencePlayer = new Sound.Player($("reference-player"), "the recording");
    state.referencePlayer.set("before", sound.samples, sound.rate);
    await showCleanReference(wav, ticket);
  } catch (error) {
    if (ticket !== state.ticket) return;
    $("reference-status").textContent = "";
    showVoiceError(error);
  } finally {
    if (!done) reading(-1);
  }
}

$("cut").addEventListener("click", () => {
  const from = Number($("cut-from").value.replace(",", ".")), to = Number($("cut-to").value.replace(",", "."));
  const { samples, rate } = state.sound;
  if (!(from >= 0 && to > from && from < samples.length / rate)) {
    showVoiceError(new Refused(`A part begins before it ends and lies within the recording's ${(samples.length / rate).toFixed(1)} seconds.`));
    return;
  }
  useReference(Sound.encodeWav(samples.slice(Math.floor(from * rate), Math.ceil(to * rate)), rate), state.name);
});

async function showCleanReference(wav, ticket) {
  if (!$("pre").checked) return;
  $("reference-status").textContent += ", cleaning …";
  try {
    const answer = await call(`${API}/enhance`, { method: "POST", headers: { "Content-Type": "audio/wav" }, body: wav });
    const clean = await Sound.decode(await answer.arrayBuffer());
    if (ticket === state.ticket) {
      const at = state.referencePlayer.position;
      state.referencePlayer.set("after", clean.samples, clean.rate);
      state.referencePlayer.seek(at);
    }
  } finally {
    if (ticket === state.ticket) $("reference-status").textContent = $("reference-status").textContent.replace(", cleaning …", "");
  }
}

$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) useReference(file, file.name);
});
for (const kind of ["dragenter", "dragover"]) {
  $("drop").addEventListener(kind, event => { event.preventDefault(); $("drop").classList.add("over"); });
}
for (const kind of ["dragleave", "drop"]) {
  $("drop").addEventListener(kind, event => { event.preventDefault(); $("drop").classList.remove("over"); });
}
$("drop").addEventListener("drop", event => {
  const [file] = event.dataTransfer.files;
  if (file) useReference(file, file.name);
});

// ---- Recording

async function startRecording() {
  if (!navigator.mediaDevices) {
    throw new Refused("The browser gives the microphone only to pages from localhost or over HTTPS.");
  }
  const stream = await navigator.mediaDevices.getUserMedia({
    audio: { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false },
  });
  const chunks = [];
  const recorder = new MediaRecorder(stream);
  const context = Sound.audioContext();
  const analyser = context.createAnalyser();
  const samples = new Float32Array(analyser.fftSize);
  const began = performance.now();
  context.resume();
  context.createMediaStreamSource(stream).connect(analyser);
  recorder.addEventListener("dataavailable", event => chunks.push(event.data));
  recorder.addEventListener("stop", () => {
    stream.getTracks().forEach(track => track.stop());
    state.recorder = null;
    $("level").value = 0;
    $("record").textContent = "Record";
    $("record").setAttribute("aria-pressed", "false");
    useReference(new Blob(chunks, { type: recorder.mimeType }), "recording");
  });
  const watch = () => {
    if (!state.recorder) return;
    analyser.getFloatTimeDomainData(samples);
    $("level").value = samples.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
    const seconds = (performance.now() - began) / 1000;
    $("record-hint").textContent = `${seconds.toFixed(0)} s` + (seconds < 3 ? ", go on: at least 3" : seconds > 25 ? ", enough" : ", good");
    if (seconds >= 30) recorder.stop(); else requestAnimationFrame(watch);
  };
  recorder.start();
  state.recorder = recorder;
  $("record").textContent = "Stop recording";
  $("record").setAttribute("aria-pressed", "true");
  watch();
}

$("record").addEventListener("click", async () => {
  showError(null);
  try {
    if (state.recorder) state.recorder.stop(); else await startRecording();
  } catch (error) {
    const denied = error.name === "NotAllowedError" ? "The browser was not allowed to use the microphone. Allow it beside the page's address, or choose a file."
      : `The microphone could not be used: ${error.message}`;
    showVoiceError(error instanceof Refused ? error : new Refused(denied));
  }
});

// ---- Stored voices

async function loadVoices(selected) {
  const { voices } = await (await call(`${API}/voices`)).json();
  $("voice").replaceChildren(new Option("none", ""), ...voices.map(voice => new Option(`${voice.name} (${voice.duration.toFixed(0)} s)`, voice.name)));
  $("voice").value = selected || "";
  $("voice-delete").disabled = !$("voice").value;
}

$("voice").addEventListener("change", async () => {
  const name = $("voice").value;
  const ticket = ++state.ticket;
  $("voice-delete").disabled = !name;
  showError(null);
  forgetReference();
  if (!name) return;
  try {
    const sound = await Sound.decode(await (await call(`${API}/voices/${encodeURIComponent(name)}/audio`)).arrayBuffer());
    if (ticket !== state.ticket) return;
    state.referencePlayer = new Sound.Player($("reference-player"), `the voice ${name}`);
    state.referencePlayer.set("before", sound.samples, sound.rate);
  } catch (error) {
    showVoiceError(error);
  }
});

$("voice-store").addEventListener("click", async () => {
  showError(null);
  const body = { name: $("voice-name").value.trim(), ref_audio: state.file.id, ref_text: $("ref-text").value || null, run_pre_processing: $("pre").checked };
  try {
    await call(`${API}/voices`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    await loadVoices(body.name);
    state.file = state.reference = null; // from here on the stored voice speaks
    $("store-row").hidden = true;
    $("cut-row").hidden = true;
    $("reference-status").textContent = `Kept as ${body.name}, and chosen.`;
  } catch (error) {
    showVoiceError(error);
  }
});

$("voice-delete").addEventListener("click", async () => {
  const name = $("voice").value;
  if (!name || !confirm(`Remove the voice ${name}?`)) return;
  try {
    await call(`${API}/voices/${encodeURIComponent(name)}`, { method: "DELETE" });
    await loadVoices();
    forgetReference();
  } catch (error) {
    showVoiceError(error);
  }
});

// ---- Speaking

function requestFields() {
  const text = $("text").value;
  if (!text.trim()) throw new Refused("There is no text to say.");
  const fields = { text, language: $("language").value, run_pre_processing: $("pre").checked, run_post_processing: $("post").checked,
    response_format: $("format").value };
  if ($("voice").value) {
    fields.voice = $("voice").value;
  } else if (state.file) {
    fields.ref_audio = state.file.id;
    fields.ref_text = $("ref-text").value.trim() || null;
  } else {
    throw new NoVoice("There is no voice yet: record one, drop a file or choose a stored voice.");
  }
  if ($("seed").value) {
    if (!/^[0-9]{1,15}$/.test($("seed").value)) throw new Refused("The seed must be a whole number.");
    fields.seed = Number($("seed").value);
  }
  return fields;
}

function showStages(fields) {
  const skip = stage => (stage.endsWith("reference") && !fields.run_pre_processing) || (/_speech$/.test(stage) && !fields.run_post_processing);
  $("stages").replaceChildren(...STAGES.filter(([stage]) => !skip(stage)).map(([stage, label]) => {
    const item = document.createElement("li");
    item.dataset.stage = stage;
    item.textContent = label;
    return item;
  }));
}

function markStage(stage, fraction) {
  const items = [...$("stages").children];
  const index = items.findIndex(item => item.dataset.stage === stage);
  if (index < 0) return;
  items.forEach((item, i) => {
    if (i < index && item.dataset.stage !== "speech") item.dataset.state = "done";
    if (i === index) item.dataset.state = fraction >= 1 ? "done" : "now";
  });
  $("progress").textContent = `${items[index].textContent}: ${Math.round(100 * fraction)} %`;
}

function fromBase64(text) {
  const bytes = Uint8Array.from(atob(text), character => character.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Float32Array.from({ length: bytes.length / 2 }, (_, i) => view.getInt16(2 * i, true) / 32768);
}

// The server's events, one after the other.
async function* readEvents(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    rest += value;
    for (let end; (end = rest.indexOf("\n\n")) >= 0; rest = rest.slice(end + 2)) {
      const lines = Object.fromEntries(rest.slice(0, end).split("\n").map(line => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
      yield { event: lines.event, data: JSON.parse(lines.data) };
    }
  }
}

function join(blocks) {
  const all = new Float32Array(blocks.reduce((sum, block) => sum + block.length, 0));
  let at = 0;
  for (const block of blocks) { all.set(block, at); at += block.length; }
  return all;
}

async function speak(fields, signal) {
  const live = { output: null, blocks: [], rate: 48000 };
  const response = await call(`${API}/voice-clone-enhanced`, {
    method: "POST", headers: { "Content-Type": "application/json" }, signal,
    body: JSON.stringify({ ...fields, stream: true, stream_format: "sse" }),
  });
  let result = null;
  try {
    for await (const { event, data } of readEvents(response)) {
      if (event === "progress") markStage(data.stage, data.fraction);
      if (event === "error") throw new Refused(data.error);
      if (event === "result") result = data;
      if (event === "audio") {
        const samples = fromBase64(data.audio);
        live.rate = data.sample_rate;
        live.output = live.output || new Sound.LiveOutput(data.sample_rate);
        live.output.push(samples);
        live.blocks.push(samples);
        if (live.blocks.length === 1) $("progress").textContent = "playing while it is made";
      }
    }
  } catch (error) {
    if (live.output) live.output.stop();
    throw error;
  }
  if (!result) throw new Refused("The connection broke before the speech was complete.");
  return { result, samples: join(live.blocks), rate: live.rate };
}

function showResult({ result, samples, rate }) {
  [...$("stages").children].forEach(item => { item.dataset.state = "done"; });
  $("progress").textContent = `Done in ${result.timings.total.toFixed(1)} s, first sound after ${result.timings.first_audio.toFixed(1)} s.`;
  state.resultPlayer.set($("post").checked ? "after" : "before", samples, rate);
  $("download").href = result.url;
  $("download").download = `speech.${$("format").value}`;
  $("result-facts").textContent = `${result.duration.toFixed(1)} s at ${result.sample_rate / 1000} kHz; ${result.seed} repeats it` +
    (result.is_clone ? "" : ". The preview engine has a voice of its own: this is not the recording's voice.");
  $("result-actions").hidden = false;
  $("result").scrollIntoView({ block: "nearest" });
}

// The same speech without the cleaning stages, for comparison: the same seed speaks the same.
async function showBefore(fields, result, signal) {
  const answer = await call(`${API}/voice-clone-enhanced`, {
    method: "POST", headers: { "Content-Type": "application/json" }, signal,
    body: JSON.stringify({ ...fields, seed: result.seed, run_post_processing: false, response_format: "wav" }),
  });
  const { items } = await answer.json();
  const sound = await Sound.decode(await (await call(items[0].url, { signal })).arrayBuffer());
  const at = state.resultPlayer.position;
  state.resultPlayer.set("before", sound.samples, sound.rate);
  state.resultPlayer.choose(1); // back to the clean one
  state.resultPlayer.seek(at);
}

$("form").addEventListener("submit", async event => {
  event.preventDefault();
  showError(null);
  let fields;
  try {
    fields = requestFields();
  } catch (error) {
    showError(error, error instanceof NoVoice ? "voice-error" : "error");
    $(error instanceof NoVoice ? "file" : "text").focus({ preventScroll: true });
    return;
  }
  if (state.abort) state.abort.abort();
  const abort = state.abort = new AbortController();
  $("go").disabled = true;
  $("stop").disabled = false;
  $("result").hidden = false;
  $("result-actions").hidden = true;
  state.spoken = null;
  $("progress").textContent = "waiting";
  $("result").scrollIntoView({ block: "nearest" });
  showStages(fields);
  state.resultPlayer = new Sound.Player($("result-player"), "the speech");
  $("result-player").hidden = true;
  try {
    const spoken = await speak(fields, abort.signal);
    $("result-player").hidden = false;
    state.spoken = { fields, result: spoken.result };
    $("compare").hidden = !fields.run_post_processing;
    showResult(spoken);
  } catch (error) {
    $("progress").textContent = error.name === "AbortError" ? "stopped" : "";
    showError(error);
  } finally {
    if (state.abort === abort) {
      $("go").disabled = state.reading > 0;
      $("stop").disabled = true;
      state.abort = null;
    }
  }
});

// It is spoken once more for this, so only when it is asked for.
$("compare").addEventListener("click", async () => {
  const { fields, result } = state.spoken;
  showError(null);
  $("compare").disabled = true;
  try {
    await showBefore(fields, result, undefined);
    $("compare").hidden = true;
  } catch (error) {
    showError(error);
  } finally {
    $("compare").disabled = false;
  }
});

$("form").addEventListener("keydown", event => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !$("go").disabled) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});

$("stop").addEventListener("click", () => { if (state.abort) state.abort.abort(); });

const count = () => { $("count").textContent = `${[...$("text").value].length} of 4096 characters`; };
$("text").addEventListener("input", count);

// One argument of a shell's command line.
const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;
$("copy").addEventListener("click", async () => {
  showError(null);
  try {
    const body = JSON.stringify({ ...requestFields(), stream: true });
    const key = sessionStorage.getItem("timbre-key") ? " -H \"x-api-key: $TIMBRE_KEY\"" : "";
    const command = `curl ${quoted(`${location.origin}${API}/voice-clone-enhanced`)}${key} -H 'Content-Type: application/json' -d ${quoted(body)} -o speech.${$("format").value}`;
    await navigator.clipboard.writeText(command);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy as command (curl)"; }, 2000);
  } catch (error) {
    showError(error);
  }
});

// ---- The queue

$("enqueue").addEventListener("click", async () => {
  showError(null);
  try {
    const fields = requestFields();
    await call(`${API}/queue/submit`, { method: "POST", headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ items: [fields], label: shorten(fields.text, 60) }) });
    await loadQueue();
  } catch (error) {
    showError(error, error instanceof NoVoice ? "voice-error" : "error");
  }
});

// At most `most` characters, and it can be seen that there were more.
function shorten(text, most) {
  const letters = [...text];
  return letters.length <= most ? text : letters.slice(0, most - 1).join("") + "…";
}

function jobRow(job) {
  const row = document.createElement("tr");
  const cell = (text, label) => {
    const made = document.createElement("td");
    made.textContent = text;
    if (label) made.dataset.label = label;
    row.append(made);
    return made;
  };
  cell(job.label || job.id.slice(0, 8), "Job");
  cell(job.state + (job.failed ? `, ${job.failed} failed` : ""), "State");
  cell(`${job.done} of ${job.total}`, "Done");
  const actions = document.createElement("div");
  actions.className = "row";
  if (job.done) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = "Download";
    button.addEventListener("click", () => downloadJob(job).catch(showQueueError));
    actions.append(button);
  }
  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = job.state === "finished" ? "Remove" : "Cancel";
  remove.addEventListener("click", async () => {
    try { await call(`${API}/queue/${job.id}`, { method: "DELETE" }); await loadQueue(); } catch (error) { showQueueError(error); }
  });
  actions.append(remove);
  cell("").append(actions);
  return row;
}

async function downloadJob(job) {
  const { items } = await (await call(`${API}/queue/results/${job.id}?audio=url`)).json();
  for (const item of items.filter(entry => entry.url)) {
    const blob = await (await call(item.url)).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = `${job.label || "speech"}.${{ "audio/flac": "flac", "audio/mpeg": "mp3", "audio/ogg": "ogg" }[blob.type.split(";")[0]] || "wav"}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }
}

let queueTimer = null;
async function loadQueue() {
  clearTimeout(queueTimer);
  const { jobs } = await (await call(`${API}/queue`)).json();
  $("queue").hidden = jobs.length === 0;
  $("queue-empty").hidden = jobs.length > 0;
  $("queue").tBodies[0].replaceChildren(...jobs.slice(0, 20).map(jobRow));
  if (jobs.some(job => job.state !== "finished")) queueTimer = setTimeout(() => loadQueue().catch(showQueueError), 1500);
}

// A download needs the key in a header, which a link does not send.
$("download").addEventListener("click", async event => {
  if (!sessionStorage.getItem("timbre-key")) return;
  event.preventDefault();
  try {
    const blob = await (await call($("download").getAttribute("href"))).blob();
    const link = document.createElement("a");
    link.href = URL.createObjectURL(blob);
    link.download = $("download").download;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  } catch (error) {
    showError(error);
  }
});

async function refresh() {
  try {
    const ready = await (await call("/health/ready")).json();
    $("server").textContent = `${ready.model}${ready.engine === "preview" ? ": a voice of its own speaks, not yours. For a clone, run “timbre pull qwen3-tts-0.6b” on the server" : ""}`;
    await loadVoices();
    await loadQueue();
  } catch (error) {
    showError(error);
  }
}

count();
refresh();
