// The text is spoken, heard while it is made, and shown.
"use strict";

const STAGES = [
  ["resample_reference", "recording prepared"], ["enhance_reference", "noise removed from it"], ["speech", "speaking"],
  ["resample_speech", "speech prepared"], ["enhance_speech", "noise removed from it"],
];

function requestFields() {
  const text = $("text").value;
  if (!text.trim()) throw new Refused("There is no text to say.");
  const fields = {
    text,
    language: $("language").value,
    run_pre_processing: $("pre").checked,
    run_post_processing: $("post").checked,
    response_format: $("format").value
  };
  const own = ownVoice();
  if (own) {
    Object.assign(fields, own);
    delete fields.run_pre_processing; // there is no recording
  } else if ($("voice").value) {
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
  const skip = stage => (stage.endsWith("reference") && !fields.run_pre_processing) ||
      (/_speech$/.test(stage) && !fields.run_post_processing);
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
      const lines = Object.fromEntries(rest.slice(0, end).split("\n").map(
          line => [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)]));
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
  const response = await call(routeOf(fields), {
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
  $("progress").textContent =
      `Done in ${result.timings.total.toFixed(1)} s, first sound after ${result.timings.first_audio.toFixed(1)} s.`;
  state.resultPlayer.set($("post").checked ? "after" : "before", samples, rate);
  $("download").href = result.url;
  $("download").download = `speech.${$("format").value}`;
  $("result-facts").textContent =
      `${result.duration.toFixed(1)} s at ${result.sample_rate / 1000} kHz; ${result.seed} repeats it` +
      (result.is_clone || !result.reference ?
           "" :
           `. The ${result.engine} engine has a voice of its own: this is not the recording's voice.`);
  $("result-actions").hidden = false;
  $("result").scrollIntoView({ block: "nearest" });
}

// The same speech without the cleaning stages, for comparison: the same seed speaks the same.
async function showBefore(fields, result, signal) {
  const answer = await call(routeOf(fields), {
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
  const voice = fields.voice || fields.speaker || ("instruct" in fields ? "described" : state.name || "recording");
  state.resultPlayer = new Sound.Player($("result-player"), "the speech");
  $("result-player").hidden = true;
  try {
    const spoken = await speak(fields, abort.signal);
    $("result-player").hidden = false;
    state.spoken = { fields, result: spoken.result };
    $("compare").hidden = !fields.run_post_processing;
    showResult(spoken);
    rememberSpeech(fields, voice, spoken);
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
    const fields = requestFields();
    const body = JSON.stringify({ ...fields, stream: true });
    const key = sessionStorage.getItem("timbre-key") ? " -H \"x-api-key: $TIMBRE_KEY\"" : "";
    const command = `curl ${quoted(location.origin + routeOf(fields))}${
        key} -H 'Content-Type: application/json' -d ${quoted(body)} -o speech.${$("format").value}`;
    await navigator.clipboard.writeText(command);
    $("copy").textContent = "Copied";
    setTimeout(() => { $("copy").textContent = "Copy as command (curl)"; }, 2000);
  } catch (error) {
    showError(error);
  }
});

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
